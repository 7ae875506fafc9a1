"""
For applications behind a sign-in proxy: who is there, proven.

A proxy that signs people in tells the application who they are. Headers can be
written by everybody who reaches the application; an assertion that the proxy
signed cannot. This package verifies it, for PassProxy and for other proxies,
and stands alone: it needs PyJWT with cryptography and nothing else of PassProxy.

asgi.py, wsgi.py and aiohttp.py are for frameworks, `Verifier` for everything else.
`python -m passproxy.trusted enroll` sets it up.
"""

from passproxy.trusted.errors import AssertionRefused, KeysUnavailable, SettingsInvalid, TrustError
from passproxy.trusted.identity import Identity
from passproxy.trusted.settings import Settings, settings_from
from passproxy.trusted.verifier import Verifier

__all__ = [
    "AssertionRefused",
    "Identity",
    "KeysUnavailable",
    "Settings",
    "SettingsInvalid",
    "TrustError",
    "Verifier",
    "settings_from",
]
