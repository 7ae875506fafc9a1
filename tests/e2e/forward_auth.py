"""
The real web servers with the configurations that are shipped for forward authentication.

Only ports, paths and the name are other ones; each `...` function is one of front_ends.py's kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.e2e import nginx as _nginx
from tests.e2e.front_ends import ETC, Place, caddy_options, found

#: Where the shipped files have the application.
APPLICATION = r"127\.0\.0\.1:3000\b"


def nginx(place: Place, application: str) -> list[str]:
    text = place.put((ETC / "nginx" / "forward-auth.conf").read_text("utf-8"), [(APPLICATION, application)])
    # The name is in those of the files too.
    text = text.replace("listen 443 ssl", f"listen {place.port} ssl").replace("[::]:443 ssl", f"[::]:{place.port} ssl")
    text = text.replace(f"https://{place.domain}$", f"https://{place.domain}:{place.port}$")
    if _nginx.version() < (1, 25, 1):
        text, count = re.subn(r"\n *http2 on;", "", text)
        assert count == 2
        text = re.sub(r"(listen \S+ ssl)", r"\1 http2", text)
    main = _nginx.written(_nginx.placed(text, place.domain, place.plain_port, place.folder), place.folder)
    _nginx.check(main)
    return [_nginx.NGINX, "-e", str(place.folder / "start.log"), "-c", str(main)]


def caddy(place: Place, application: str) -> list[str]:
    replacements = [
        (r"/etc/ssl/certs/app\.example\.com\.pem", str(place.certificate)),
        (r"/etc/ssl/private/app\.example\.com\.key", str(place.key)),
        (APPLICATION, application),
    ]
    text = place.put((ETC / "caddy" / "forward-auth.Caddyfile").read_text("utf-8"), replacements)
    file = place.write("Caddyfile", caddy_options(place) + text)
    return [found("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


def haproxy(place: Place, application: str) -> list[str]:
    pair = place.write("both.pem", place.certificate.read_text("ascii") + place.key.read_text("ascii"))
    lua = (ETC / "haproxy" / "forward-auth.lua").read_text("utf-8")
    assert "127.0.0.1:8123" in lua
    script = place.write("forward-auth.lua", lua.replace("127.0.0.1:8123", f"127.0.0.1:{place.passproxy_port}"))
    replacements = [
        (r"lua-load /etc/haproxy/forward-auth\.lua", f"lua-load {script}"),
        (r"bind :80\b", f"bind 127.0.0.1:{place.plain_port}"),
        (r"bind :443\b", f"bind 127.0.0.1:{place.port}"),
        (r"/etc/ssl/private/app\.example\.com\.pem", str(pair)),
        (r"https://app\.example\.com\b", f"https://{place.domain}:{place.port}"),
        (APPLICATION, application),
    ]
    text = (ETC / "haproxy" / "forward-auth.cfg").read_text("utf-8")
    file = place.write("passproxy.cfg", place.put(text, replacements))
    return [found("haproxy"), "-db", "-f", str(file)]


ASKING: dict[str, Callable[[Place, str], list[str]]] = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}
