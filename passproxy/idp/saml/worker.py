"""
The process that reads XML: `python -P -m passproxy.idp.saml.worker`.

One request a line on standard input, one answer a line on standard output. It
has no network, nothing to write and no secrets of its own (the keys that open an
encrypted assertion or sign a logout come with the question); whatever a document does to it,
at worst one login fails and pool.py starts another. Every exception is an
answer, so that only a crash or a hang ends it, and a hang is ended by the
kernel even where no Python code runs any more.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

import xmlsec
from lxml import etree

from passproxy.core.errors import LoginError
from passproxy.idp.saml.errors import SamlRefused
from passproxy.idp.saml.logout_message import logout_facts
from passproxy.idp.saml.messages import (
    bytes_from,
    decoded,
    encoded,
    expectations_from,
    logout_expectations_from,
)
from passproxy.idp.saml.metadata import described
from passproxy.idp.saml.selftest import failures
from passproxy.idp.saml.signing import signed
from passproxy.idp.saml.verify import verified

#: The parent gives up earlier; this is for a parent that is gone.
_ALARM_SECONDS = 20

#: A good response needs some 60 MiB, of which Python and its libraries are most.
_MEMORY_LIMIT_BYTES = 1024 * 1024 * 1024


def main() -> None:
    answers = _private_stdout()
    _limit_resources()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        signal.alarm(_ALARM_SECONDS)
        answers.write(encoded(answer(line)))
        answers.flush()
        signal.alarm(0)


def _private_stdout() -> BinaryIO:
    """The answers' own descriptor: what a library prints must not be taken for an answer."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit_resources() -> None:
    for name, limit in (
        (resource.RLIMIT_AS, _MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
    ):
        _, hard = resource.getrlimit(name)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(name, (limit, limit))


def answer(line: bytes) -> dict[str, Any]:
    """The answer to one request, whatever it is."""
    try:
        request = decoded(line)
        return _ACTIONS[request["do"]](request)
    except LoginError as error:
        return {"refused": error.code, "detail": error.detail}
    except Exception as error:  # nothing that a document causes may end the process
        return {"refused": SamlRefused.code, "detail": f"unexpected {type(error).__name__}"}


def _verify(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"facts": asdict(verified(bytes_from(request["document"]), expectations_from(request["expectations"])))}


def _describe(request: Mapping[str, Any]) -> dict[str, Any]:
    signer = None if request["signer"] is None else bytes_from(request["signer"])
    description = described(bytes_from(request["document"]), request["entity_id"], request["now"], signer)
    return {"description": asdict(description)}


def _logout(request: Mapping[str, Any]) -> dict[str, Any]:
    expectations = logout_expectations_from(request["expectations"])
    return {"facts": asdict(logout_facts(bytes_from(request["document"]), expectations))}


def _sign(request: Mapping[str, Any]) -> dict[str, Any]:
    document, key, certificate = (bytes_from(request[name]) for name in ("document", "key", "certificate"))
    return {"document": signed(document, key, certificate)}


def _check(request: Mapping[str, Any]) -> dict[str, Any]:
    """SC-03 and SC-04: two copies of libxml2 that do not fit, or a library that stopped refusing."""
    libraries = {
        "lxml": ".".join(map(str, etree.LXML_VERSION)),
        "libxml2 of lxml": ".".join(map(str, etree.LIBXML_VERSION)),
        "libxml2 of xmlsec": ".".join(map(str, xmlsec.get_libxml_version())),
    }
    return {"failures": failures(request["now"]), "libraries": libraries}


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "verify": _verify,
    "describe": _describe,
    "logout": _logout,
    "sign": _sign,
    "check": _check,
}

if __name__ == "__main__":
    main()
