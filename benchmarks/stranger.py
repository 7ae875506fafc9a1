"""
A stranger at the address where SAML answers arrive, with a login of their own under way.

So what they post is really looked at: the login's cookie is there, and where it helps the document
names the login's request. Also PassProxy's configuration for this, and what its processes occupy.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote_from_bytes, urlencode, urlsplit

from benchmarks.browser import HOST
from benchmarks.processes import Failed
from tests.fakes import idp_saml

ACS = "/.passproxy/saml/acs"

_NAVIGATION = {"Host": HOST, "Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

#: For one answer. The XML process is given five seconds.
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    code: str
    milliseconds: float
    gives_a_session: bool


def configuration(folder: Path, port: int, application_port: int, *, encrypted: bool) -> Path:
    """The configuration file; its identity provider is that of the tests, whose keys are at hand."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    idp_saml.place_own_key(state)
    metadata = folder / "idp.xml"
    metadata.write_bytes(idp_saml.idp_metadata())
    path = folder / "passproxy.yaml"
    settings = {
        "domain": HOST,
        "listen": f"127.0.0.1:{port}",
        "upstream": {"url": f"http://127.0.0.1:{application_port}"},
        "saml": {"metadata_file": str(metadata), "want_encrypted_assertions": encrypted},
        "state_dir": str(state),
    }
    path.write_text(json.dumps(settings))  # JSON is YAML
    path.chmod(0o600)
    return path


def bring(port: int, build: Callable[[str], bytes], *, is_escaped: bool = False) -> Answer:
    """
    Start a login, and post a document as its answer; the time is that of the post.

    `build` gets the ID of the request. With `is_escaped` each character of the form is a percent escape.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/", headers=_NAVIGATION)
        started = connection.getresponse()
        started.read()
        if started.status != 302:
            raise Failed(f"no login started: status {started.status}")
        location = started.headers["Location"]
        (login_id,) = parse_qs(urlsplit(location).query)["RelayState"]
        cookies = "; ".join(line.partition(";")[0] for line in started.headers.get_all("Set-Cookie", []))
        text = base64.b64encode(build(idp_saml.read_request(location).get("ID", "")))
        if is_escaped:
            body = b"RelayState=" + login_id.encode() + b"&SAMLResponse=" + b"".join(b"%%%02X" % one for one in text)
        else:
            body = urlencode({"SAMLResponse": text, "RelayState": login_id}, quote_via=_quoted).encode()
        return _post(connection, body, cookies)
    finally:
        connection.close()


def _quoted(text: bytes | str, *_: object) -> str:
    return quote_from_bytes(text if isinstance(text, bytes) else text.encode(), safe="")


def _post(connection: http.client.HTTPConnection, body: bytes, cookies: str) -> Answer:
    fields = {**_NAVIGATION, "Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    start = time.perf_counter()
    connection.request("POST", ACS, body, fields)
    answer = connection.getresponse()
    page = answer.read()
    milliseconds = (time.perf_counter() - start) * 1e3
    code = re.search(rb"PP-[A-Z0-9-]+", page)
    session = any(re.match(r"__Host-passproxy=[^;]", line) for line in answer.headers.get_all("Set-Cookie", []))
    return Answer(answer.status, code[0].decode() if code else "", milliseconds, session)


def processes(process_id: int) -> dict[str, int]:
    """A proxy and its XML process, by their ids."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    if len(children) != 1:
        raise Failed(f"PassProxy has {len(children)} child processes, not one")
    return {"PassProxy": process_id, "its XML process": int(children[0])}


def occupied(process_id: int) -> float:
    """Resident memory in MiB."""
    (kibibytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{process_id}/status").read_text(), re.MULTILINE)
    return int(kibibytes) / 1024


def kept_waiting(process_id: int) -> float:
    """How many seconds a process could have run and had no core: what the rest of the machine did to it."""
    return int(Path(f"/proc/{process_id}/schedstat").read_text().split()[1]) / 1e9
