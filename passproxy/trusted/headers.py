"""
The headers of a request: one assertion out of them, and without what anybody could have written.

Names are compared in normal form, since CGI-style servers read X_User, X.User
and X-User as one variable. The assertion is taken out too: it is a credential
while it lives, and what is not there cannot be logged. Plain identity headers go
because a verified identity must not stand beside an unverified one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableMapping

from passproxy.trusted.errors import AssertionAmbiguous
from passproxy.trusted.settings import Settings

Header = tuple[bytes, bytes]

_PLAIN = """
    x-passproxy- x-passbeyond- x-auth-request- x-authentik- x-vouch- x-pomerium- x-webauth- x-justiam- mellon-
    oidc- cf-access- x-goog-authenticated- x-goog-iap- x-amzn-oidc- x-ms-client-principal x-ms-client-principal-
    remote-user remote-email remote-name remote-groups x-remote-user x-remote-email x-remote-name x-remote-group
    x-remote-groups x-forwarded-user x-forwarded-email x-forwarded-name x-forwarded-groups x-forwarded-roles
    x-forwarded-preferred-username x-forwarded-access-token x-auth-user x-auth-username x-auth-email x-auth-name
    x-auth-groups x-auth-roles x-auth-subject x-auth-assertion x-token-subject x-token-user-name x-token-user-email
    x-token-user-roles x-proxy-user x-authenticated-user x-authenticated-userid x-authenticated-groups x-id-token
    x-jwt-assertion x-endpoint-api-userinfo auth-user
"""

#: Plain headers in which identity-aware proxies name people. "-" at the end: everything below it.
PLAIN_HEADERS: tuple[str, ...] = tuple(_PLAIN.split())

_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")

_BEARER = re.compile(rb"bearer +(\S+)\Z", re.IGNORECASE)


def normal_form(name: str) -> str:
    """Lower case, each run of anything but letters and digits one hyphen, none at the ends."""
    return _NOT_ALPHANUMERIC.sub("-", name.lower()).strip("-")


class Headers:
    """
    How the headers of each request are treated.

    `strip` are names of plain headers that are removed; `()` keeps them all.
    """

    def __init__(self, settings: Settings, strip: tuple[str, ...] = PLAIN_HEADERS) -> None:
        self._exact = settings.header.lower()
        self._normal = normal_form(settings.header)
        self._is_bearer = settings.preset.is_bearer
        self._stripped = frozenset(normal_form(name) for name in strip if not name.endswith("-"))
        self._prefixes = tuple(normal_form(name) + "-" for name in strip if name.endswith("-"))

    def split(self, headers: Iterable[Header]) -> tuple[bytes | None, list[Header]]:
        """
        The assertion, or None, and the headers that an application may read.

        Raises:
            AssertionAmbiguous: it is there more than once, or under a second spelling.
        """
        found: list[bytes] = []
        kept: list[Header] = []
        for name, value in headers:
            spelled = name.decode("latin-1")
            normal = normal_form(spelled)
            if normal == self._normal:
                token = self._token(value, spelled.lower() == self._exact)
                if token:
                    found.append(token)
                elif token is None:
                    kept.append((name, value))
            elif not self._is_plain(normal):
                kept.append((name, value))
        if len(found) > 1:
            raise AssertionAmbiguous(f"{len(found)} headers {self._exact}")
        return (found[0] if found else None), kept

    def taken_from(self, environ: MutableMapping[str, object]) -> bytes | None:
        """
        The same for the variables of a WSGI request (PEP 3333), which are changed in place.

        Raises:
            AssertionAmbiguous
        """
        names = [name for name in environ if name.startswith("HTTP_")]
        # A server has turned X_Name into HTTP_X_NAME as well; two of them it has joined with a comma.
        lines = [(name[5:].replace("_", "-"), str(environ[name])) for name in names]
        token, kept = self.split((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in lines)
        left = {name.decode("latin-1") for name, _ in kept}
        for name, (spelled, _) in zip(names, lines, strict=True):
            if spelled not in left:
                del environ[name]
        return token

    def _token(self, value: bytes, is_exact: bool) -> bytes | None:
        """The assertion in a header; b"" for an empty one; None when the header is about something else."""
        stripped = value.strip(b" \t")
        if not is_exact:
            raise AssertionAmbiguous("a header that reads like the assertion's and is spelled differently")
        if b"," in stripped:
            raise AssertionAmbiguous(f"several values in {self._exact}")
        if not self._is_bearer or not stripped:
            return stripped
        bearer = _BEARER.match(stripped)
        return bearer[1] if bearer else None

    def _is_plain(self, normal: str) -> bool:
        return normal in self._stripped or normal.startswith(self._prefixes)
