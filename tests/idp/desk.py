"""
An identity provider without a protocol: it believes whoever brings the word that it gave out.

For what is above the adapters. It notes what it was asked, and answers what a test has put into its
lists, or else what an honest one would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from passproxy.core.errors import LoginError
from passproxy.core.identity import Authentication
from passproxy.idp.base import Callback, Departure, Document, LogoutNotice, Message, Proof, ProviderFacts
from passproxy.idp.standing import Freshness, Standing

ISSUER = "https://idp.example.com"
SUBJECT = "s-1"


def said(kept: bytes = b"", *, groups: tuple[str, ...] = (), subject: str = SUBJECT, at: int = 0) -> Authentication:
    """What it says of alice; with something kept, she can be renewed."""
    attributes = {"uid": ("alice",), "groups": groups}
    return Authentication(ISSUER, subject, attributes, at, None, ("sid:1", "sub:s-1"), kept, bool(kept))


class Desk:
    callback_method: Literal["GET", "POST"] = "GET"
    callback_path = "desk/callback"
    login_id_field = "state"
    login_initiators = frozenset({ISSUER})

    def __init__(self) -> None:
        self.accepts_unsolicited = False
        self.logout_paths: Mapping[str, tuple[str, ...]] = {"desk/gone": ("GET", "POST")}
        self.asked: list[str] = []
        self.answers: list[Authentication | LoginError] = []
        self.renewed: list[bytes] = []
        self.renewals: list[Authentication | LoginError] = []
        #: Set when a renewal may be answered.
        self.open = asyncio.Event()
        self.open.set()
        self.ended: list[tuple[bytes, str]] = []
        self.departure: Departure | None = Departure("https://idp.example.com/bye")
        self.notices: list[tuple[Message, Proof | None]] = []
        self.notice: LogoutNotice | LoginError = LogoutNotice(("sid:1",), 0)

    def standing(self) -> Standing:
        return Freshness().standing(is_known=True, signing_keys=1)

    async def start(self, login_id: str, proof: Proof, now: float) -> str:
        return f"https://idp.example.com/?state={login_id}&word={proof.derive('word')}"

    async def finish(self, callback: Callback, proof: Proof, now: float) -> Authentication:
        self.asked.append(callback.fields["state"])
        if callback.fields.get("word") != proof.derive("word") and not self.answers:
            raise LoginError("another word")
        return self._answer(self.answers, said(at=int(now)))

    async def finish_unsolicited(self, callback: Callback, now: float) -> Authentication:
        self.asked.append("unsolicited")
        return self._answer(self.answers, said(at=int(now)))

    async def renew(self, kept: bytes, subject: str, now: float) -> Authentication:
        self.renewed.append(kept)
        await self.open.wait()
        return self._answer(self.renewals, said(kept + b"+", at=int(now)))

    async def end(self, kept: bytes, logout_id: str, proof: Proof, now: float) -> Departure | None:
        self.ended.append((kept, logout_id))
        return self.departure

    async def notified(self, message: Message, proof: Proof | None, now: float) -> LogoutNotice:
        self.notices.append((message, proof))
        if isinstance(self.notice, LoginError):
            raise self.notice
        return self.notice

    async def facts(self, now: float) -> ProviderFacts:
        return ProviderFacts(ISSUER, ("https://idp.example.com/",), 1)

    def documents(self) -> Mapping[str, Document]:
        return {}

    async def run(self) -> None:
        await asyncio.sleep(0)

    @staticmethod
    def _answer(answers: list[Authentication | LoginError], otherwise: Authentication) -> Authentication:
        answer = answers.pop(0) if answers else otherwise
        if isinstance(answer, LoginError):
            raise answer
        return answer
