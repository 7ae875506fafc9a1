"""
Where PassProxy is tried: on loopback, and behind a web server with TLS.

Only in the second place is the provider another site, and do the cookies have
their prefix, Secure and SameSite=None. Only the first can be reached by the
provider itself.
"""

from __future__ import annotations

from tests.interop.processes import free_port
from tests.interop.provider import Stand


def trial() -> Stand:
    listen = f"127.0.0.1:{free_port()}"
    return Stand("trial", f"http://{listen}", listen)


def behind_tls(label: str) -> Stand:
    """`label` sets it apart from other installations that the same provider knows."""
    return Stand("behind TLS", f"https://{label}.example.com", f"127.0.0.1:{free_port()}")
