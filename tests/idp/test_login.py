"""A login ends where it began, once, and nothing is asked of the provider before that is certain."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from passproxy.core.errors import (
    AccessDenied,
    CallbackMalformed,
    IdentityIncomplete,
    IdpUnavailable,
    LoginError,
    LoginExpired,
    LoginReplayed,
    LoginUnknown,
)
from passproxy.core.identity import AttributeRules, Authentication
from passproxy.core.kept import disclosed
from passproxy.core.pending import LOGIN_LIMIT_SECONDS, PendingLogins
from passproxy.core.session import SessionRules, Sessions
from passproxy.idp import login as module
from passproxy.idp.base import Callback, IdentityProvider, Proof
from passproxy.idp.login import Finished, Logins, Started
from tests.core.given import NAMES, NOW, RING
from tests.idp.desk import Desk, said


class Visitor:
    """A browser: its login cookies, and what comes of them."""

    def __init__(self, logins: Logins) -> None:
        self.logins = logins
        self.cookies: dict[bytes, bytes] = {}

    async def start(self, return_to: str = "/", now: float = NOW) -> Started:
        started = await self.logins.start(return_to, self.cookies, now)
        for name in started.expired:
            del self.cookies[name.encode()]
        self.cookies |= {name.encode(): value.encode() for name, value in started.cookies.items()}
        return started

    async def finish(self, started: Started, now: float = NOW, **changes: str) -> Finished:
        return await self.logins.finish(Callback({**answer_to(started), **changes}), self.cookies, now)


def answer_to(started: Started) -> dict[str, str]:
    return dict(field.split("=", 1) for field in started.redirect_to.partition("?")[2].split("&"))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def logins_at(desk: IdentityProvider) -> Logins:
    return Logins(
        desk, PendingLogins(RING, NAMES), Sessions(RING, 3600, lambda session: b"", SessionRules(300)), AttributeRules()
    )


@pytest.fixture
def visitor(desk: Desk) -> Visitor:
    return Visitor(logins_at(desk))


async def test_a_login_ends_with_a_session_where_it_began(visitor):
    started = await visitor.start("/deep/link?x=1")
    finished = await visitor.finish(started)
    assert finished.return_to == "/deep/link?x=1"
    assert finished.session.identity.attributes["user"] == "alice"
    assert finished.expired == list(started.cookies) == visitor.logins.cookies_over(visitor.cookies)
    token = finished.token.encode()
    known = Sessions(RING, 3600, lambda session: b"").open(token, NOW).holding(token)
    assert known.session == finished.session


async def test_two_logins_have_nothing_in_common(visitor):
    one, other = await visitor.start(), await visitor.start()
    assert answer_to(one)["state"] != answer_to(other)["state"]
    assert answer_to(one)["word"] != answer_to(other)["word"]
    assert one.cookies.keys().isdisjoint(other.cookies)


async def test_tabs_finish_in_any_order_each_at_its_own_page(visitor):
    started = [await visitor.start(f"/{number}") for number in range(12)]
    for number in (7, 0, 11, 3, 9, 1):
        assert (await visitor.finish(started[number])).return_to == f"/{number}"


async def test_jwt_21_each_login_makes_a_session_of_its_own(visitor):
    sessions = {(await visitor.finish(await visitor.start())).session.id for _ in range(3)}
    assert len(sessions) == 3


@pytest.mark.parametrize("fields", [{}, {"word": "x"}, {"state": ""}])
async def test_an_answer_without_a_login_id_is_malformed(visitor, desk, fields):
    with pytest.raises(CallbackMalformed):
        await visitor.logins.finish(Callback(fields), visitor.cookies, NOW)
    assert desk.asked == []


async def test_lf_08_an_answer_in_another_browser_is_unknown(visitor, desk):
    """Login CSRF: the attacker's own answer in the victim's browser."""
    started = await visitor.start()
    victim = Visitor(visitor.logins)
    await victim.start()
    with pytest.raises(LoginUnknown):
        await victim.finish(started)
    assert desk.asked == []


async def test_an_answer_to_another_login_of_the_same_browser_does_not_fit(visitor, desk):
    mine, other = await visitor.start(), await visitor.start()
    with pytest.raises(LoginError):
        await visitor.finish(mine, word=answer_to(other)["word"])


@pytest.mark.parametrize("later", [LOGIN_LIMIT_SECONDS + 1, 86400])
async def test_an_answer_that_comes_too_late_is_not_even_verified(visitor, desk, later):
    started = await visitor.start()
    with pytest.raises(LoginExpired):
        await visitor.finish(started, NOW + later)
    assert desk.asked == []


async def test_an_answer_is_accepted_once(visitor, desk):
    started = await visitor.start()
    await visitor.finish(started)
    for now in (NOW, NOW + 1, NOW + LOGIN_LIMIT_SECONDS):
        with pytest.raises(LoginReplayed):
            await visitor.finish(started, now)
    assert len(desk.asked) == 1


async def test_an_answer_is_accepted_once_though_others_finish_in_between(visitor):
    """Remembered until its own login has expired, also when a replica with a faster clock began it."""
    started = await visitor.start(now=NOW + 50)
    await visitor.finish(started, NOW)
    later = NOW + LOGIN_LIMIT_SECONDS + 10
    await visitor.finish(await visitor.start(now=later), later)
    with pytest.raises(LoginError):
        await visitor.finish(started, later)


async def test_an_answer_that_was_refused_cannot_be_tried_again(visitor, desk):
    started = await visitor.start()
    with pytest.raises(LoginError):
        await visitor.finish(started, word="wrong")
    with pytest.raises(LoginReplayed):
        await visitor.finish(started)
    assert len(desk.asked) == 1


async def test_but_one_that_the_provider_could_not_judge_can(visitor, desk):
    started = await visitor.start()
    desk.answers = [IdpUnavailable("down")]
    with pytest.raises(IdpUnavailable):
        await visitor.finish(started)
    assert (await visitor.finish(started)).session.identity.subject == "s-1"


async def test_of_two_answers_at_once_one_is_accepted(visitor):
    started = await visitor.start()
    results = await asyncio.gather(visitor.finish(started), visitor.finish(started), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Finished", "LoginReplayed"]


async def test_used_logins_are_forgotten_when_they_have_expired(visitor):
    for number in range(5):
        await visitor.finish(await visitor.start(now=NOW + number), NOW + number)
    much_later = NOW + 3 * LOGIN_LIMIT_SECONDS
    await visitor.finish(await visitor.start(now=much_later), much_later)
    assert len(visitor.logins._used) == 1


async def test_the_memory_of_used_logins_is_bounded(visitor, monkeypatch):
    monkeypatch.setattr(module, "USED_LIMIT", 3)
    for _ in range(6):
        await visitor.finish(await visitor.start())
    assert len(visitor.logins._used) == 3


async def test_somebody_without_a_name_does_not_get_in(visitor, desk, monkeypatch):
    async def nobody(callback: Callback, proof: Proof, now: float) -> Authentication:
        return Authentication("https://idp.example.com", " ", {}, NOW)

    monkeypatch.setattr(desk, "finish", nobody)
    with pytest.raises(IdentityIncomplete):
        await visitor.finish(await visitor.start())


async def test_a_provider_that_was_never_reached_starts_nothing(desk, visitor, monkeypatch):
    async def unreachable(login_id: str, proof: Proof, now: float) -> str:
        raise IdpUnavailable("never reached")

    monkeypatch.setattr(desk, "start", unreachable)
    with pytest.raises(IdpUnavailable):
        await visitor.start()
    assert visitor.cookies == {}


async def test_any_replica_finishes_a_login(visitor, desk):
    started = await visitor.start("/x")
    visitor.logins = logins_at(desk)
    assert (await visitor.finish(started)).return_to == "/x"


async def test_the_redirect_shows_neither_target_nor_secret(visitor):
    started = await visitor.start("/reset?token=secret")
    assert "secret" not in started.redirect_to
    assert "reset" not in started.redirect_to
    assert len(answer_to(started)["state"]) <= 80


def test_a_proof_gives_each_purpose_something_else():
    proof = Proof(b"s" * 16)
    assert proof.derive("nonce") == Proof(b"s" * 16).derive("nonce")
    assert len({proof.derive("nonce"), proof.derive("verifier"), replace(proof, secret=b"t" * 16).derive("nonce")}) == 3
    assert len(proof.derive("nonce")) == 43


async def test_what_the_adapter_kept_is_enclosed_beside_the_session(visitor, desk):
    desk.answers = [said(b"for later")]
    finished = await visitor.finish(await visitor.start())
    assert disclosed(RING, finished.session.id, finished.kept.encode()) == b"for later"
    assert "for later" not in finished.kept
    desk.answers = [said(b"x" * 4000)]
    too_large = await visitor.finish(await visitor.start())
    assert (too_large.kept, too_large.session.checked_at) == ("", 0)


async def test_somebody_in_none_of_the_required_groups_gets_no_session(desk):
    rules = SessionRules(grants=lambda identity: "staff" in identity.groups)
    sessions = Sessions(RING, 3600, lambda session: b"", rules)
    visitor = Visitor(Logins(desk, PendingLogins(RING, NAMES), sessions, AttributeRules()))
    started = await visitor.start()
    desk.answers = [said(groups=("guests",)), said(groups=("staff",))]
    with pytest.raises(AccessDenied):
        await visitor.finish(started)
    assert (await visitor.finish(await visitor.start())).session.identity.groups == ("staff",)


@pytest.mark.parametrize(
    ("relay_state", "lands"),
    [("", "/"), ("/reports?x=1#top", "/reports?x=1#top"), ("https://evil.example/", "/"), ("//evil.example", "/")],
)
async def test_sem_10_an_answer_that_nobody_asked_for_lands_on_a_local_path_where_such_are_taken(
    visitor, desk, relay_state, lands
):
    desk.accepts_unsolicited = True
    assert (await visitor.logins.finish(Callback({"state": relay_state}), {}, NOW)).return_to == lands
    assert desk.asked == ["unsolicited"]


async def test_sem_10_an_answer_that_names_a_login_is_never_taken_as_unsolicited(visitor, desk):
    desk.accepts_unsolicited = True
    started = await visitor.start()
    with pytest.raises(LoginUnknown):
        await visitor.logins.finish(Callback(answer_to(started)), {}, NOW)
    desk.accepts_unsolicited = False
    with pytest.raises(LoginUnknown):
        await visitor.logins.finish(Callback({"state": "/reports"}), {}, NOW)
    assert desk.asked == []
