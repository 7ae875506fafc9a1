"""A session that ends is revoked, and the provider is told; what the provider tells is verified first."""

from __future__ import annotations

import pytest

from passproxy.core.errors import LoginError, RevocationOff
from passproxy.core.handles import handle_of, own_handle
from passproxy.core.identity import AttributeRules, identity_from
from passproxy.core.kept import enclosed
from passproxy.core.session import Sessions
from passproxy.core.session_claims import Session
from passproxy.idp.base import Departure, LogoutNotice, Message
from passproxy.idp.logout import LOGOUT_LIMIT_SECONDS, Logouts
from passproxy.idp.revocation import NoRevocations, Revocations
from tests.core.given import NOW, RING
from tests.idp.desk import Desk, said


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def revocations() -> Revocations:
    return Revocations(3600, lambda: NOW)


@pytest.fixture
def logouts(desk: Desk, revocations: Revocations) -> Logouts:
    return Logouts(desk, RING, revocations)


def session() -> Session:
    known = said(b"kept", at=NOW)
    return Sessions(RING, 3600, lambda one: b"").begin(identity_from(known, AttributeRules()), known, NOW)


def message(logout_id: str = "") -> Message:
    fields = {"state": logout_id} if logout_id else {}
    return Message("desk/gone", "GET", b"", fields)


async def test_a_session_that_ends_is_revoked_and_the_browser_sent_on_with_what_was_kept(logouts, desk, revocations):
    ending = session()
    value = enclosed(RING, ending.id, b"kept")
    assert await logouts.end(ending, value.encode(), NOW) == desk.departure
    assert revocations.revoked == {own_handle(ending.id): NOW}
    assert desk.ended[0][0] == b"kept"
    assert len(desk.ended[0][1]) <= 80


async def test_without_a_list_or_a_way_there_a_session_still_ends_here(desk):
    desk.departure = None
    assert await Logouts(desk, RING, NoRevocations(3600, lambda: NOW)).end(session(), None, NOW) is None
    assert desk.ended[0][0] == b""


async def test_the_answer_to_our_logout_comes_with_the_proof_that_it_was_ours(logouts, desk):
    desk.notice = LogoutNotice((), NOW)
    await logouts.end(session(), None, NOW)
    logout_id = desk.ended[0][1]
    assert not (await logouts.notified(message(logout_id), None, NOW + 5)).ends_this_session
    forged = logout_id[:-1] + ("B" if logout_id.endswith("A") else "A")
    for other, now in (("", NOW), (forged, NOW), (logout_id, NOW + LOGOUT_LIMIT_SECONDS + 1)):
        await logouts.notified(message(other), None, now)
    assert [proof is not None for _, proof in desk.notices] == [True, False, False, False]


async def test_what_the_provider_ended_is_over(logouts, desk, revocations):
    mine = session()
    notice = await logouts.notified(message(), mine, NOW)
    assert notice.ends_this_session
    assert revocations.revoked == {handle_of("sid:1"): NOW}
    desk.notice = LogoutNotice(("sid:another",), NOW)
    assert not (await logouts.notified(message(), mine, NOW)).ends_this_session
    assert not (await logouts.notified(message(), None, NOW)).ends_this_session


async def test_what_does_not_hold_ends_nothing(logouts, desk, revocations):
    desk.notice = LoginError("forged")
    with pytest.raises(LoginError):
        await logouts.notified(message(), session(), NOW)
    assert revocations.revoked == {}


async def test_an_answer_to_our_logout_that_does_not_hold_leaves_open_what_the_provider_did(logouts, desk, revocations):
    desk.notice = LoginError("nobody signed it")
    await logouts.end(session(), None, NOW)
    logout_id = desk.ended[0][1]
    before = dict(revocations.revoked)
    notice = await logouts.notified(message(logout_id), session(), NOW + 5)
    assert (notice.said, notice.ends_this_session) == (LogoutNotice((), NOW + 5, is_complete=False), False)
    assert revocations.revoked == before
    with pytest.raises(LoginError):
        await logouts.notified(message(logout_id), session(), NOW + LOGOUT_LIMIT_SECONDS + 1)


async def test_without_a_list_only_the_session_of_the_browser_that_brings_it_can_end(desk):
    logouts = Logouts(desk, RING, NoRevocations(3600, lambda: NOW))
    assert (await logouts.notified(message(), session(), NOW)).ends_this_session
    with pytest.raises(RevocationOff):
        await logouts.notified(message(), None, NOW)


class Full(Revocations):
    async def revoke(self, handles):
        raise OSError(28, "No space left on device")


async def test_a_list_that_cannot_be_written_is_said_and_the_logout_goes_on(desk, caplog):
    logouts = Logouts(desk, RING, Full(3600, lambda: NOW))
    assert isinstance(await logouts.end(session(), None, NOW), Departure)
    assert "revocation.not_stored" in caplog.text
