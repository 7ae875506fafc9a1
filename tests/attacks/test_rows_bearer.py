"""Bearer tokens of configured issuers, on the wire: what is none lets nobody in, and costs the issuer nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import HMACAlgorithm

from passproxy.core.bearer import FAILURES_LIMIT
from passproxy.core.frames import SESSION_OVER, close_frame
from passproxy.core.issuers import TOKEN_LIMIT_BYTES
from passproxy.web import audit
from tests.fakes.gateway import ORIGIN, PassProxy, eventually, get, navigation, protecting
from tests.fakes.idp_oidc import DROP, FakeOp, SigningKey, base64url, ec_private_key, rsa_private_key, signed
from tests.fakes.log import Log
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Upstream
from tests.fakes.websocket import GREETING, accepting, handshake

AUDIENCE = "https://api.example.com"
INVALID = b'Bearer error="invalid_token"'


def token(op: FakeOp, header: dict[str, Any] | None = None, key: SigningKey | None = None, **claims: Any) -> str:
    """An access token of this issuer, good unless something says otherwise; DROP removes."""
    return op.access_token(header, key, **claims)


def field(value: str, name: str = "Authorization") -> str:
    return f"{name}: Bearer {value}"


@contextlib.asynccontextmanager
async def trusting(
    upstream: Upstream, folder: Path, op: FakeOp, bearer: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[PassProxy]:
    """PassProxy that takes the tokens of this issuer, and knows its keys."""
    access = {"rules": [{"name": "ops", "path": "/ops/**", "require_any_group": ["ops"]}], **more.pop("access", {})}
    section = {"issuers": [entry(op, **(bearer or {}))]}
    async with protecting(
        upstream.url, folder, bearer={**section, **more.pop("around", {})}, access=access, **more
    ) as running:
        await eventually(lambda: op.asked["jwks"] > 0, "the keys are read")
        await eventually(lambda: running.service._built.issuers[0].keys is not None, "the keys are known")
        yield running


def entry(op: FakeOp, **more: Any) -> dict[str, Any]:
    return {"name": "ci", "issuer": op.issuer, "audience": AUDIENCE, **more}


async def asked(passproxy: PassProxy, wire: bytes) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(wire)


async def test_who_a_token_stands_for_is_told_as_after_a_login(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, {"claims": {"login": ["azp"]}}) as passproxy:
        sent = field(token(op, email="ci@example.com"))
        assert (await asked(passproxy, get("/ops/x?y=1", sent, "X-Passproxy-User: root"))).status == 200
    (seen,) = upstream.requests
    assert seen.target == b"/ops/x?y=1"
    assert seen.all(b"x-passproxy-user") == [b"nightly"]
    assert seen.one(b"x-passproxy-subject") == b"service-7"
    assert seen.one(b"x-passproxy-email") == b"ci@example.com"
    assert seen.one(b"x-passproxy-groups") == b"ops"
    assert seen.one(b"x-passproxy-token") == b"ci"


async def test_pt_05_the_token_reaches_neither_the_application_nor_the_log(upstream, tmp_path, op, log: Log):
    good, bad = token(op), token(op, aud="another")
    async with trusting(upstream, tmp_path, op, log={"level": "debug", "access": True}) as passproxy:
        assert (await asked(passproxy, get("/", field(good)))).status == 200
        assert (await asked(passproxy, get("/", field(good, "X-Passproxy-Authorization")))).status == 200
        assert (await asked(passproxy, get("/", field(bad)))).status == 401
    for seen in upstream.requests:
        assert seen.all(b"authorization") == []
        assert good.encode() not in seen.head
    for each in (good, bad):
        assert not log.tells(each)
        assert not log.tells(each.split(".")[2])


async def test_the_application_gets_it_where_that_is_configured(upstream, tmp_path, op):
    sent = field(token(op))
    async with trusting(upstream, tmp_path, op, {"forward": True}) as passproxy:
        assert (await asked(passproxy, get("/", sent))).status == 200
    assert upstream.requests[0].one(b"authorization") == sent.partition(": ")[2].encode()


async def test_what_names_another_issuer_is_the_applications(upstream, tmp_path, op):
    theirs = field(token(op, iss="https://other.example.com"))
    async with trusting(upstream, tmp_path, op) as passproxy:
        assert (await asked(passproxy, get("/", theirs, cookie=passproxy.cookie()))).status == 200
        assert (await asked(passproxy, get("/", theirs))).status == 401
        assert (
            await asked(passproxy, get("/", "Authorization: Bearer opaque", cookie=passproxy.cookie()))
        ).status == 200
    first, second = upstream.requests
    assert first.one(b"authorization") == theirs.partition(": ")[2].encode()
    assert first.one(b"x-passproxy-user") == b"alice"
    assert second.one(b"authorization") == b"Bearer opaque"


async def test_in_our_own_field_everything_has_to_be_a_token(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op) as passproxy:
        theirs = field(token(op, iss="https://other.example.com"), "X-Passproxy-Authorization")
        assert (await asked(passproxy, get("/", theirs, cookie=passproxy.cookie()))).status == 401
    assert upstream.requests == []


async def test_the_usual_field_can_be_left_to_the_application(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, around={"in_authorization": False}) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op))))).status == 401
        assert (await asked(passproxy, get("/", field(token(op)), cookie=passproxy.cookie()))).status == 200
        assert (await asked(passproxy, get("/", field(token(op), "X-Passproxy-Authorization")))).status == 200
    assert [bool(seen.all(b"authorization")) for seen in upstream.requests] == [True, False]


def _hs256(op: FakeOp, secret: bytes, kid: str = "key-1") -> str:
    head, payload, _ = token(op, {"alg": "HS256", "kid": kid}).split(".")
    content = f"{head}.{payload}"
    return f"{content}.{base64url(HMACAlgorithm(HMACAlgorithm.SHA256).sign(content.encode(), secret))}"


def _unsigned(op: FakeOp, alg: str) -> str:
    return token(op, {"alg": alg}).rpartition(".")[0] + "."


def _changed(op: FakeOp) -> str:
    head, payload, signature = token(op).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"{head}.{base64url(json.dumps({**claims, 'sub': 'admin'}).encode())}.{signature}"


def _public(op: FakeOp) -> bytes:
    return op.signing_key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _twice(op: FakeOp) -> str:
    text = json.dumps({"iss": op.issuer, "aud": AUDIENCE, "sub": "a", "iat": int(time.time())})[:-1]
    payload = f'{text}, "exp": {int(time.time()) + 60}, "sub": "admin"}}'.encode()
    return signed({"alg": "RS256", "typ": "at+jwt", "kid": "key-1"}, payload, op.signing_key)


OTHER = SigningKey(rsa_private_key(2))
NOW = int(time.time())
WRONG = {
    "JWT-01 alg none": lambda op: _unsigned(op, "none"),
    "JWT-01 alg nOnE": lambda op: _unsigned(op, "nOnE"),
    "JWT-01 no alg": lambda op: token(op, {"alg": DROP}),
    "JWT-01 no signature": lambda op: token(op).rpartition(".")[0] + ".",
    "JWT-02 OIDC-02 HS256 with the public key": lambda op: _hs256(op, _public(op)),
    "JWT-02 OIDC-02 HS256 with the key set": lambda op: _hs256(op, json.dumps(op.signing_key.jwk()).encode()),
    "JWT-02 another algorithm than the key's": lambda op: token(op, {"alg": "PS256"}),
    "JWT-02 an algorithm that is not allowed": lambda op: token(op, {"alg": "RS512"}),
    "JWT-03 OIDC-08 another key, the same kid": lambda op: token(op, key=OTHER),
    "JWT-03 changed": _changed,
    "JWT-05 OIDC-11 a logout token": lambda op: token(op, {"typ": "logout+jwt"}),
    "JWT-05 OIDC-11 an event": lambda op: token(op, events={}),
    "JWT-06 an ID token": lambda op: token(op, {"typ": "JWT"}, nonce="n"),
    "JWT-06 an ID token of Keycloak": lambda op: token(op, {"typ": "JWT"}, typ="ID"),
    "JWT-04 a foreign audience": lambda op: token(op, aud="https://other.example.com"),
    "JWT-04 no audience": lambda op: token(op, aud=DROP),
    "JWT-04 an empty audience": lambda op: token(op, aud=[]),
    "JWT-17 an audience that is no text": lambda op: token(op, aud=[AUDIENCE, 7]),
    "JWT-07 expired": lambda op: token(op, iat=NOW - 600, exp=NOW - 1),
    "JWT-07 no end": lambda op: token(op, exp=DROP),
    "JWT-07 an end that is text": lambda op: token(op, exp=str(NOW + 60)),
    "JWT-07 an end in a thousand years": lambda op: token(op, exp=10**10),
    "JWT-07 no beginning": lambda op: token(op, iat=DROP),
    "JWT-08 OIDC-12 from the future": lambda op: token(op, iat=NOW + 3600, exp=NOW + 7200),
    "JWT-08 not yet": lambda op: token(op, nbf=NOW + 3600),
    "JWT-09 a kid that is a path": lambda op: token(op, {"kid": "../../dev/null"}, key=OTHER),
    "JWT-09 a kid that is a number": lambda op: token(op, {"kid": 7}),
    "JWT-09 a kid of ten thousand characters": lambda op: token(op, {"kid": "k" * 10000}),
    "JWT-11 OIDC-10 crit": lambda op: token(op, {"crit": ["exp"]}),
    "JWT-11 OIDC-10 b64": lambda op: token(op, {"b64": False}),
    "JWT-11 OIDC-10 zip": lambda op: token(op, {"zip": "DEF"}),
    "OIDC-09 a key in the header": lambda op: token(op, {"jwk": OTHER.jwk()}, key=OTHER),
    "JWT-15 too long": lambda op: token(op, more="x" * TOKEN_LIMIT_BYTES),
    "JWT-15 a member twice": _twice,
    "JWT-16 an end that is no part of it": lambda op: token(op) + "=",
    "JWT-17 a subject that is a list": lambda op: token(op, sub=["a"]),
    "JWT-17 no subject": lambda op: token(op, sub=DROP),
    "JWT-17 groups in no readable form": lambda op: token(op, groups={"ops": True}),
    "JWT-17 a subject with a line end": lambda op: token(op, sub="a\r\nX-Passproxy-User: root"),
    "bound to a key": lambda op: token(op, cnf={"jkt": "x"}),
}


@pytest.mark.parametrize("made", WRONG.values(), ids=WRONG)
async def test_what_does_not_hold_is_answered_at_once_and_never_redirected(upstream, tmp_path, op, log: Log, made):
    bearer = {"algorithms": ["RS256", "PS256"]}
    async with trusting(upstream, tmp_path, op, bearer) as passproxy:
        fetched = op.asked["jwks"]
        answer = await asked(passproxy, navigation("/ops/x", field(made(op)), cookie=passproxy.cookie()))
        # A key id that nobody has is the one thing that is worth a look.
        assert op.asked["jwks"] <= fetched + 1
    assert (answer.status, answer.one(b"www-authenticate")) == (401, INVALID)
    assert answer.all(b"location") == []
    assert upstream.requests == []
    assert log.one("request.refused")["code"] == "PP-BEARER-TOKEN"


async def test_oidc_09_urls_in_a_header_are_not_followed(upstream, tmp_path, op):
    urls = {name: f"{op.issuer}/graph/{name}" for name in ("jku", "x5u")}
    async with trusting(upstream, tmp_path, op) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op, urls, key=OTHER))))).status == 401
        assert (await asked(passproxy, get("/", field(token(op, urls))))).status == 200
    assert op.asked["graph"] == 0


async def test_pt_02_two_fields_are_refused(upstream, tmp_path, op):
    good = field(token(op))
    async with trusting(upstream, tmp_path, op) as passproxy:
        for lines in ((good, good), (good, "Authorization: Basic eDp5"), ("Authorization: Basic eDp5", good)):
            assert (await asked(passproxy, get("/", *lines, cookie=passproxy.cookie()))).status == 401
    assert upstream.requests == []


async def test_pt_06_beside_a_session_the_token_counts(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op) as passproxy:
        wire = get("/", field(token(op)), cookie=passproxy.cookie("alice"))
        assert (await asked(passproxy, wire)).status == 200
    (seen,) = upstream.requests
    assert seen.all(b"x-passproxy-user") == [b"service-7"]
    assert b"__Host-passproxy" not in seen.head


async def test_rules_and_groups_hold_as_for_a_person(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, access={"require_any_group": ["staff", "ops"]}) as passproxy:
        for groups, target, status in (
            (["ops"], "/ops/x", 200),
            (["staff"], "/ops/x", 403),
            (["staff"], "/", 200),
            (["guests"], "/", 403),
            ([], "/", 403),
        ):
            assert (await asked(passproxy, get(target, field(token(op, groups=groups))))).status == status


async def test_groups_are_read_from_the_claim_that_is_configured(upstream, tmp_path, op):
    bearer = {"claims": {"groups": ["realm_access.roles"]}}
    async with trusting(upstream, tmp_path, op, bearer) as passproxy:
        nested = token(op, groups=["other"], realm_access={"roles": ["ops"]})
        assert (await asked(passproxy, get("/ops/x", field(nested)))).status == 200
        assert (await asked(passproxy, get("/ops/x", field(token(op))))).status == 403


async def test_pt_07_it_is_for_its_scope_alone(upstream, tmp_path, op):
    bearer = {"paths": ["/api/**"], "methods": ["GET"], "require": {"azp": ["nightly"]}}
    async with trusting(upstream, tmp_path, op, bearer) as passproxy:
        for target, claims, status in (
            ("/api/x", {}, 200),
            ("/other", {}, 403),
            ("/api/..%2fother", {}, 400),
            ("/api/x", {"azp": "daily"}, 403),
            ("/api/x", {"azp": DROP}, 403),
            ("/.passproxy/userinfo", {}, 401),
        ):
            assert (await asked(passproxy, get(target, field(token(op, **claims))))).status == status
        answer = await asked(passproxy, get("/other", field(token(op))))
        assert answer.one(b"www-authenticate") == b'Bearer error="insufficient_scope"'
    async with trusting(upstream, tmp_path, op, {"from": ["192.0.2.0/24"]}) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op))))).status == 403
    assert len(upstream.requests) == 1


async def test_a_scope_is_required_among_others(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, {"require": {"scope": ["app.read"]}}) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op, scope="openid app.read"))))).status == 200
        assert (await asked(passproxy, get("/", field(token(op, scope="app.readwrite"))))).status == 403


async def test_id_tokens_are_taken_where_that_is_configured(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, {"id_tokens": True}) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op, {"typ": "JWT"}, nonce="n"))))).status == 200


async def test_pt_04_wrong_ones_are_throttled_and_right_ones_are_not(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op) as passproxy, Raw(passproxy.address) as raw:
        for _ in range(FAILURES_LIMIT):
            assert (await raw.ask(get("/", field(token(op, aud="x"))))).status == 401
        answer = await raw.ask(get("/", field(token(op, aud="x"))))
        assert (answer.status, answer.one(b"retry-after")) == (429, b"60")
        assert (await raw.ask(get("/", field(token(op))))).status == 200


async def test_jwt_13_a_new_key_is_found_and_a_withdrawn_one_is_none(upstream, tmp_path, op):
    old, new = op.signing_key, SigningKey(ec_private_key(), "key-2", "ES256")
    before = token(op)
    async with trusting(upstream, tmp_path, op) as passproxy:
        assert (await asked(passproxy, get("/", field(before)))).status == 200
        op.signing_key, op.published = new, [old.jwk(), new.jwk()]
        assert (await asked(passproxy, get("/", field(token(op))))).status == 200
        assert (await asked(passproxy, get("/", field(before)))).status == 200
        op.published = [new.jwk()]
        await passproxy.service._built.issuers[0].refresh()
        assert (await asked(passproxy, get("/", field(before)))).status == 401


async def test_oidc_14_a_flood_of_unknown_keys_is_one_look_in_a_minute(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op) as passproxy:
        before = op.asked["jwks"]
        made = [get("/", field(token(op, {"kid": f"k{n}"}))) for n in range(60)]
        answers = await asyncio.gather(*(asked(passproxy, wire) for wire in made))
        assert {answer.status for answer in answers} <= {401, 429}
        assert op.asked["jwks"] == before + 1
        assert (await asked(passproxy, get("/", field(token(op))))).status == 200


async def test_oidc_14_what_could_not_hold_anyway_is_no_reason_to_look(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op) as passproxy:
        before = op.asked["jwks"]
        for header, claims in (({}, {"aud": "x"}), ({}, {"exp": NOW - 1}), ({"typ": "x"}, {}), ({"crit": ["x"]}, {})):
            made = token(op, {"kid": "unknown", **header}, **claims)
            assert (await asked(passproxy, get("/", field(made)))).status == 401
        assert op.asked["jwks"] == before


async def test_without_keys_nobody_waits_for_ever_and_nobody_gets_in(upstream, tmp_path, op, log: Log):
    async def broken(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    op.instead["jwks"] = broken
    async with protecting(upstream.url, tmp_path, bearer={"issuers": [entry(op)]}) as passproxy:
        answer = await asked(passproxy, get("/", field(token(op))))
        assert (answer.status, answer.one(b"retry-after")) == (503, b"10")
        assert log.one("request.refused")["code"] == "PP-BEARER-KEYS"
        del op.instead["jwks"]
        await eventually(lambda: passproxy.service._built.issuers[0].keys is not None, "the keys are known")
        assert (await asked(passproxy, get("/", field(token(op))))).status == 200
    assert len(upstream.requests) == 1


def held_up(op: FakeOp) -> asyncio.Event:
    """Its keys, until the event is set."""
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return await op._jwks(request)

    op.instead["jwks"] = slow
    return release


async def test_one_that_comes_before_the_keys_waits_for_them(upstream, tmp_path, op):
    release = held_up(op)
    async with protecting(upstream.url, tmp_path, bearer={"issuers": [entry(op)]}) as passproxy:
        waiting = asyncio.create_task(asked(passproxy, get("/", field(token(op)))))
        issuer = passproxy.service._built.issuers[0]
        await eventually(lambda: issuer._waiting == 1, "it waits")
        release.set()
        assert (await waiting).status == 200
    assert op.asked["jwks"] == 1


@pytest.mark.parametrize(("keeps", "status"), [(True, 200), (False, 401)])
async def test_one_that_waits_is_judged_by_the_configuration_that_holds_then(upstream, tmp_path, op, keeps, status):
    release = held_up(op)
    async with protecting(upstream.url, tmp_path, bearer={"issuers": [entry(op)]}) as passproxy:
        waiting = asyncio.create_task(asked(passproxy, get("/", field(token(op)))))
        issuer = passproxy.service._built.issuers[0]
        await eventually(lambda: issuer._waiting == 1, "it waits")
        passproxy.reload(**({"log": {"level": "warning"}} if keeps else {"bearer": {"issuers": []}}))
        release.set()
        assert (await waiting).status == status


async def test_one_that_goes_away_while_it_waits_is_forgotten(upstream, tmp_path, op, log: Log):
    release = held_up(op)
    async with protecting(upstream.url, tmp_path, bearer={"issuers": [entry(op)]}) as passproxy:
        issuer = passproxy.service._built.issuers[0]
        async with Raw(passproxy.address) as raw:
            await raw.send(get("/", field(token(op))))
            await eventually(lambda: issuer._waiting == 1, "it waits")
        release.set()
        await eventually(lambda: issuer._waiting == 0, "nobody waits")
        assert (await asked(passproxy, get("/", field(token(op))))).status == 200
    assert len(upstream.requests) == 1
    assert log.named("request.failed") == []


async def test_pt_10_an_issuer_that_is_taken_out_is_none_after_the_reload(upstream, tmp_path, op):
    upstream.script = accepting
    async with trusting(upstream, tmp_path, op) as passproxy, Raw(passproxy.address) as raw:
        await raw.send(handshake(field(token(op))))
        await raw.head()
        assert await raw.take(len(GREETING)) == GREETING
        passproxy.reload()
        assert (await asked(passproxy, handshake(field(token(op))))).status == 101
        passproxy.reload(bearer={"issuers": []})
        assert await raw.rest() == close_frame(SESSION_OVER, "the session ended")
        assert (await asked(passproxy, get("/", field(token(op))))).status == 401


async def test_a_token_ends_what_it_has_opened(upstream, tmp_path, op):
    upstream.script = accepting
    async with trusting(upstream, tmp_path, op) as passproxy, Raw(passproxy.address) as raw:
        await raw.send(handshake(field(token(op, exp=int(time.time()) + 2))))
        await raw.head()
        assert await raw.take(len(GREETING)) == GREETING
        assert await raw.rest() == close_frame(SESSION_OVER, "the session ended")


async def test_the_assertion_is_made_for_it_as_for_a_session(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, assertion={"audience": ORIGIN}) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op))))).status == 200
    claims = upstream.requests[0].one(b"x-passproxy-assertion").split(b".")[1]
    said = json.loads(base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4)))
    assert (said["sub"], said["groups"]) == ("service-7", ["ops"])


async def test_session_not_before_holds_for_tokens_too(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op, session={"not_before": "2100-01-01T00:00:00Z"}) as passproxy:
        assert (await asked(passproxy, get("/", field(token(op))))).status == 401


async def test_pt_06_log_and_audit_name_the_token_and_never_the_cookie_beside_it(upstream, tmp_path, op, log: Log):
    file = tmp_path / "audit.jsonl"
    audit.set_up(f"file:{file}")
    async with trusting(upstream, tmp_path, op, log={"access": True}) as passproxy:
        for claims, target in (({}, "/ops/x"), ({"groups": []}, "/ops/x"), ({"aud": "x"}, "/")):
            sent = field(token(op, **claims))
            assert (await asked(passproxy, get(target, sent, cookie=passproxy.cookie("alice")))).status
        await eventually(lambda: file.read_text("utf-8").count("\n") >= 2, "the lines of the audit log")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    told = [(each["event"], each.get("user")) for each in lines if each["event"] != "audit.keys"]
    assert told == [("audit.bearer", "service-7"), ("audit.refusal", "service-7")]
    assert [line.get("user") for line in log.named("http.access")] == ["service-7", None, None]


async def test_each_request_is_counted_under_the_name_of_its_issuer(upstream, tmp_path, op):
    async with trusting(upstream, tmp_path, op) as passproxy:
        for _ in range(3):
            await asked(passproxy, get("/", field(token(op))))
        await asked(passproxy, get("/", field(token(op, aud="x"))))
        counts = passproxy.service._gateway.counts
    assert (counts.bearers, counts.errors) == ({"ci": 3}, {"PP-BEARER-TOKEN": 1})


@pytest.fixture
async def op() -> AsyncIterator[FakeOp]:
    async with FakeOp() as provider:
        provider.signing_key = replace(provider.signing_key)
        yield provider
