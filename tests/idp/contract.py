"""
What every identity provider adapter must do, whatever its protocol.

An adapter's tests inherit `LoginContract` and override one fixture, `scenario`:
a provider under test together with a fake identity provider that answers as a
`Twist` tells it. A twist that a protocol cannot express is not skipped: the
scenario picks the nearest thing that an attacker could send.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs, urlsplit

import pytest

from passproxy.core.errors import LoginError
from passproxy.core.identity import Authentication
from passproxy.idp.base import Callback, IdentityProvider, Proof


class Twist(Enum):
    """How an answer differs from a good one. Everything else about it stays right, signature included."""

    NONE = "good"
    WRONG_ISSUER = "issued by somebody else"
    WRONG_AUDIENCE = "meant for another service"
    NO_AUDIENCE = "meant for nobody in particular"
    OTHER_LOGIN = "naming another login (InResponseTo, nonce)"
    NO_LOGIN = "naming no login"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    CLOCK_AHEAD = "issued an hour from now, with all its times"
    CLOCK_BEHIND = "issued an hour ago, with all its times"
    NEVER_EXPIRES = "without an end"
    UNSIGNED = "unsigned"
    FOREIGN_KEY = "signed by a key that the identity provider does not publish"
    ALGORITHM = "signed with an algorithm that is not allowed"
    TAMPERED = "changed after it was signed"
    NO_SUBJECT = "naming nobody"
    FAILED = "saying that the login failed"


#: Every twist that no adapter may accept.
REFUSED = tuple(twist for twist in Twist if twist is not Twist.NONE)


@dataclass(frozen=True, slots=True)
class Started:
    """A login that was begun: what PassProxy knows, and where the browser was sent."""

    login_id: str
    proof: Proof
    redirect: str


class Scenario(ABC):
    """A provider under test and the identity provider that it talks to."""

    provider: IdentityProvider
    #: What a good answer says.
    issuer: str
    subject: str
    attributes: dict[str, tuple[str, ...]]

    @abstractmethod
    def now(self) -> float:
        """The time that `start` and `finish` are told."""

    @abstractmethod
    async def answer(self, started: Started, twist: Twist = Twist.NONE) -> Callback:
        """What the browser brings back after `started.redirect`, with `login_id_field` set."""

    @abstractmethod
    def malformed(self, started: Started) -> Sequence[Callback]:
        """Callbacks that are no answers: fields missing, empty, undecodable."""

    async def begin(self, number: int = 1) -> Started:
        login_id, proof = f"login-{number}", Proof(bytes([number]) * 32)
        return Started(login_id, proof, await self.provider.start(login_id, proof, self.now()))

    async def finish(self, callback: Callback, started: Started) -> Authentication:
        return await self.provider.finish(callback, started.proof, self.now())


class LoginContract:
    """Inherit, and override `scenario`."""

    @pytest.fixture
    def scenario(self) -> Scenario:
        raise NotImplementedError("the adapter's tests supply this fixture")

    async def test_a_good_answer_is_accepted(self, scenario: Scenario) -> None:
        started = await scenario.begin()
        said = await scenario.finish(await scenario.answer(started), started)
        assert (said.issuer, said.subject) == (scenario.issuer, scenario.subject)
        assert said.authenticated_at <= scenario.now()
        assert said.expires_at is None or said.expires_at > scenario.now()
        for name, values in scenario.attributes.items():
            assert said.attributes[name] == values

    async def test_the_browser_carries_the_login_id_and_not_the_proof(self, scenario: Scenario) -> None:
        started = await scenario.begin()
        query = parse_qs(urlsplit(started.redirect).query)
        assert query[scenario.provider.login_id_field] == [started.login_id]
        assert started.proof.secret.hex() not in started.redirect
        callback = await scenario.answer(started)
        assert callback.fields[scenario.provider.login_id_field] == started.login_id

    async def test_what_the_provider_publishes_is_told(self, scenario: Scenario) -> None:
        started = await scenario.begin()
        facts = await scenario.provider.facts(scenario.now())
        assert facts.name == scenario.issuer
        assert facts.keys >= 1
        assert any(started.redirect.startswith(url) for url in facts.urls)

    @pytest.mark.parametrize("twist", REFUSED, ids=lambda twist: twist.value)
    async def test_an_answer_is_refused_when_it_is(self, scenario: Scenario, twist: Twist) -> None:
        started = await scenario.begin()
        callback = await scenario.answer(started, twist)
        with pytest.raises(LoginError) as refusal:
            await scenario.finish(callback, started)
        assert_explains_itself(refusal.value, callback)

    async def test_an_answer_is_accepted_once(self, scenario: Scenario) -> None:
        started = await scenario.begin()
        callback = await scenario.answer(started)
        await scenario.finish(callback, started)
        with pytest.raises(LoginError):
            await scenario.finish(callback, started)

    async def test_a_refused_answer_does_not_spoil_the_next_one(self, scenario: Scenario) -> None:
        started = await scenario.begin()
        with pytest.raises(LoginError):
            await scenario.finish(await scenario.answer(started, Twist.TAMPERED), started)
        assert (await scenario.finish(await scenario.answer(started), started)).subject == scenario.subject

    async def test_the_answer_to_one_login_does_not_end_another(self, scenario: Scenario) -> None:
        mine, theirs = await scenario.begin(1), await scenario.begin(2)
        callback = await scenario.answer(theirs)
        with pytest.raises(LoginError):
            await scenario.finish(callback, mine)

    async def test_logins_of_several_tabs_end_in_any_order(self, scenario: Scenario) -> None:
        logins = [await scenario.begin(number) for number in (1, 2, 3)]
        for started in reversed(logins):
            callback = await scenario.answer(started)
            assert (await scenario.finish(callback, started)).subject == scenario.subject

    async def test_malformed_callbacks_are_refused(self, scenario: Scenario) -> None:
        started = await scenario.begin()
        hostile = scenario.malformed(started)
        assert hostile
        for callback in hostile:
            with pytest.raises(LoginError):
                await scenario.finish(callback, started)


def assert_explains_itself(error: LoginError, callback: Callback) -> None:
    """A stable code, a status, a hint; and nothing that the callback carried in its private detail."""
    assert error.code.startswith("PP-")
    assert 400 <= error.status < 600
    assert error.sentence
    assert error.hint
    for value in callback.fields.values():
        assert len(value) < 16 or value not in error.detail
