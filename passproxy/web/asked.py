"""
A request to one of our own endpoints, as they all take it. A value; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from passproxy.core.cookies import Crumbs
from passproxy.core.errors import CallbackMalformed, EndpointMethod
from passproxy.core.http1 import RequestHead
from passproxy.core.session import Known
from passproxy.core.urls import Origin, fields


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request to an endpoint. `now` is seconds since the epoch.

    `rejected` says why a session cookie that came along was not one.
    """

    endpoint: str
    head: RequestHead
    body: bytes
    crumbs: Crumbs
    session: Known | None
    rejected: str | None
    client: str
    request_id: str
    now: float

    @property
    def query(self) -> bytes:
        return self.head.target.partition(b"?")[2]

    def allow(self, *methods: str) -> None:
        """
        Raises:
            EndpointMethod: the request has another method.
        """
        if self.head.method.decode() not in methods:
            raise EndpointMethod(*methods)

    @property
    def is_from_a_window(self) -> bool:
        """Whether a person sees the answer; browsers that do not say what a request is for are believed."""
        mode, destination = self.head.value(b"sec-fetch-mode"), self.head.value(b"sec-fetch-dest")
        return (mode, destination) in ((None, None), (b"navigate", b"document"))

    def is_from_here(self, origin: Origin, *, typed: bool) -> bool:
        """Whether a page of this very origin sent it; `typed` lets the address bar count as well."""
        site = self.head.value(b"sec-fetch-site")
        if site is not None:
            return site == b"same-origin" or (typed and site == b"none")
        return self.head.value(b"origin") == str(origin).encode()

    def fields(self) -> Mapping[str, str]:
        """
        The fields of the query, or of the form in the body of a POST, each name once.

        Raises:
            CallbackMalformed: they are not strictly so, or the body is no form.
        """
        return fields(self.raw_fields())

    def raw_fields(self) -> bytes:
        """As `fields`, byte for byte."""
        if self.head.method != b"POST":
            return self.query
        content_type = (self.head.value(b"content-type") or b"").partition(b";")[0].strip().lower()
        if content_type != b"application/x-www-form-urlencoded":
            raise CallbackMalformed("the body is not a form")
        return self.body
