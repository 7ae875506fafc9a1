"""The demo listens on this machine and nowhere else."""

from __future__ import annotations

import pytest

from passproxy.demo.application import DemoApplication
from passproxy.demo.idp import DemoIdentityProvider
from passproxy.demo.loopback import bound, is_loopback_authority

ELSEWHERE = ["0.0.0.0", "", "::", "192.0.2.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io", "::ffff:0:0"]


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_addresses_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        bound(host, 0)
    with pytest.raises(ValueError, match="loopback only"):
        DemoApplication(host=host)
    with pytest.raises(ValueError, match="loopback only"):
        DemoIdentityProvider("http://127.0.0.1:1", host=host)


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("127.0.0.9", "127.0.0.9")]
)
def test_loopback_addresses_are_bound(host: str, address: str) -> None:
    with bound(host, 0) as listening:
        assert listening.getsockname()[0] == address


@pytest.mark.parametrize("authority", ["localhost@evil.example", "127.0.0.1/x", "127.0.0.1:port", "[::1", "a b"])
def test_odd_authorities_are_not_ours(authority: str) -> None:
    assert not is_loopback_authority(authority)


async def test_stopping_twice_is_the_same_as_once() -> None:
    server = DemoApplication()
    await server.start()
    await server.stop()
    await server.stop()


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with DemoApplication() as running:
        port = int(running.base_url.rpartition(":")[2])
        with bound("127.0.0.1", 0) as other:
            other.listen()
            with pytest.raises(OSError, match="in use"):
                await DemoApplication(port=other.getsockname()[1]).start()
        assert port
