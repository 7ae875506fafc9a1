"""
Where a stream of WebSocket frames stands (RFC 6455, 5.2), and the frame that ends it.

Messages pass as bytes and nobody reads them. Between two frames, and only
there, something of our own may be said: that it is over, and why. A browser
tells that to its page as `CloseEvent.code`.
"""

from __future__ import annotations

#: Of a session that has ended: what 401 is to a request. From the range for applications (RFC 6455, 7.4.2).
SESSION_OVER = 4401

#: RFC 6455, 7.4.1: this server is going away, or waited too long.
GOING_AWAY = 1001

#: A control frame holds 125 bytes, two of them the code.
REASON_LIMIT_BYTES = 123

#: Frames of one piece of data that are counted. A piece of 256 KiB that has more was made to cost time;
#: where its end stands is not known then.
FRAMES_LIMIT = 4096

_LONGEST_HEAD = 14


class FrameCursor:
    """Follows one direction. `advance` takes every byte of it, in order."""

    __slots__ = ("_head", "_left", "is_lost")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        #: It is not known any more where frames begin.
        self.is_lost = False

    @property
    def is_between(self) -> bool:
        """Whether the last frame is complete and the next one has not begun."""
        return not self._left and not self._head and not self.is_lost

    def advance(self, data: bytes) -> None:
        """These bytes have passed."""
        self._advance(data, stops=False)

    def rest(self, data: bytes) -> int:
        """How many of these bytes belong to the frame that has begun; they have passed then, and the others not."""
        return self._advance(data, stops=True)

    def _advance(self, data: bytes, *, stops: bool) -> int:
        at, end, frames = 0, len(data), 0
        while at < end and not self.is_lost:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
            else:
                at = self._begin(data, at)
                frames += 1
                self.is_lost = frames > FRAMES_LIMIT
            if stops and self.is_between:
                break
        return at

    def _begin(self, data: bytes, at: int) -> int:
        """Read the head of a frame, as far as it is there."""
        known = len(self._head)
        head = self._head + data[at : at + _LONGEST_HEAD - known]
        length = _head_length(head)
        if len(head) < length:
            self._head = head
            return len(data)
        self._head, self._left = b"", _payload_length(head)
        return at + length - known


def close_frame(code: int, reason: str) -> bytes:
    """The frame with which a server closes; it is not masked."""
    content = code.to_bytes(2, "big") + reason.encode()[:REASON_LIMIT_BYTES]
    return bytes((0x88, len(content))) + content


def _head_length(head: bytes) -> int:
    if len(head) < 2:
        return 2
    kind = head[1] & 0x7F
    extended = 2 if kind == 126 else 8 if kind == 127 else 0
    return 2 + extended + (4 if head[1] & 0x80 else 0)


def _payload_length(head: bytes) -> int:
    kind = head[1] & 0x7F
    if kind == 126:
        return int.from_bytes(head[2:4], "big")
    return int.from_bytes(head[2:10], "big") if kind == 127 else kind
