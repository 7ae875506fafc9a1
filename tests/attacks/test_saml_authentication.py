"""How and when somebody authenticated at the identity provider: force_authn and authn_context (SEM-24)."""

from __future__ import annotations

import time

import pytest

from passproxy.core.settings import SamlSettings
from passproxy.core.urls import Origin
from passproxy.idp.base import Proof
from passproxy.idp.saml.dated import date_of, dated
from passproxy.idp.saml.errors import AuthenticationStale, AuthnContextRefused, InResponseToRefused
from passproxy.idp.saml.messages import AssertionFacts, decoded, encoded, expectations_from, verify_request
from passproxy.idp.saml.request import dating_key, redirect_url, service_provider
from passproxy.idp.saml.verify import verified
from tests.fakes import idp_saml as idp

# datetime.utcnow, which python3-saml calls, is deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:onelogin")

ORIGIN = Origin("https", "app.example.com", 443)
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
MFA = "https://refeds.org/profile/mfa"
CLASS = ".//saml:AuthnContextClassRef"
PROOF = Proof(b"s" * 32)


def request(**settings: object) -> idp.Element:
    parsed = SamlSettings.model_validate({"metadata_file": "/x", **settings})
    return idp.read_request(redirect_url(idp.SSO_URL, service_provider(ORIGIN, parsed), "l", PROOF, time.time()))


def classes(element: idp.Element) -> list[str | None]:
    return [one.text for one in element.iter("{*}AuthnContextClassRef")]


def test_nothing_is_demanded_by_default() -> None:
    asked = request()
    assert asked.get("ForceAuthn") is None
    assert asked.find("{*}RequestedAuthnContext") is None


def test_the_classes_are_asked_for_exactly() -> None:
    context = request(authn_context=[MFA, "urn:a&b"]).find("{*}RequestedAuthnContext")
    assert context is not None
    assert context.get("Comparison") == "exact"
    assert classes(context) == [MFA, "urn:a&b"]


def test_one_of_the_classes_is_accepted() -> None:
    facts = verified(idp.answer(), idp.expectations(authn_contexts=(MFA, PASSWORD)))
    assert facts.name_id == idp.USER


SEM_24 = [
    pytest.param(None, id="a password where a second factor is wanted"),
    pytest.param(idp.text(CLASS, MFA + "/"), id="one slash more"),
    pytest.param(idp.text(CLASS, f" {MFA}"), id="a space more"),
    pytest.param(idp.text(CLASS, ""), id="empty"),
    pytest.param(idp.without(CLASS), id="none"),
    pytest.param(
        lambda root: idp.find(root, ".//saml:AuthnContext").replace(
            idp.find(root, CLASS), idp.xml(f"<saml:AuthnContextDeclRef>{MFA}</saml:AuthnContextDeclRef>")
        ),
        id="a declaration instead of a class",
    ),
]


@pytest.mark.parametrize("edit", SEM_24)
def test_sem_24_a_weaker_authentication_is_refused(edit: idp.Edit | None) -> None:
    with pytest.raises(AuthnContextRefused):
        verified(idp.answer(before=edit), idp.expectations(authn_contexts=(MFA,)))


def test_a_provider_that_cannot_do_it_gives_the_same_code() -> None:
    def edit(root: idp.Element) -> None:
        outer = idp.find(root, "samlp:Status/samlp:StatusCode")
        outer.set("Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")
        outer.append(idp.xml('<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"/>'))

    with pytest.raises(AuthnContextRefused):
        verified(idp.answer(before=edit), idp.expectations(authn_contexts=(MFA,)))


def forced(authenticated: float, *, started: float = -30, proof: Proof = PROOF) -> AssertionFacts:
    """An answer, now, to a login that began `started` seconds from now; both are seconds from now."""
    now = time.time()
    identifier = dated(dating_key(PROOF), int(now + started))
    said = idp.facts(in_response_to=identifier, authenticated_at=now + authenticated)
    return verified(idp.answer(said), idp.expectations(request_id="", now=now, dating_key=dating_key(proof)))


def test_the_request_says_that_it_is_forced_and_when_it_was_made() -> None:
    asked = request(force_authn=True)
    assert asked.get("ForceAuthn") == "true"
    date = date_of(dating_key(PROOF), asked.get("ID", ""))
    assert date is not None
    assert abs(date - time.time()) < 5


def test_who_authenticated_since_the_start_of_the_login_is_let_in() -> None:
    assert forced(-10).name_id == idp.USER


def test_the_clocks_may_differ_by_the_skew() -> None:
    assert forced(-85).name_id == idp.USER


@pytest.mark.parametrize("authenticated", [-95, -3600])
def test_who_authenticated_before_the_login_is_refused(authenticated: float) -> None:
    with pytest.raises(AuthenticationStale):
        forced(authenticated)


def test_a_date_of_another_login_is_none() -> None:
    with pytest.raises(InResponseToRefused):
        forced(-10, proof=Proof(b"t" * 32))


def test_a_date_cannot_be_changed() -> None:
    key, identifier = dating_key(PROOF), dated(dating_key(PROOF), 0x60000000)
    assert date_of(key, identifier) == 0x60000000
    for changed in (
        identifier.replace("6", "5", 1),
        identifier + "=",
        "_0" + identifier[1:],
        identifier[1:],
        "",
        "_1-",
    ):
        assert date_of(key, changed) is None


def test_the_demands_reach_the_verifying_process() -> None:
    expected = idp.expectations(authn_contexts=(MFA,), dating_key="key")
    assert expectations_from(decoded(encoded(verify_request(b"", expected)))["expectations"]) == expected
    assert "'key'" not in repr(expected)
