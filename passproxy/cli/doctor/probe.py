"""
Asking one server one thing, within limits: bytes over a connection, a certificate, a page.

What goes wrong becomes a sentence (`reason`). No judgement here.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from passproxy.cli.doctor.report import Finding, failed, quoted, unknown
from passproxy.core.errors import ConfigError

#: No check takes longer. A provider that needs more is no help to anybody who signs in.
CHECK_SECONDS = 10.0

#: Sign-in pages have some hundred KiB at most; the rest would say nothing more.
PAGE_LIMIT_BYTES = 512 * 1024

#: Heads up to what PassProxy itself may send.
_HEAD_LIMIT_BYTES = 64 * 1024

Connect = Callable[[Callable[[], asyncio.Protocol]], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


async def ask(connect: Connect, request: bytes) -> Answer:
    """
    Send one HTTP request over a new connection and read the beginning of the answer.

    Raises:
        OSError: there is no connection.
        ValueError: what came back is no HTTP.
    """
    reader = asyncio.StreamReader(limit=_HEAD_LIMIT_BYTES)
    transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader))
    try:
        transport.write(request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise ValueError("no HTTP answer") from None
        status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
        if status is None:
            raise ValueError("no HTTP answer")
        return Answer(int(status[1]), await reader.read(4096))
    finally:
        transport.close()


async def beginning(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body of an answer up to a limit, however long it is."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) >= limit_bytes:
            break
    return bytes(body[:limit_bytes])


async def certificate_end(host: str, port: int) -> float:
    """
    When the certificate of a TLS server ends, in seconds since the epoch; it has been verified.

    Raises:
        OSError: no connection, or a certificate that is not accepted.
    """
    _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context(), server_hostname=host)
    try:
        certificate = writer.get_extra_info("peercert")
        return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
    finally:
        writer.close()


def reason(error: BaseException) -> str:
    """Why there is no connection, for people."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {quoted(cause.verify_message)}"
        case ssl.SSLError():
            return f"no TLS: {quoted(getattr(cause, 'reason', None) or str(cause))}"
        case socket.gaierror():
            return "its name is not known to the resolver"
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "nothing listens there"
        case FileNotFoundError():
            return "there is no such socket"
        case PermissionError():
            return "this user may not connect to it"
        case OSError() if cause.strerror:
            return quoted(cause.strerror)
        case aiohttp.ClientError() | ValueError():
            return quoted(str(cause)) or type(cause).__name__
        case _:
            return type(cause).__name__


async def within(check: str, work: Awaitable[list[Finding]], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """The findings of a check, or one about what kept it from an end."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return [
            failed(check, f"There was no answer within {seconds:.0f} seconds.", "Is something in between too slow?")
        ]
    except ConfigError as error:
        return [failed(check, f"{quoted(problem)}.", "Correct the configuration.") for problem in error.problems]
    except Exception as error:  # a check must not keep the others from being made
        return [unknown(check, f"The check itself failed: {type(error).__name__} {quoted(str(error))}.")]
