"""
Section 2.9 of the catalogue, row by row: an ambiguous path is never public, and a session forwards it as it came.

The targets are those of tests/data/passthrough_hostile.txt, where the pattern language is tested with them, and
those that no parser may take for a path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.attacks.edge import Edge, edge
from tests.fakes.gateway import get, navigation, request
from tests.fakes.log import Log
from tests.fakes.websocket import accepting, handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATA = Path(__file__).resolve().parents[1] / "data" / "passthrough_hostile.txt"


def from_file() -> list[tuple[str, bytes]]:
    """Row and target of each line."""
    lines = [line for line in DATA.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    pairs = [line.partition(" ")[::2] for line in lines]
    return [(row, text.encode().decode("unicode_escape").encode("latin-1")) for row, text in pairs]


#: Further ones of the rows that hold what a file of paths has no line for.
FURTHER = [
    ("PATH-08", b"/public#/../admin"),
    ("PATH-08", b"/admin#/public/"),
    ("PATH-08", b"/public?#/admin"),
    ("PATH-16", b"*"),
    ("PATH-16", b"foo"),
    ("PATH-16", b"health"),
    ("PATH-16", b"@evil.example/"),
    ("PATH-16", b":80@evil/"),
    ("PATH-16", b"app.example.com:443"),
    ("PATH-16", b"?/health"),
    ("PATH-24", b".evil.example/"),
    ("PATH-24", b"@evil"),
    ("PATH-24", b"@evil.example/health"),
    ("PATH-24", b":9/health"),
    ("PATH-24", b"http://evil/abs"),
    ("PATH-24", b"http:/evil/abs"),
    ("PATH-24", b"http:\\\\evil/abs"),
    ("PATH-24", b"\\\\evil/abs"),
    ("PATH-24", b"//evil"),
    ("PATH-24", b"//evil/public/x"),
    ("PATH-24", b"///evil/health"),
    ("PATH-24", b"/@evil/"),
    ("PATH-24", b"/.evil.example/"),
    ("PATH-24", b"/http://evil/abs"),
]

#: Bytes that no request line has, with or without a session.
NEVER = [row for row in FURTHER if row[1][:1] != b"/" or b"#" in row[1]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(autouse=True)
def as_new(site: Edge) -> None:
    site.upstream.forget()


def named(pairs: list[tuple[str, bytes]]) -> list[object]:
    """Parameters whose names begin with their row."""
    return [pytest.param(target, id=f"{row} {target.decode('latin-1')!a}"[:90]) for row, target in pairs]


def is_writable(target: bytes) -> bool:
    """Whether a request line may hold it."""
    return target[:1] == b"/" and all(0x20 < byte < 0x7F for byte in target) and b"#" not in target


@pytest.mark.parametrize("target", named(from_file() + FURTHER))
async def test_nobody_gets_through_without_a_session(site: Edge, log: Log, target: bytes) -> None:
    answer = await site.refuses(navigation(target), log, 302, 400, 421)
    if answer.status == 302:
        assert b"/oidc/authorize?" in answer.one(b"location")
        assert answer.one(b"location").startswith(b"http://127.0.0.1:")
    log.forget()
    await site.refuses(request("HEAD", target), log, 401, 400, 421)


@pytest.mark.parametrize("target", named([row for row in from_file() + FURTHER if is_writable(row[1])]))
async def test_a_session_forwards_the_bytes_that_came(site: Edge, target: bytes) -> None:
    async with site.raw() as raw:
        answer = await raw.ask(get(target, cookie=site.cookie))
        assert answer.status == 200
        (seen,) = site.upstream.requests
        assert seen.request_line == b"GET " + target + b" HTTP/1.1"
        assert seen.one(b"host") == b"app.example.com"
        await site.canary(raw)


@pytest.mark.parametrize("target", named(NEVER))
async def test_what_is_no_path_is_none_for_a_session_either(site: Edge, log: Log, target: bytes) -> None:
    await site.refuses(get(target, cookie=site.cookie), log, 400, 421)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        pytest.param("OPTIONS", "*", id="PATH-16 OPTIONS of the server"),
        pytest.param("CONNECT", "app:443", id="PATH-16 CONNECT"),
        pytest.param("CONNECT", "/health", id="PATH-16 CONNECT to a public path"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
async def test_forms_for_the_server_itself_are_refused(
    site: Edge, log: Log, method: str, target: str, known: bool
) -> None:
    cookie = site.cookie if known else None
    await site.refuses(request(method, target, cookie=cookie), log, 400, 405)


@pytest.mark.parametrize("target", ["/health", "/public/x", "/public", "/hook"], ids=lambda target: f"PATH-19 {target}")
@pytest.mark.parametrize("protocol", ["websocket", "foo"])
async def test_a_public_path_gives_no_tunnel(site: Edge, log: Log, target: str, protocol: str) -> None:
    site.upstream.script = accepting
    await site.refuses(handshake(target=target, upgrade=protocol), log, 401)


async def test_all_of_the_file_is_sent() -> None:
    rows = {row for row, _ in from_file()}
    assert rows >= {f"PATH-{number:02}" for number in range(1, 15)}
    assert len(from_file()) > 80
