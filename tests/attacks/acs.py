"""
A PassProxy that trusts the SAML provider of tests/fakes/idp_saml.py, and a way to bring it any answer.

Each login is begun through the socket as a browser begins it; what comes back is signed by the test.

    async with acs_site(folder) as site:
        begun = await site.begun()
        answer = await site.asked(site.posted(begun, idp.answer(begun.facts())))
        assert answer.status == 303
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from passproxy.demo.assertions import ResponseFacts
from tests.attacks.edge import Edge
from tests.fakes import idp_saml as idp
from tests.fakes.gateway import get, navigation, protecting, request
from tests.fakes.raw import Answer
from tests.fakes.upstream import Seen, Upstream

ACS = "/.passproxy/saml/acs"
FORM = "Content-Type: application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Begun:
    """A login under way: the login cookie of the browser, and what the provider was told."""

    cookie: str
    relay_state: str
    request_id: str

    def facts(self, **changes: Any) -> ResponseFacts:
        return idp.facts(in_response_to=self.request_id, **changes)


class AcsSite(Edge):
    async def begun(self, target: str = "/", cookie: str | None = None) -> Begun:
        started = await self.asked(navigation(target, cookie=cookie))
        assert started.status == 302, started.head
        location = started.one(b"location").decode()
        (relay_state,) = parse_qs(urlsplit(location).query)["RelayState"]
        request_id = idp.read_request(location).get("ID") or ""
        return Begun(started.one(b"set-cookie").partition(b";")[0].decode(), relay_state, request_id)

    def posted(self, begun: Begun, document: bytes | str, *, cookie: str | None = None, target: str = ACS) -> bytes:
        """What a browser posts: the document, or what stands in its place already in base64."""
        encoded = base64.b64encode(document).decode() if isinstance(document, bytes) else document
        body = f"SAMLResponse={quote(encoded, safe='')}&RelayState={quote(begun.relay_state, safe='')}"
        jar = begun.cookie if cookie is None else f"{begun.cookie}; {cookie}"
        return request("POST", target, FORM, "Accept: text/html", cookie=jar, body=body.encode())

    async def signed_in(self, cookie: str | None = None, *, edit: idp.Edit | None = None, **facts: Any) -> str:
        """A whole login; the Cookie field of the session that it gave."""
        begun = await self.begun("/.passproxy/login")
        document = idp.answer(begun.facts(**facts), before=edit)
        answer = await self.asked(self.posted(begun, document, cookie=cookie))
        assert answer.status == 303, answer.body
        return self.session_of(answer)

    def session_of(self, answer: Answer) -> str:
        name = self.passproxy.names.session.encode() + b"="
        (value,) = [value for value in answer.all(b"set-cookie") if value.startswith(name)]
        return value.partition(b";")[0].decode()

    async def seen(self, cookie: str) -> Seen:
        """A request of this session, as the application got it."""
        self.upstream.forget()
        answer = await self.asked(get("/seen", cookie=cookie))
        assert answer.status == 200, answer.head
        return self.upstream.requests[-1]


def claims(cookie: str) -> dict[str, Any]:
    """What a session token says, without asking whether it is true."""
    payload = cookie.partition("=")[2].split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


@contextlib.asynccontextmanager
async def acs_site(folder: Path, *, metadata: bytes | None = None, **sections: Any) -> AsyncIterator[AcsSite]:
    (folder / "idp.xml").write_bytes(metadata or idp.idp_metadata())
    saml = {"metadata_file": str(folder / "idp.xml"), **sections.pop("saml", {})}
    async with Upstream() as upstream, protecting(upstream.url, folder, saml=saml, **sections) as passproxy:
        yield AcsSite(upstream, passproxy)
