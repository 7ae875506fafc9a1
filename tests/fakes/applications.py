"""
Applications of the usual kinds that tell what they read of a request, each on a server that is not ours.

What each is told depends on the profile: `TOLD` has the fields in which it says who is there, and
with what value, for whoever `somebody` is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import h11

#: What a session in these tests has; the login name is "alice", and the subject "sub-alice".
SOMEBODY = {"email": "alice@example.com", "name": "Jörg Ärcher"}
GROUPS = ("staff", "ops")


class Told(NamedTuple):
    """Fields of one profile, and their values, for `SOMEBODY`."""

    user_field: str
    user: str
    groups_field: str
    groups: str


TOLD = {
    "passproxy": Told("X-Passproxy-User", "alice", "X-Passproxy-Groups", "staff,ops"),
    "passbeyond": Told("X-Passbeyond-Email", "alice@example.com", "X-Passbeyond-Groups", "staff,ops"),
    "x-auth": Told("X-Auth-User", "alice", "X-Auth-Groups", "staff,ops"),
    "x-forwarded": Told("X-Forwarded-Preferred-Username", "alice", "X-Forwarded-Groups", "staff,ops"),
    "x-auth-request": Told("X-Auth-Request-User", "sub-alice", "X-Auth-Request-Groups", "staff,ops"),
    "remote-user": Told("Remote-User", "alice", "Remote-Groups", "staff,ops"),
    "authentik": Told("X-authentik-username", "alice", "X-authentik-groups", "staff|ops"),
    "vouch": Told("X-Vouch-User", "alice@example.com", "X-Vouch-IdP-Claims-Groups", '"staff","ops"'),
    "mellon": Told("MELLON_NAME_ID", "sub-alice", "MELLON_groups", "staff;ops"),
}


def variable(name: str) -> str:
    """As CGI has it (RFC 3875, 4.1.18)."""
    return "HTTP_" + name.upper().replace("-", "_")


# --- WSGI (PEP 3333)

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
WsgiApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def wsgi_server(application: WsgiApplication) -> Iterator[str]:
    """wsgiref's server in a thread; its address."""
    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def telling(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """A WSGI application that tells the variables which it was given, as text."""
    told = {name: value.encode("latin-1").decode() for name, value in environ.items() if name.startswith("HTTP_")}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def grafana(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """
    Who somebody is to Grafana with `[auth.proxy]`, as its documentation has it: whoever is on `whitelist`
    says it in `header_name` and in those that `headers` names; whoever is not, is not believed.
    """
    header_name, whitelist = "X-WEBAUTH-USER", ("127.0.0.1",)
    headers = {"Name": "X-WEBAUTH-NAME", "Email": "X-WEBAUTH-EMAIL", "Role": "X-WEBAUTH-ROLE"}
    user = environ.get(variable(header_name))
    if user is None or environ["REMOTE_ADDR"] not in whitelist:
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
        return [b"sign in"]
    more = {key: environ.get(variable(name), "").encode("latin-1").decode() for key, name in headers.items()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"login": user, **more}).encode()]


# --- ASGI 3

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


@contextlib.asynccontextmanager
async def asgi_server(application: AsgiApplication) -> AsyncIterator[str]:
    """A server of one request a connection, with h11 for the protocol; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        with contextlib.closing(writer):
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            if isinstance(event, h11.Request):
                await application(_scope(event), _nothing_more, _sender(connection, writer))
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _scope(request: h11.Request) -> dict[str, Any]:
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method.decode(),
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": list(request.headers),
    }


async def _nothing_more() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _sender(connection: h11.Connection, writer: asyncio.StreamWriter) -> Send:
    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"connection", b"close")]
            writer.write(connection.send(h11.Response(status_code=message["status"], headers=headers)) or b"")
            return
        writer.write(connection.send(h11.Data(data=message["body"])) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")

    return send


async def telling_asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """An ASGI application that tells the header fields which it was given, as text."""
    told = json.dumps({name.decode(): value.decode() for name, value in scope["headers"]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})
