"""A session is asked about once however many requests it has, and goes on while nobody says no."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from passproxy.core.counts import Counts
from passproxy.core.errors import IdpUnavailable, LoginError, RenewalRefused
from passproxy.core.handles import own_handle
from passproxy.core.identity import AttributeRules, identity_from
from passproxy.core.kept import disclosed, enclosed
from passproxy.core.session import SAID_SINCE, SessionRules, Sessions
from passproxy.core.session_claims import Session
from passproxy.idp import renewal as module
from passproxy.idp.renewal import GRACE_SECONDS, PAUSE_SECONDS, Ended, Renewals, Renewed, Unchanged
from passproxy.idp.revocation import NoRevocations, Revocations
from tests.core.given import NOW, RING
from tests.idp.desk import Desk, said

DUE = NOW + 300
REFRESHING = SessionRules(refresh_seconds=300)


class Stand:
    """One instance, with the provider that all instances share."""

    def __init__(
        self,
        desk: Desk,
        rules: SessionRules = REFRESHING,
        before: Stand | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        listed = {} if revocations is None else revocations.revoked
        self.sessions = Sessions(RING, 36000, lambda session: b"", rules, listed)
        self.tasks: list[asyncio.Future[None]] = []
        renewals = None if before is None else before.renewals
        self.counts = Counts()
        self.renewals = Renewals(
            desk, self.sessions, RING, AttributeRules(), self.counts, self._spawn, renewals, revocations
        )

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def session(self, kept: bytes = b"r0") -> tuple[Session, bytes]:
        known = said(kept, groups=("staff",), at=NOW)
        session = self.sessions.begin(identity_from(known, AttributeRules()), known, NOW)
        value = enclosed(RING, session.id, kept)
        assert value is not None
        return session, value.encode()

    async def ask(self, session: Session, cookie: bytes | None, now: float = DUE) -> Any:
        return await self.renewals.outcome(session, cookie, now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def stand(desk: Desk) -> Stand:
    return Stand(desk)


async def test_a_renewed_session_says_what_the_provider_says_now(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [said(b"r1", groups=("staff", "board"), at=NOW)]
    outcome = await stand.ask(session, cookie)
    assert isinstance(outcome, Renewed)
    token = outcome.token.encode()
    renewed = stand.sessions.open(token, DUE).holding(token)
    assert renewed.session.identity.groups == ("staff", "board")
    assert (renewed.session.id, renewed.session.checked_at, renewed.due_at) == (session.id, DUE, DUE + 300)
    assert disclosed(RING, session.id, outcome.kept.encode()) == b"r1"
    assert outcome.session.session == renewed.session


async def test_an_answer_to_an_earlier_configuration_is_judged_by_the_rules_of_this_one(desk):
    before = Stand(desk, SessionRules(300, grants=lambda identity: 0b1111))
    after = Stand(desk, SessionRules(300, grants=lambda identity: 0b0001), before)
    session, cookie = before.session()
    desk.renewals = [said(b"r1", groups=("staff",), at=NOW)]
    first = await before.ask(session, cookie)
    again = await after.ask(session, cookie)
    assert isinstance(first, Renewed)
    assert isinstance(again, Renewed)
    assert (first.token, first.session.granted, again.session.granted) == (again.token, 0b1111, 0b0001)


async def test_fifty_requests_at_once_are_one_question_with_one_answer(stand, desk):
    session, cookie = stand.session()
    desk.open.clear()
    asked = [asyncio.ensure_future(stand.ask(session, cookie)) for _ in range(50)]
    await asyncio.sleep(0.01)
    desk.open.set()
    outcomes = await asyncio.gather(*asked)
    assert desk.renewed == [b"r0"]
    assert len({outcome.token for outcome in outcomes}) == 1


async def test_who_comes_late_with_the_old_cookie_gets_the_same_answer_again(stand, desk):
    session, cookie = stand.session()
    first = await stand.ask(session, cookie)
    assert await stand.ask(session, cookie, DUE + 60) == first
    assert desk.renewed == [b"r0"]


async def test_where_nothing_new_is_kept_the_provider_is_asked_each_time_all_the_same(stand, desk):
    session, cookie = stand.session()
    for number in range(3):
        desk.renewals = [said(b"r0", at=NOW)]
        outcome = await stand.ask(session, cookie, DUE + number * 300)
        assert len(desk.renewed) == number + 1
        session = outcome.session.session


async def test_within_a_second_too_nobody_is_asked_twice_about_the_same(stand, desk):
    session, cookie = stand.session()
    first = await stand.ask(session, cookie, NOW)
    assert await stand.ask(session, cookie, NOW) == first
    assert len(desk.renewed) == 1


async def test_who_has_the_answer_is_asked_about_again_when_it_is_due(stand, desk):
    session, cookie = stand.session()
    first = await stand.ask(session, cookie)
    second = await stand.ask(first.session.session, first.kept.encode(), DUE + 300)
    assert desk.renewed == [b"r0", b"r0+"]
    assert second.session.session.checked_at == DUE + 300


async def test_the_loser_between_two_instances_keeps_working_until_the_browser_has_the_winners(desk):
    one, other = Stand(desk), Stand(desk)
    session, cookie = one.session()
    won = await one.ask(session, cookie)
    desk.renewals = [RenewalRefused("used before")]
    for _ in range(3):
        assert await other.ask(session, cookie) == Unchanged()
    assert desk.renewed == [b"r0", b"r0"]
    again = await other.ask(won.session.session, won.kept.encode(), DUE + 300)
    assert isinstance(again, Renewed)
    assert isinstance(await other.ask(session, cookie, DUE + GRACE_SECONDS), Renewed)


async def test_a_refusal_ends_the_session_after_the_grace(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [RenewalRefused("the account is disabled")]
    assert await stand.ask(session, cookie, DUE) == Unchanged()
    assert await stand.ask(session, cookie, DUE + GRACE_SECONDS - 0.1) == Unchanged()
    assert isinstance(await stand.ask(session, cookie, DUE + GRACE_SECONDS), Ended)
    assert desk.renewed == [b"r0"]


async def test_what_the_provider_ended_is_revoked_for_the_instances_that_have_not_asked(desk):
    revocations = Revocations(3600, lambda: float(DUE))
    stand = Stand(desk, revocations=revocations)
    session, cookie = stand.session()
    desk.renewals = [RenewalRefused("the account is disabled")]
    assert await stand.ask(session, cookie, DUE) == Unchanged()
    assert revocations.revoked == {}, "another instance may have renewed it first"
    assert isinstance(await stand.ask(session, cookie, DUE + GRACE_SECONDS), Ended)
    assert set(revocations.revoked) == {own_handle(session.id)}


@pytest.mark.parametrize("groups", [(), ("staff", "board")], ids=["fewer", "more"])
async def test_groups_that_changed_are_in_force_at_once_at_instances_that_have_not_asked(desk, groups):
    revocations = Revocations(3600, lambda: float(DUE + 2))
    one, other = Stand(desk, revocations=revocations), Stand(desk, revocations=revocations)
    session, cookie = one.session()
    desk.renewals = [said(b"r1", groups=groups, at=NOW)]
    renewed = await one.ask(session, cookie)
    assert isinstance(renewed, Renewed)
    assert await one.ask(session, cookie) == renewed, "here whoever comes late gets the answer"
    assert await other.ask(session, cookie, DUE + 1) == Ended(SAID_SINCE)
    assert desk.renewed == [b"r0"], "what was used is not used again"
    token = renewed.token.encode()
    assert other.sessions.open(token, DUE + 1).holding(token).session.identity.groups == groups
    assert isinstance(await other.ask(renewed.session.session, renewed.kept.encode(), DUE + 300), Renewed)


async def test_nor_does_who_asked_at_the_same_time_keep_what_it_had(desk):
    revocations = Revocations(3600, lambda: float(DUE))
    one, other = Stand(desk, revocations=revocations), Stand(desk, revocations=revocations)
    session, cookie = one.session()
    desk.open.clear()
    desk.renewals = [said(b"r1", at=NOW), RenewalRefused("used before")]
    first = asyncio.ensure_future(one.ask(session, cookie))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(other.ask(session, cookie))
    await asyncio.sleep(0.01)
    desk.open.set()
    assert isinstance(await first, Renewed)
    assert await second == Ended(SAID_SINCE)


async def test_the_same_groups_in_another_order_change_nothing(desk):
    revocations = Revocations(3600, lambda: float(DUE))
    stand = Stand(desk, revocations=revocations)
    session, cookie = stand.session()
    desk.renewals = [said(b"r1", groups=("a", "b"), at=NOW)]
    first = await stand.ask(session, cookie)
    listed = dict(revocations.revoked)
    desk.renewals = [said(b"r2", groups=("b", "a"), at=NOW)]
    assert isinstance(await stand.ask(first.session.session, first.kept.encode(), DUE + 300), Renewed)
    assert revocations.revoked == listed


async def test_where_nothing_is_revoked_a_refusal_ends_the_session_all_the_same(desk):
    stand = Stand(desk, revocations=NoRevocations(3600, lambda: float(DUE)))
    session, cookie = stand.session()
    desk.renewals = [replace(said(b"r1", at=NOW), issuer="https://other.example.com")]
    assert isinstance(await stand.ask(session, cookie), Ended)


@pytest.mark.parametrize("cookie", [None, b"", b"forged", "another's"])
async def test_a_session_without_what_renews_it_is_over(stand, desk, cookie):
    session, _ = stand.session()
    value = stand.session()[1] if cookie == "another's" else cookie
    assert isinstance(await stand.ask(session, value), Ended)
    assert desk.renewed == []


async def test_oidc_38_nobody_becomes_somebody_else(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [said(b"r1", subject="s-2", at=NOW)]
    assert isinstance(await stand.ask(session, cookie), Ended)
    assert isinstance(await stand.ask(session, cookie), Ended)
    session, cookie = stand.session()
    desk.renewals = [replace(said(b"r1", at=NOW), issuer="https://other.example.com")]
    assert isinstance(await stand.ask(session, cookie), Ended)
    assert desk.renewed == [b"r0", b"r0"]


async def test_while_the_provider_is_away_sessions_go_on_and_do_not_wait_for_it_each_time(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [IdpUnavailable("away")]
    assert await stand.ask(session, cookie) == Unchanged()
    other, other_cookie = stand.session()
    assert await stand.ask(other, other_cookie, DUE + PAUSE_SECONDS - 0.1) == Unchanged()
    assert len(desk.renewed) == 1
    assert isinstance(await stand.ask(session, cookie, DUE + PAUSE_SECONDS), Renewed)


async def test_any_other_failure_is_that_sessions_alone(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [LoginError("the ID token is not signed")]
    assert await stand.ask(session, cookie) == Unchanged()
    assert await stand.ask(session, cookie, DUE + 1) == Unchanged()
    assert len(desk.renewed) == 1
    assert isinstance(await stand.ask(*stand.session()), Renewed)


async def test_nobody_waits_long_for_a_slow_provider_and_a_later_request_gets_the_answer(stand, desk, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.02)
    session, cookie = stand.session()
    desk.open.clear()
    assert await stand.ask(session, cookie) == Unchanged()
    desk.open.set()
    await asyncio.gather(*stand.tasks)
    assert isinstance(await stand.ask(session, cookie), Renewed)
    assert len(desk.renewed) == 1


async def test_who_leaves_takes_the_answer_from_nobody(stand, desk):
    session, cookie = stand.session()
    desk.open.clear()
    first = asyncio.ensure_future(stand.ask(session, cookie))
    second = asyncio.ensure_future(stand.ask(session, cookie))
    await asyncio.sleep(0.01)
    first.cancel()
    desk.open.set()
    assert isinstance(await second, Renewed)
    assert len(desk.renewed) == 1


async def test_what_is_too_large_to_be_kept_ends_the_renewing_and_not_the_session(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [said(b"x" * 4000, at=NOW)]
    outcome = await stand.ask(session, cookie)
    assert (outcome.kept, outcome.session.session.checked_at) == ("", 0)


async def test_what_is_remembered_is_bounded(stand, desk, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 2)
    asked = [stand.session() for _ in range(3)]
    for session, cookie in asked:
        await stand.ask(session, cookie)
    await stand.ask(*asked[2])
    assert len(desk.renewed) == 3
    await stand.ask(*asked[0])
    assert len(desk.renewed) == 4


async def test_a_provider_that_only_confirms_leaves_the_identity_as_it_was(stand, desk):
    session, cookie = stand.session()
    desk.renewals = [replace(said(b"r1", at=NOW + 300), keeps_identity=True)]
    outcome = await stand.ask(session, cookie)
    assert outcome.session.session.identity == session.identity
    assert outcome.session.session.identity.groups == ("staff",)
    assert outcome.session.session.checked_at == DUE


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (said(b"r1", at=NOW), "renewed"),
        (replace(said(b"r1", at=NOW), subject="somebody-else"), "mismatch"),
        (RenewalRefused("disabled"), "refused"),
        (IdpUnavailable("no route"), "PP-IDP-UNAVAILABLE"),
    ],
)
async def test_each_question_is_counted_once_by_its_result(stand, desk, answer, result):
    session, cookie = stand.session()
    desk.renewals = [answer]
    await asyncio.gather(*(stand.ask(session, cookie) for _ in range(5)))
    assert dict(stand.counts.renewals) == {result: 1}
