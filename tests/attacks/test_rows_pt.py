"""Section 2.17 of the catalogue, passthrough tokens: on the wire, row by row."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from passproxy.core.bearer import FAILURES_LIMIT
from passproxy.core.errors import ConfigError
from passproxy.core.frames import SESSION_OVER, close_frame
from tests.fakes.gateway import PassProxy, get, navigation, protecting, request
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream
from tests.fakes.websocket import GREETING, accepting, handshake

SECRET = "backup-token-with-plenty-of-characters"
FIELD = f"X-Passproxy-Authorization: Bearer {SECRET}"
HASH = f"sha256:{hashlib.sha256(SECRET.encode()).hexdigest()}"
BACKUP: dict[str, Any] = {"name": "backup", "hash": HASH, "paths": ["/api/**", "/socket"], "methods": ["GET"]}


@contextlib.asynccontextmanager
async def taking(upstream: Upstream, folder: Path, *tokens: Any, **more: Any) -> AsyncIterator[PassProxy]:
    passthrough = {"tokens": list(tokens or (BACKUP,)), **more.pop("passthrough", {})}
    async with protecting(upstream.url, folder, passthrough=passthrough, **more) as running:
        yield running


async def asked(passproxy: PassProxy, wire: bytes) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(wire)


@pytest.mark.parametrize("token", ["", " ", None, "short", "x" * 31, "sha256:", "sha256:" + "0" * 63, {"name": "a"}])
async def test_pt_01_pt_04_nothing_blank_short_or_half_is_a_token(upstream, tmp_path, token):
    with pytest.raises(ConfigError, match="tokens"):
        async with taking(upstream, tmp_path, token):
            pass


@pytest.mark.parametrize("field", ["Bearer ", "Bearer", "", "Bearer wrong-wrong-wrong-wrong-wrong-wrong"])
async def test_pt_01_what_is_none_is_answered_at_once_and_never_redirected(upstream, tmp_path, log: Log, field):
    async with taking(upstream, tmp_path) as passproxy:
        answer = await asked(passproxy, navigation("/api/x", f"X-Passproxy-Authorization: {field}"))
    assert answer.status == 401
    assert answer.all(b"location") == []
    assert upstream.requests == []
    assert log.one("request.refused")["code"] == "PP-PASSTHROUGH-TOKEN"


async def test_a_token_passes_under_its_name_and_as_nobody(upstream, tmp_path):
    async with taking(upstream, tmp_path) as passproxy:
        assert (await asked(passproxy, get("/api/x?y=1", FIELD))).status == 200
    (seen,) = upstream.requests
    assert seen.target == b"/api/x?y=1"
    assert seen.one(b"x-passproxy-token") == b"backup"
    assert seen.all(b"x-passproxy-user") == []


async def test_pt_05_it_reaches_neither_the_application_nor_the_log(upstream, tmp_path, log: Log):
    async with taking(upstream, tmp_path, log={"level": "debug"}) as passproxy:
        await asked(passproxy, get("/api/x", FIELD))
        await asked(passproxy, get("/api/x", FIELD + "x"))
        await asked(passproxy, get("/other", FIELD))
    assert SECRET.encode() not in upstream.requests[0].head
    assert not log.tells(SECRET)


async def test_pt_06_hdr_06_a_token_beside_a_cookie_and_a_forged_name_is_the_token_alone(upstream, tmp_path):
    async with taking(upstream, tmp_path) as passproxy:
        wire = get(
            "/api/x", FIELD, "X-Passproxy-User: root", "X-Passproxy-Token: admin", cookie=passproxy.cookie("alice")
        )
        assert (await asked(passproxy, wire)).status == 200
    (seen,) = upstream.requests
    assert seen.all(b"x-passproxy-user") == []
    assert seen.all(b"x-passproxy-token") == [b"backup"]
    assert b"alice" not in seen.head
    assert b"__Host-passproxy" not in seen.head


async def test_pt_06_a_bad_token_beside_a_good_cookie_is_refused(upstream, tmp_path):
    async with taking(upstream, tmp_path) as passproxy:
        assert (await asked(passproxy, get("/api/x", FIELD + "x", cookie=passproxy.cookie()))).status == 401
    assert upstream.requests == []


PT_07 = {
    "PT-07 another path": (get("/admin", FIELD), 403),
    "PT-07 another method": (request("POST", "/api/x", FIELD, body=b"x"), 403),
    "PT-07 up and out": (get("/api/..%2fadmin", FIELD), 400),
    "PT-07 userinfo": (get("/.passproxy/userinfo", FIELD), 401),
    "PT-07 a WebSocket elsewhere": (handshake("X-Passproxy-Authorization: Bearer " + SECRET, target="/other"), 403),
}


@pytest.mark.parametrize(("wire", "status"), PT_07.values(), ids=PT_07)
async def test_it_is_for_its_scope_alone(upstream, tmp_path, wire, status):
    async with taking(upstream, tmp_path) as passproxy:
        assert (await asked(passproxy, wire)).status == status
    assert upstream.requests == []


async def test_pt_07_it_opens_a_websocket_within_its_scope(upstream, tmp_path):
    upstream.script = accepting
    async with taking(upstream, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        await raw.send(handshake(FIELD))
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    assert upstream.requests[0].one(b"x-passproxy-token") == b"backup"


async def test_pt_07_what_a_rule_denies_it_may_not(upstream, tmp_path):
    rules = [
        {"name": "closed", "path": "/api/closed", "action": "deny"},
        {"name": "ops", "path": "/api/**", "require_any_group": ["ops"]},
    ]
    unscoped = {"name": "any", "hash": f"sha256:{hashlib.sha256(b'y' * 40).hexdigest()}"}
    async with taking(upstream, tmp_path, BACKUP, unscoped, access={"rules": rules}) as passproxy:
        other = f"X-Passproxy-Authorization: Bearer {'y' * 40}"
        for wire, status in (
            (get("/api/closed", FIELD), 403),
            (get("/api/open", FIELD), 200),
            (get("/api/open", other), 403),
            (get("/elsewhere", other), 200),
        ):
            assert (await asked(passproxy, wire)).status == status


async def test_pt_09_a_preflight_is_not_answered(upstream, tmp_path):
    async with taking(upstream, tmp_path) as passproxy:
        lines = ("Origin: https://evil.example", "Access-Control-Request-Headers: x-passproxy-authorization")
        answer = await asked(passproxy, request("OPTIONS", "/api/x", *lines))
    assert answer.status == 401
    assert answer.all(b"access-control-allow-origin") == []
    assert upstream.requests == []


async def test_pt_10_a_token_that_is_taken_out_is_none_after_the_reload(upstream, tmp_path):
    async with taking(upstream, tmp_path) as passproxy:
        assert (await asked(passproxy, get("/api/x", FIELD))).status == 200
        passproxy.reload(passthrough={"tokens": []})
        assert (await asked(passproxy, get("/api/x", FIELD))).status == 401
        passproxy.reload(passthrough={"tokens": [{**BACKUP, "hash": "sha256:" + "0" * 64}]})
        assert (await asked(passproxy, get("/api/x", FIELD))).status == 401


async def test_pt_11_plain_text_is_hashed_at_once(upstream, tmp_path):
    async with taking(upstream, tmp_path, SECRET) as passproxy:
        assert (await asked(passproxy, get("/x", FIELD))).status == 200
        assert SECRET not in repr(passproxy.settings)
    assert upstream.requests[0].one(b"x-passproxy-token").startswith(b"token-")


async def test_the_usual_field_counts_where_that_is_allowed(upstream, tmp_path):
    usual = f"Authorization: Bearer {SECRET}"
    async with taking(upstream, tmp_path, passthrough={"tokens_in_authorization": True}) as passproxy:
        assert (await asked(passproxy, get("/api/x", usual))).status == 200
        theirs = "Authorization: Bearer of-the-applications-own"
        assert (await asked(passproxy, get("/api/x", theirs, cookie=passproxy.cookie()))).status == 200
    first, second = upstream.requests
    assert first.all(b"authorization") == []
    assert second.all(b"authorization") == [b"Bearer of-the-applications-own"]
    async with taking(upstream, tmp_path) as passproxy:
        assert (await asked(passproxy, get("/api/x", usual))).status == 401


async def test_pt_10_and_what_it_has_opened_is_closed(upstream, tmp_path):
    upstream.script = accepting
    async with taking(upstream, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        await raw.send(handshake(FIELD))
        await raw.head()
        assert await raw.take(len(GREETING)) == GREETING
        passproxy.reload(passthrough={"tokens": []})
        assert await raw.rest() == close_frame(SESSION_OVER, "the session ended")


PT_02 = {
    "PT-02 two fields": (FIELD, FIELD),
    "PT-02 a bad one first": (FIELD + "x", FIELD),
    "PT-02 without a scheme": (f"X-Passproxy-Authorization: {SECRET}",),
    "PT-02 a tab": (f"X-Passproxy-Authorization: Bearer\t{SECRET}",),
    "PT-02 two in one": (f"{FIELD}, {SECRET}",),
    "PT-02 longer": (FIELD + "EXTRA",),
    "PT-02 in capitals": (FIELD.replace(SECRET, SECRET.upper()),),
    "PT-02 underscores": (FIELD.replace("X-Passproxy-", "X_Passproxy_"),),
    "PT-03 not ASCII": (b"X-Passproxy-Authorization: Bearer \xc3\xa9" + SECRET.encode(),),
}


@pytest.mark.parametrize("lines", PT_02.values(), ids=PT_02)
async def test_what_is_not_exactly_one_token_opens_nothing(upstream, tmp_path, lines):
    async with taking(upstream, tmp_path) as passproxy:
        assert (await asked(passproxy, get("/api/x", *lines))).status == 401
    assert upstream.requests == []


async def test_in_our_own_field_it_leaves_the_applications_authorization_alone(upstream, tmp_path):
    theirs = "Authorization: Basic of-the-applications-own"
    async with taking(upstream, tmp_path, passthrough={"tokens_in_authorization": True}) as passproxy:
        assert (await asked(passproxy, get("/api/x", FIELD, theirs))).status == 200
    assert upstream.requests[0].all(b"authorization") == [b"Basic of-the-applications-own"]


async def test_pt_01_a_refusal_says_which_scheme_there_is_and_when_to_come_back(upstream, tmp_path):
    async with taking(upstream, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        for _ in range(FAILURES_LIMIT):
            answer = await raw.ask(get("/api/x", FIELD + "x"))
            assert (answer.status, answer.one(b"www-authenticate")) == (401, b'Bearer error="invalid_token"')
        answer = await raw.ask(get("/api/x", FIELD + "x"))
        assert (answer.status, answer.one(b"retry-after")) == (429, b"60")


async def test_pt_07_the_groups_of_the_whole_domain_are_asked_of_people(upstream, tmp_path):
    async with taking(upstream, tmp_path, SECRET, access={"require_any_group": ["staff"]}) as passproxy:
        assert (await asked(passproxy, get("/x", FIELD))).status == 200
        assert (await asked(passproxy, get("/x", cookie=passproxy.cookie(groups=("ops",))))).status == 403
