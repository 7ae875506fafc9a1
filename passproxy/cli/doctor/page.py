"""
What a provider's answer to our login request means: was the client known, and its redirect URI accepted?

Providers say so in different ways: a sign-in form, an error page with status
400, a redirect back to us with `error=`, a SAML response with a status, a page
that only a browser's scripts bring to life. What cannot be told is called
unknown. Nothing here is trusted for more than a sentence, and nothing asked.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

from passproxy.cli.doctor.report import Finding, failed, ok, quoted, unknown

CHECK = "login"

#: Names of fields into which people enter who they are.
_LOGIN_FIELDS = re.compile(r"user|login|e-?mail|identifier|account|upn", re.IGNORECASE)

#: Codes with which Entra ID refuses, on pages of any status.
_ENTRA = re.compile(r"AADSTS\d+[^<\n]{0,200}")

_STATUS_CODE = re.compile(rb'StatusCode[^>]{0,200}?Value="[^"]{0,80}:status:(\w+)"')

#: What says nothing about this answer: programs, and what stands on every page.
_SILENT = frozenset({"script", "style", "template", "noscript", "title", "header", "footer", "nav"})


@dataclass(frozen=True, slots=True)
class Landing:
    """Where the login request led: the last answer that was followed, or the address that was not."""

    url: str
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Registered:
    """What has to be registered at the provider, for hints."""

    client: str
    callback_url: str


@dataclass(slots=True)
class _Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._silent += tag in _SILENT
        if tag == "form":
            self.forms.append(_Form(given.get("action", "")))
        elif tag == "input":
            if not self.forms:
                self.forms.append(_Form(""))
            name = given.get("name") or given.get("id", "")
            self.forms[-1].fields[name] = given.get("value", "")
            self.forms[-1].types[name] = given.get("type", "text").lower()

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.words.append(data.strip())


def judged(landing: Landing, us: Registered) -> Finding:
    """What became of a login request."""
    if landing.url.partition("?")[0] == us.callback_url:
        return _answer(dict(parse_qsl(urlsplit(landing.url).query)), us)
    page = _Reader()
    page.feed(landing.body.decode("utf-8", "replace"))
    for form in page.forms:
        if form.action == us.callback_url:
            return _answer(form.fields, us)
    words = quoted(" ".join(page.words)).rstrip(".")
    if entra := _ENTRA.search(" ".join(page.words)):
        return refused(quoted(entra[0]).rstrip("."), us)
    if any("password" in form.types.values() for form in page.forms):
        return ok(CHECK, "The provider shows its sign-in form: it knows the client and accepts the redirect URI.")
    if landing.status >= 500:
        text = f"The provider fails at the login request (status {landing.status}): {words or 'it says no more'}."
        return failed(CHECK, text, "Look into the provider's log; a wrong client can have this effect as well.")
    if landing.status == 401:
        return unknown(CHECK, "The provider asks for a sign-in that only a browser can make (status 401).", _TRY)
    if landing.status >= 400 or re.search(r"/oauth/error|/error\b", urlsplit(landing.url).path):
        return refused(f"status {landing.status}: {words or 'it says no more'}", us)
    if any(_asks_who(form) for form in page.forms):
        return ok(CHECK, "The provider asks who signs in: it knows the client and accepts the redirect URI.")
    host = urlsplit(landing.url).hostname
    return unknown(CHECK, f"{host} answers with a page without a form, which a browser's scripts may fill.", _TRY)


_TRY = "Sign in once with a browser to be sure."


def _asks_who(form: _Form) -> bool:
    return any(kind in ("text", "email") and _LOGIN_FIELDS.search(name) for name, kind in form.types.items())


def _answer(fields: dict[str, str], us: Registered) -> Finding:
    """The provider sent the browser back to us at once."""
    if "error" in fields:
        said = quoted(f"{fields['error']} {fields.get('error_description', '')}".strip())
        if fields["error"] in ("login_required", "interaction_required", "access_denied"):
            return unknown(CHECK, f"The provider answers without asking anybody: {said}.", _TRY)
        text = f"The provider sends the browser back with an error: {said}."
        return failed(CHECK, text, "Client and redirect URI are right; compare scopes and flow with the registration.")
    if "SAMLResponse" in fields:
        status = _saml_status(fields["SAMLResponse"])
        if status != "Success":
            return refused(f"a response with status {status}", us)
    return ok(CHECK, "The provider signs in at once: it knows the client and accepts the redirect URI.")


def _saml_status(encoded: str) -> str:
    # Only a word for a sentence: whether a response is valid is judged elsewhere.
    try:
        found = _STATUS_CODE.findall(base64.b64decode(encoded, validate=False))
    except ValueError:
        return "unreadable"
    return "/".join(word.decode() for word in found) or "unreadable"


def refused(said: str, us: Registered) -> Finding:
    """The provider said no, in these words."""
    lowered = said.lower()
    if re.search(r"redirect|reply url|assertionconsumerservice|acs", lowered):
        hint = f"Register exactly this address at the provider: {us.callback_url}"
    elif re.search(r"scope", lowered):
        hint = "Set oidc.scopes to those that the provider knows, or let it know these."
    elif re.search(r"authentication failed|unauthorized", lowered):
        hint = f"Does the provider know {us.client}, with this very secret or key?"
    elif re.search(r"client|application|service provider|entity|issuer|requester", lowered):
        hint = f"Does the provider know {us.client}, written exactly so?"
    else:
        hint = f"Does the provider know {us.client}, with the address {us.callback_url}?"
    return failed(CHECK, f"The provider refuses the login request: {said}.", hint)
