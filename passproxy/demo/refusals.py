"""
What the demo identity provider says no to, and how.

    Refused
    ├── Unanswerable      shown on a page: who asks, or where the answer would go, cannot be trusted
    ├── Answerable        sent back to the relying party as an error (RFC 6749 4.1.2.1)
    └── GrantRefused      answered as JSON at the token or userinfo endpoint (RFC 6749 5.2, RFC 6750 3.1)

The sentences are for whoever configures a service provider against the demo, so
they say what was expected. They quote nothing that was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Refused(Exception):
    """Base of all; the argument is the sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Unanswerable(Refused):
    """Nothing may be sent anywhere: the browser stays here and reads why."""


class Answerable(Refused):
    """The relying party is known and learns it itself, at its redirect URI."""

    def __init__(self, error: str, sentence: str) -> None:
        super().__init__(sentence)
        self.error = error


class GrantRefused(Refused):
    def __init__(self, error: str, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.error = error
        self.status = status


def single(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """
    Fields by name, each at most once (RFC 6749 3.1).

    Raises:
        Unanswerable: a name is repeated, so that two readers could see two requests.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise Unanswerable("A parameter of the request is repeated.")
        found[name] = value
    return found
