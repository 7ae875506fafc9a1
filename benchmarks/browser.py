"""
What a browser sends behind a web server: its fifteen header fields, the same toward every proxy.

Few headers would flatter a proxy that looks at each of them. `ask` sends one
such request and reads the whole answer; loads are load.py's.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping

HOST = "app.example.com"

_FIELDS = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", f"https://{HOST}/d/abc"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Upgrade-Insecure-Requests", "1"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Real-IP", "10.0.0.1"),
    ("Connection", "keep-alive"),
)


def fields(session_cookie: str | None) -> dict[str, str]:
    """All fields; `session_cookie` is a `name=value` that stands between two cookies of the application."""
    cookies = ("theme=dark", *([] if session_cookie is None else [session_cookie]), "app_session=0123456789abcdef")
    return {"Host": HOST, "Cookie": "; ".join(cookies), **dict(_FIELDS)}


def ask(port: int, target: str, session_cookie: str | None, more: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", target, headers={**fields(session_cookie), **(more or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
