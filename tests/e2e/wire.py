"""HTTP/1.1 as raw bytes, over TCP or TLS: requests that no library would send, and answers as they come."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """`fields` are lower-case names and their last values."""

    status: int
    fields: dict[str, str]
    body: bytes


@contextlib.asynccontextmanager
async def connected(
    port: int, *, tls_name: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to this machine, over TLS (whatever the certificate) if a name is given."""
    context: ssl.SSLContext | None = None
    if tls_name is not None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=tls_name, limit=_LIMIT_BYTES
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def head(method: str, target: str, host: str, *lines: str) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode()


async def answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer; its body needs a Content-Length, chunks, or the end of the connection."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(status_line.split()[1]), fields, await _body(reader, fields))


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    if fields.get("transfer-encoding") != "chunked":
        return await reader.read(-1)
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body


async def asked(
    port: int, target: str, host: str, lines: Sequence[str] = (), *, method: str = "GET", tls_name: str | None = None
) -> Answer:
    """One request without a body, and its answer."""
    async with connected(port, tls_name=tls_name) as (reader, writer):
        writer.write(head(method, target, host, *lines, "Connection: close"))
        return await answer(reader)
