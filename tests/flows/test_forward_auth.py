"""Forward authentication with a provider behind it: sessions that are renewed while a web server asks about them."""

from __future__ import annotations

import asyncio
import time

import pytest

from passproxy.core.session import Sessions
from passproxy.idp import renewal
from tests.attacks.test_rows_bearer import entry, field, token, trusting
from tests.fakes.browser import Browser
from tests.fakes.cookie_jar import Context
from tests.fakes.gateway import ORIGIN, PassProxy, eventually, protecting
from tests.fakes.idp_oidc import DROP, FakeOp, SigningKey, ec_private_key
from tests.fakes.questions import SERVERS, question
from tests.fakes.raw import Answer, Raw


@pytest.fixture
async def op():
    async with FakeOp() as op:
        op.userinfo["groups"] = DROP
        op.rotates = True
        yield op


_known = Sessions.known


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are due as soon as they have begun."""
    monkeypatch.setattr(Sessions, "known", lambda self, session: _known(self, session)._replace(due_at=1.0))


def site(op: FakeOp, upstream, folder, server: str):
    provider = {"issuer": op.issuer, "client_id": op.client_id, "client_secret": op.client_secret}
    return protecting(upstream.url, folder, oidc=provider, forward_auth={"web_server": server})


async def answer(passproxy: PassProxy, data: bytes) -> Answer:
    async with Raw(passproxy.address) as raw:
        return await raw.ask(data)


async def cookie_of(passproxy: PassProxy) -> str:
    async with Browser(passproxy.front) as browser:
        assert (await browser.open(f"{ORIGIN}/")).status == 200
        return browser.cookies.header(f"{ORIGIN}/", Context(None, True, True), time.time())


def cookies(got: Answer, server: str) -> list[bytes]:
    """What the browser has to be sent."""
    if server == "traefik":
        return got.all(b"set-cookie")
    assert not got.all(b"set-cookie")
    named = [(name, value) for name, value in got.fields if name.startswith(b"X-Passproxy-Set-Cookie-")]
    assert [name for name, _ in named] == [b"X-Passproxy-Set-Cookie-%d" % n for n in range(1, len(named) + 1)]
    return [value for _, value in named]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_renewed_session_is_handed_on_for_the_browser(op, upstream, tmp_path, server):
    async with site(op, upstream, tmp_path, server) as passproxy:
        cookie = await cookie_of(passproxy)
        op.claims["groups"] = ["staff", "board"]
        before = op.asked["token"]
        answers = await asyncio.gather(
            *(answer(passproxy, question(server, f"/{n}", cookie=cookie)) for n in range(20))
        )
        assert op.asked["token"] == before + 1
        for got in answers:
            assert (got.status, got.one(b"x-passproxy-groups")) == (200, b"staff,board")
            names = [value.partition(b"=")[0] for value in cookies(got, server)]
            assert names == [b"__Host-passproxy", b"__Host-passproxy-idp"]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_session_that_the_provider_ended_is_none(op, upstream, tmp_path, server, monkeypatch):
    monkeypatch.setattr(renewal, "GRACE_SECONDS", 0.0)
    async with site(op, upstream, tmp_path, server) as passproxy:
        cookie = await cookie_of(passproxy)
        op.token_response = {"error": "invalid_grant"}
        await answer(passproxy, question(server, "/", cookie=cookie))
        got = await answer(passproxy, question(server, "/", cookie=cookie))
        assert got.status == 401
        assert len([value for value in got.all(b"set-cookie") if b"Max-Age=0" in value]) == 2


@pytest.mark.parametrize("server", SERVERS)
async def test_a_largest_session_has_no_more_cookies_than_the_guide_hands_on(op, upstream, tmp_path, server):
    op.claims["groups"] = [f"group-{number:06}-{number * 7919 % 999983:06}" for number in range(280)]
    async with site(op, upstream, tmp_path, server) as passproxy:
        cookie = await cookie_of(passproxy)
        assert "__Host-passproxy-2=" in cookie
        op.claims["groups"] = ["staff"]
        got = await answer(passproxy, question(server, "/", cookie=cookie))
        assert 2 < len(cookies(got, server)) <= 5


@pytest.mark.parametrize("after", [{"web_server": "caddy"}, {"web_server": "nginx"}, None])
async def test_a_configuration_that_changes_during_a_renewal_is_the_one_that_answers(op, upstream, tmp_path, after):
    async with site(op, upstream, tmp_path, "caddy") as passproxy:
        cookie = await cookie_of(passproxy)
        asked, go_on = asyncio.Event(), asyncio.Event()
        token = op._token

        async def slow(request):
            asked.set()
            await go_on.wait()
            return await token(request)

        op.instead["token"] = slow
        waiting = asyncio.ensure_future(answer(passproxy, question("caddy", "/", cookie=cookie)))
        await asked.wait()
        passproxy.reload(forward_auth=after, access={"require_any_group": ["nobody"]})
        go_on.set()
        got = await waiting
        assert got.status == (404 if after is None else 403)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_bearer_token_is_an_identity_and_stays_here(op, upstream, tmp_path, server):
    """Also one whose key has to be looked for first."""
    old, new = op.signing_key, SigningKey(ec_private_key(), "key-2", "ES256")
    async with trusting(upstream, tmp_path, op, forward_auth={"web_server": server}) as passproxy:
        got = await answer(passproxy, question(server, "/ops/x", field(token(op))))
        assert (got.status, got.one(b"x-passproxy-subject"), got.all(b"authorization")) == (200, b"service-7", [])
        op.signing_key, op.published = new, [old.jwk(), new.jwk()]
        assert (await answer(passproxy, question(server, "/ops/x", field(token(op))))).status == 200
        refused = await answer(passproxy, question(server, "/ops/x", field(token(op, groups=[]))))
        assert refused.status == 403
        unknown = await answer(passproxy, question(server, "/x", field(token(op, {"kid": "unknown"}))))
        assert unknown.status == 401
    assert upstream.is_untouched


@pytest.mark.parametrize("after", [{"web_server": "caddy"}, None])
async def test_a_configuration_that_changes_while_keys_are_awaited_is_the_one_that_answers(
    op, upstream, tmp_path, after
):
    release = asyncio.Event()

    async def slow(request):
        await release.wait()
        return await op._jwks(request)

    op.instead["jwks"] = slow
    sections = {"forward_auth": {"web_server": "caddy"}, "bearer": {"issuers": [entry(op)]}}
    async with protecting(upstream.url, tmp_path, **sections) as passproxy:
        waiting = asyncio.create_task(answer(passproxy, question("caddy", "/", field(token(op)))))
        issuer = passproxy.service._built.issuers[0]
        await eventually(lambda: issuer._waiting == 1, "it waits")
        passproxy.reload(forward_auth=after, bearer={})
        release.set()
        assert (await waiting).status == (404 if after is None else 401)
