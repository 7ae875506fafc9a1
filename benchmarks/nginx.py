"""
nginx twice: as the application that answers with one small file, and as the proxy to compare with.

The proxy is nginx at its best (kept connections on both sides, no log, no
authentication): no proxy of this kind will be much cheaper.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.processes import Failed

_MAIN = """\
worker_processes 1;
daemon off;
{user}
pid {folder}/{name}.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-fastcgi;
    uwsgi_temp_path {folder}/{name}-uwsgi;
    scgi_temp_path {folder}/{name}-scgi;
{http}
}}
"""

_APPLICATION = """\
    types {{ text/html html; }}
    open_file_cache max=10;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {folder}/www;
        location / {{ rewrite ^ /page.html break; }}
        location /who {{ return 200 "$http_x_passproxy_user|$http_cookie"; }}
        location /public/who {{ return 200 "$http_x_passproxy_user|$http_cookie"; }}
    }}"""

_PROXY = """\
    upstream application {{
        server 127.0.0.1:{application};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            client_max_body_size 0;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}"""


def program() -> str:
    """nginx; Debian keeps it where only root looks."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Failed("nginx is not installed")
    return found


def application(folder: Path, port: int, body: bytes) -> list[str]:
    """The command of a server whose every page is `body`; `/who` says as whom the client came."""
    (folder / "www").mkdir()
    (folder / "www" / "page.html").write_bytes(body)
    return _command(folder, "application", _APPLICATION.format(port=port, folder=folder))


def proxy(folder: Path, port: int, application_port: int) -> list[str]:
    """The command of a proxy toward the application."""
    return _command(folder, "proxy", _PROXY.format(port=port, application=application_port))


def _command(folder: Path, name: str, http: str) -> list[str]:
    path = folder / f"{name}.conf"
    # The worker of a root's nginx would be another user, who cannot read this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(_MAIN.format(folder=folder, name=name, http=http, user=user))
    return [program(), "-e", "stderr", "-p", str(folder), "-c", str(path)]
