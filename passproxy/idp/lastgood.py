"""
The last good copy of an identity provider's document, on disk.

It lets PassProxy start while the provider is down. Since it decides who is
trusted, it carries a MAC under this instance's own key: a copy that was
written by anything else, or half, is the same as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import tempfile
from pathlib import Path


class LastGood:
    """One file. `key` is secret and this instance's own."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key

    def load(self) -> bytes | None:
        """The document as it was stored, or None when there is no copy that can be trusted."""
        try:
            stored = self._path.read_bytes()
        except OSError:
            return None
        mac, separator, document = stored.partition(b"\n")
        if not separator or not hmac.compare_digest(mac, self._mac(document)):
            return None
        return document

    def store(self, document: bytes) -> None:
        """
        Replace the copy, whole or not at all.

        Raises:
            OSError: it could not be written; the previous copy still stands.
        """
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._mac(document) + b"\n" + document)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _mac(self, document: bytes) -> bytes:
        return hmac.digest(self._key, document, hashlib.sha256).hex().encode()
