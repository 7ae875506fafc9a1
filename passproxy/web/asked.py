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
from passproxy.core.urls import fields


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to an endpoint. `now` is seconds since the epoch."""

    endpoint: str
    head: RequestHead
    body: bytes
    crumbs: Crumbs
    session: Known | None
    client: str
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
