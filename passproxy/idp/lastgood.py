"""
The last good copy of an identity provider's document, on disk.

It lets PassProxy start while the provider is down. Since it decides who is
trusted, it carries a MAC under this instance's own key: a copy that was
written by anything else, or half, is the same as none. What the document
means, and whether it is still fit, the adapter judges anew each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
import tempfile
from pathlib import Path

#: A copy is never larger than what may be fetched, plus the line with its MAC.
COPY_LIMIT_BYTES = 6 * 1024 * 1024


class LastGood:
    """One file. Keys are secret and this instance's own: the first is for what is stored, each for what was."""

    def __init__(self, path: Path, *keys: bytes) -> None:
        self._path = path
        self._keys = keys

    def load(self) -> bytes | None:
        """The document as it was stored, or None when there is no copy that can be trusted."""
        try:
            stored = self._read()
        except OSError:
            return None
        mac, separator, document = stored.partition(b"\n")
        if not separator or not any(hmac.compare_digest(mac, self._mac(document, key)) for key in self._keys):
            return None
        return document

    def store(self, document: bytes) -> None:
        """
        Replace the copy, whole or not at all.

        Raises:
            OSError: it could not be written; the previous copy still stands.
        """
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._mac(document, self._keys[0]) + b"\n" + document)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _read(self) -> bytes:
        # Not blocking: a named pipe in this place would hold up the start for ever.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("not a regular file")
            return file.read(COPY_LIMIT_BYTES)

    def _mac(self, document: bytes, key: bytes) -> bytes:
        # The file's name takes part: the copy of another document does not fit here.
        return hmac.digest(key, self._path.name.encode() + b"\0" + document, hashlib.sha256).hex().encode()
