"""
Whether a login really went the way that its installation is there for.

Each function here makes an `as_meant` of provider.py: it looks at what the
browser carried, and asks the provider for what it must refuse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode, urlsplit

import aiohttp

from tests.interop.visit import Visit
from tests.interop.witness import SamlAnswer, Sent, saml_answer

AsMeant = Callable[[Visit], Awaitable[None]]


def saml(*, document: bool, assertion: bool, is_encrypted: bool = False, is_request_signed: bool = False) -> AsMeant:
    """What is signed, as far as it can be seen from outside, and whether the assertion is encrypted."""

    async def as_meant(visit: Visit) -> None:
        found = saml_answer(visit.browser, visit.case.stand)
        assert found == SamlAnswer(document, assertion, is_encrypted), found
        request = visit.browser.last_with("SAMLRequest")
        assert ("Signature" in request.query) is is_request_signed, sorted(request.query)
        if is_request_signed:
            await _assert_unsigned_refused(visit, request)

    return as_meant


async def _assert_unsigned_refused(visit: Visit, request: Sent) -> None:
    kept = {name: value for name, value in request.query.items() if name not in ("SigAlg", "Signature")}
    async with visit.copied_browser() as browser:
        page = await browser.open(f"{request.url.partition('?')[0]}?{urlencode(kept)}")
    assert page.url.startswith(visit.provider.base_url), f"an unsigned request leads to {page.url}"
    assert page.status == 400, f"the provider answers an unsigned request with {page.status}"


def oidc(*, is_pushed: bool = True, is_form_post: bool = False, also: AsMeant | None = None) -> AsMeant:
    """Whether the request went to the provider itself, and how the browser brought the code."""

    async def as_meant(visit: Visit) -> None:
        request = _authorization_request(visit)
        assert ("request_uri" in request.query) is is_pushed, sorted(request.query)
        assert ("code_challenge" in request.query) is not is_pushed, sorted(request.query)
        answer = visit.browser.last(visit.case.stand.url("oidc/callback"))
        assert ("code" in answer.form, "code" in answer.query) == (is_form_post, not is_form_post), answer.method
        if also is not None:
            await also(visit)

    return as_meant


async def only_pushed_requests(visit: Visit) -> None:
    """The provider takes no request from the browser itself."""
    query = {
        "client_id": visit.case.section["client_id"],
        "response_type": "code",
        "scope": "openid",
        "redirect_uri": visit.case.stand.url("oidc/callback"),
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    url = f"{_authorization_request(visit).url.partition('?')[0]}?{urlencode(query)}"
    async with visit.copied_browser() as browser:
        # Its answer goes to PassProxy like any other, which takes none that it did not ask for.
        page = await browser.once(url)
    said = page.headers.get("Location", "") + page.text
    assert "invalid_request" in said, f"{page.status}: {said[:300]}"
    assert "code=" not in urlsplit(said).query, f"{page.status}: {said[:300]}"


def client_proof(method: str, token_endpoint_path: str) -> AsMeant:
    """That the provider takes a secret in this way alone; with `private_key_jwt`, in none."""

    async def as_meant(visit: Visit) -> None:
        url = visit.provider.base_url + token_endpoint_path
        client_id, secret = visit.case.section["client_id"], visit.case.section.get("client_secret", "none")
        form = {"grant_type": "authorization_code", "code": "none", "redirect_uri": visit.case.stand.url("")}
        in_form = {**form, "client_id": client_id, "client_secret": secret}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            async with http.post(url, data=form, auth=aiohttp.BasicAuth(client_id, secret)) as response:
                by_header = await response.json()
            async with http.post(url, data=in_form) as response:
                by_form = await response.json()
        taken = {
            name
            for name, answer in (("client_secret_basic", by_header), ("client_secret_post", by_form))
            # Whoever is known hears about the code.
            if answer["error"] == "invalid_grant"
        }
        assert taken == {method} - {"private_key_jwt"}, (by_header, by_form)

    return as_meant


def _authorization_request(visit: Visit) -> Sent:
    found = [
        sent
        for sent in visit.browser.sent
        if sent.url.startswith(visit.provider.base_url) and urlsplit(sent.url).path.endswith("/auth")
    ]
    assert found, "the browser was at no authorization endpoint"
    return found[-1]
