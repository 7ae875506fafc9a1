"""A new configuration while the old one serves: what changes, what goes on, and what is never forgotten."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from passproxy.app import service
from passproxy.cli import main
from passproxy.core.errors import ConfigError
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, PassProxy, eventually, get, protecting
from tests.fakes.raw import Answer, Raw
from tests.fakes.upstream import Line, Seen, Upstream, answering
from tests.flows.both import *  # noqa: F403 - fixtures


async def answer(passproxy: PassProxy, path: str, **more: str) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(get(path, **more))


async def status(passproxy: PassProxy, path: str, cookie: str | None = None) -> int:
    return (await answer(passproxy, path, **({} if cookie is None else {"cookie": cookie}))).status


def session_of(browser: Browser, passproxy: PassProxy) -> str:
    cookie = browser.cookies.named(passproxy.names.session)
    assert cookie is not None
    return f"{cookie.name}={cookie.value}"


async def test_the_next_request_is_judged_by_the_new_configuration(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy:
        assert await status(passproxy, "/docs") == 401
        passproxy.reload(passthrough={"paths": ["/docs"]})
        assert await status(passproxy, "/docs") == 200
        passproxy.reload()
        assert await status(passproxy, "/docs") == 401


async def test_a_session_goes_on_and_follows_new_rules(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy:
        cookie = passproxy.cookie(groups=("ops",))
        assert await status(passproxy, "/", cookie) == 200
        passproxy.reload(access={"require_any_group": ["staff"]})
        assert await status(passproxy, "/", cookie) == 403
        passproxy.reload(access={"require_any_group": ["ops"]})
        assert await status(passproxy, "/", cookie) == 200


async def test_a_session_that_is_remembered_meets_rules_by_their_new_numbers(upstream, tmp_path):
    ops = {"name": "ops", "path": "/x", "require_any_group": ["ops"]}
    board = {"name": "board", "path": "/y", "require_any_group": ["board"]}
    async with protecting(upstream.url, tmp_path, access={"rules": [ops, board]}) as passproxy:
        cookie = passproxy.cookie(groups=("ops",))
        assert [await status(passproxy, path, cookie) for path in ("/x", "/y")] == [200, 403]
        passproxy.reload(access={"rules": [board, ops]})
        assert [await status(passproxy, path, cookie) for path in ("/x", "/y")] == [200, 403]
        passproxy.reload(access={"default": "deny", "rules": [{**ops, "path": "/y"}]})
        assert [await status(passproxy, path, cookie) for path in ("/x", "/y")] == [403, 200]


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"session": {"keys_file": "/nonexistent/keys.json"}}, "keys.json: the session keys cannot be read"),
        ({"listen": "127.0.0.1:1"}, "listen: changes at a restart only"),
        ({"saml": {"metadata_file": "/x", "key_file": "/x", "certificate_file": "/x"}, "oidc": None}, "saml.key_file"),
        ({"upstream": {"url": "https://127.0.0.1:1", "ca_file": "/nonexistent"}}, "upstream.ca_file"),
        ({"revocation": {"store": "file:/nonexistent/list"}}, "revocation.store"),
        ({"passthrough": {"paths": ["nonsense"]}}, "passthrough.paths"),
    ],
)
async def test_one_that_cannot_be_used_changes_nothing(upstream, tmp_path, sections, complaint):
    async with protecting(upstream.url, tmp_path, passthrough={"paths": ["/docs"]}) as passproxy:
        cookie = passproxy.cookie()
        with pytest.raises(ConfigError) as refusal:
            passproxy.reload(**{"passthrough": {"paths": ["/admin"]}, **sections})
        assert complaint in " ".join(refusal.value.problems)
        assert await status(passproxy, "/docs") == 200
        assert await status(passproxy, "/admin") == 401
        assert await status(passproxy, "/", cookie) == 200


async def test_what_is_under_way_ends_as_it_began(tmp_path):
    goes_on = asyncio.Event()

    async def slow(seen: Seen, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await goes_on.wait()
        await line.send(b"done")

    async with (
        Upstream(slow) as old,
        Upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")) as new,
        protecting(old.url, tmp_path) as passproxy,
    ):
        cookie = passproxy.cookie()
        waiting = asyncio.ensure_future(answer(passproxy, "/", cookie=cookie))
        await eventually(lambda: len(old.requests) == 1, "the old application is asked")
        passproxy.reload(upstream={"url": new.url})
        assert (await answer(passproxy, "/", cookie=cookie)).body == b"new"
        goes_on.set()
        assert (await waiting).body == b"halfdone"


async def test_connections_to_an_application_that_is_not_configured_any_more_are_closed(tmp_path):
    async with Upstream() as old, Upstream() as new, protecting(old.url, tmp_path) as passproxy:
        cookie = passproxy.cookie()
        assert await status(passproxy, "/", cookie) == 200
        pool = passproxy.service._built.parts.pool
        assert len(pool._idle) == 1
        passproxy.reload(upstream={"url": new.url})
        await eventually(lambda: not pool._idle and pool._open == 0, "the old connections are closed")


async def test_with_the_same_application_connections_are_kept(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy:
        cookie = passproxy.cookie()
        assert await status(passproxy, "/", cookie) == 200
        passproxy.reload(support={"footer": "Example Corp"})
        assert await status(passproxy, "/", cookie) == 200
        assert len({seen.connection for seen in upstream.requests}) == 1


async def test_an_ended_session_stays_ended_whatever_the_list_is_kept_in(browser, passproxy, tmp_path):
    page = await browser.sign_in(await browser.open(f"{ORIGIN}/"), "alice", "alice")
    assert page.status == 200
    stolen = session_of(browser, passproxy)
    assert await status(passproxy, "/", stolen) == 200
    await browser.open(f"{ORIGIN}/.passproxy/logout")
    for store in ("memory", f"file:{tmp_path}/revoked", "none", "memory"):
        passproxy.reload(revocation={"store": store})
        assert await status(passproxy, "/", stolen) == 401


async def test_a_login_that_began_before_ends_after(browser, passproxy, upstream):
    page = await browser.open(f"{ORIGIN}/deep?x=1")
    passproxy.reload(support={"footer": "Example Corp"})
    page = await browser.sign_in(page, "alice", "alice")
    assert (page.status, page.url) == (200, f"{ORIGIN}/deep?x=1")


async def test_new_keys_log_nobody_out_and_lose_no_login(browser, passproxy, tmp_path):
    page = await browser.open(f"{ORIGIN}/deep")
    file = tmp_path / "app.yaml"
    file.write_text(
        f"domain: app.example.com\nstate_dir: {tmp_path}\nupstream: {{url: 'http://127.0.0.1:1'}}\n"
        "oidc: {issuer: 'https://sso.example.com', client_id: app}\n"
    )
    before = passproxy.cookie()
    assert main(["keys", "rotate", str(file)]) == 0
    passproxy.reload()
    assert await status(passproxy, "/", before) == 200
    page = await browser.sign_in(page, "alice", "alice")
    assert (page.status, page.url) == (200, f"{ORIGIN}/deep")


async def test_the_provider_is_asked_anew_only_when_it_is_another_one(passproxy):
    provider = passproxy.service._built.provider
    passproxy.reload(support={"footer": "Example Corp"})
    assert passproxy.service._built.provider is provider
    section = next(name for name in ("oidc", "saml") if name in passproxy.configuration)
    passproxy.reload(**{section: {**passproxy.configuration[section], "clock_skew": "30s"}})
    assert passproxy.service._built.provider is not provider


async def test_a_file_with_other_content_is_another_setting(tmp_path, idp, upstream):
    certificate = tmp_path / "idp.xml"
    async with aiohttp.ClientSession() as http, http.get(idp.metadata_url) as answer:
        certificate.write_bytes(await answer.read())
    async with protecting(upstream.url, tmp_path, saml={"metadata_file": str(certificate)}) as passproxy:
        provider = passproxy.service._built.provider
        certificate.write_bytes(certificate.read_bytes() + b"\n")
        passproxy.reload()
        assert passproxy.service._built.provider is not provider


async def test_a_provider_that_is_not_configured_any_more_is_followed_no_longer(passproxy, monkeypatch):
    monkeypatch.setattr(service, "LINGER_SECONDS", 0.0)
    running = passproxy.service._running[passproxy.service._built.provider]
    section = next(name for name in ("oidc", "saml") if name in passproxy.configuration)
    passproxy.reload(**{section: {**passproxy.configuration[section], "clock_skew": "30s"}})
    await eventually(running.done, "the old provider's task has ended")
    assert len(passproxy.service._running) == 2


async def test_a_hundred_reloads_leave_no_task_and_no_connection_behind(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy:
        cookie = passproxy.cookie()
        assert await status(passproxy, "/", cookie) == 200
        before = len(asyncio.all_tasks())
        for number in range(100):
            passproxy.reload(support={"footer": str(number)})
            assert await status(passproxy, "/", cookie) == 200
        await eventually(lambda: len(asyncio.all_tasks()) <= before, "the tasks are as many as before")
