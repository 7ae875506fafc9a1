"""
The floors of the house, read from the source with `ast` and `tokenize`.

Imports go down or stay level; the core awaits nothing; each floor has its own
third parties; the protocols' names stay with the protocols; each module has a
test module. Each rule is a function from sources to violations, so that the
second half of this file can plant one of each and see it found.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = ("core", "idp", "web", "app", "cli")

#: Within the core, what a module may import is on its own line or above it.
CORE_LEVELS = (
    {"errors", "handles", "identity", "plain", "profiles", "urls"},
    {"http1", "tokens", "cookies", "session_claims"},
    {
        "session",
        "pending",
        "kept",
        "routing",
        "headers",
        "identity_headers",
        "policy",
        "judging",
        "order",
        "readings",
        "body",
        "forwarded",
        "forwarded_target",
        "upgrade",
        "frames",
        "assertion",
        "bearer",
        "issuers",
        "trust",
        "loop",
        "rescue",
        "cleanup",
        "selftest",
        "counts",
    },
    {"request_ids"},
    {"decision"},
    {"formats"},
    {"settings"},
    {"access", "config"},
)


@dataclass(frozen=True, slots=True)
class Apart:
    """A place beside the floors: what of ours it imports, and who imports it."""

    imports: frozenset[str]
    importers: frozenset[str]


APART = {
    # An application and an identity provider of its own; the command line alone starts it.
    "demo": Apart(frozenset({"core"}), frozenset({"cli"})),
    # Files, which the core does not touch, for the one who builds the rest from them and for who rotates.
    "keyfile": Apart(frozenset({"core"}), frozenset({"app", "cli"})),
    # Copied into applications: it must stand alone.
    "trusted": Apart(frozenset(), frozenset()),
}

CORE_LIBRARIES = {"cryptography", "joserfc", "jwt", "pydantic", "yaml"}
LIBRARIES: dict[str, set[str] | None] = {
    "core": CORE_LIBRARIES,
    "idp": CORE_LIBRARIES | {"aiohttp", "authlib", "lxml", "onelogin", "xmlsec", "yarl"},
    "idp.redis_revocations": {"redis"},
    "web": {"jinja2", "uvloop"},
    "web.metrics": {"prometheus_client"},
    "app": {"aiohttp", "uvloop"},
    "keyfile": set(),
    "trusted": {"cryptography", "jwt"},
    "trusted.aiohttp": {"aiohttp", "cryptography", "jwt"},
    "cli": None,
    "demo": None,
}

#: The core computes. These wait, or reach outside the process.
SHELL_MODULES = {"asyncio", "selectors", "socket", "ssl", "subprocess", "threading"}

#: Where the protocols may be named in code: their adapters, the configuration,
#: and the two that set up a whole installation.
PROTOCOL_WORDS = re.compile("saml|oidc", re.IGNORECASE)
PROTOCOL_PLACES = (
    "idp.",
    "core.settings.",
    "core.config.",
    "core.headers.",  # names of headers that other products assert
    "trusted.headers.",  # likewise
    "demo.",
    "cli.",
)

#: Modules whose tests are elsewhere, and why. A name with a dot at its end is all that is below it.
TESTED_ELSEWHERE = {
    "__main__": ("tests/cli/test_cli.py", "one line, run as a subprocess with the other commands"),
    "cli.files": ("tests/cli/test_check.py", "reads the file of every command that has one"),
    "cli.serving": ("tests/cli/test_serve.py", "what the command does once the settings are there"),
    "core.handles": ("tests/core/test_session.py", "under which names a session can be revoked"),
    "core.session_claims": ("tests/core/test_session.py", "what a token brings back, and what is none"),
    "core.judging": ("tests/core/test_policy.py", "every decision of the table goes through it"),
    "core.order": ("tests/core/test_policy.py", "which rule covers a request is seen in the verdict"),
    "cli.policy_trial": ("tests/cli/test_policy.py", "what the command asks and prints"),
    "cli.policy_expectations": ("tests/cli/test_policy.py", "the file that the command reads"),
    "demo.assertions": ("tests/attacks/test_saml_signatures.py", "every hostile response is built with it"),
    "idp.registry": ("tests/flows", "one choice, made in every whole login of either protocol"),
    "idp.base": ("tests/idp/contract.py", "an interface: the contract is what each provider must do with it"),
    "idp.oidc.errors": ("tests/idp/oidc/test_provider.py", "sentences: each is met where it is raised"),
    "idp.saml.": ("tests/idp/test_saml.py", "a response is judged by all of them together; tests/attacks has the rest"),
    "trusted.gate": ("tests/trusted/contract.py", "what every middleware must do, whatever its framework"),
    "trusted.errors": ("tests/trusted/test_refusal.py", "codes and sentences: each is met where it is raised"),
    "web.waiting": ("tests/flows", "a session that is renewed is served, refused or asked to log in"),
    "web.parts": ("tests/app", "values that the composition root makes and the gateway works with"),
    "web.refusals": ("tests/web/test_gateway.py", "each refusal there is seen as page, as problem and in the log"),
    "web.observed": ("tests/web/test_admin.py", "what it says is what the admin listener answers"),
    "web.asked": ("tests/web/test_endpoints.py", "the request as the endpoints take it, seen in what they answer"),
    "web.login": ("tests/flows", "what it sets and where it sends browsers is what a whole login shows"),
    "web.logout": ("tests/flows", "likewise for the end of a session"),
    "web.rescue": ("tests/flows", "a form that is kept and offered again is part of a whole login"),
    "web.cleanup": ("tests/flows", "what a browser is told to drop between one visitor and the next"),
    "web.session_cookies": ("tests/flows", "which cookies a login, a renewal and a logout leave behind"),
    "web.exchange": ("tests/web/test_upstream.py", "values that the connection and the pool pass on"),
    "app.": ("tests/flows", "it builds everything, so a whole login is its test"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One module: its name below `passproxy`, such as `core.errors`, and its text."""

    name: str
    text: str

    @property
    def place(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Import:
    target: str
    line: int


def sources() -> list[Source]:
    package = ROOT / "passproxy"
    return [
        Source(".".join(path.relative_to(package).with_suffix("").parts), path.read_text("utf-8"))
        for path in sorted(package.rglob("*.py"))
    ]


def imports(source: Source) -> Iterator[Import]:
    """Everything imported anywhere in a module; `from a import b` is `a.b`, since b may be a module."""
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(f"{module}.{alias.name}", node.lineno) for alias in node.names)


def floor_violations(modules: Iterable[Source]) -> list[str]:
    return [
        f"{source.name}:{imported.line} imports {imported.target}"
        for source in modules
        for imported in imports(source)
        if imported.target.startswith(("passproxy.", ".")) and not _may_import(source, imported.target)
    ]


def _may_import(source: Source, target: str) -> bool:
    place = target.split(".")[1]
    if target.startswith("."):
        return False
    if place == "__version__":
        return True
    if source.place == "__main__":
        return place == "cli"
    if source.place in APART:
        return place == source.place or place in APART[source.place].imports
    if place in APART:
        return source.place in APART[place].importers
    if source.place not in FLOORS:
        return False
    if source.place == place == "core":
        return _core_level(target.split(".")[2]) <= _core_level(source.name.split(".")[1])
    return place in FLOORS[: FLOORS.index(source.place) + 1]


def _core_level(module: str) -> int:
    if module == "__init__":
        return 0
    return next((level for level, modules in enumerate(CORE_LEVELS) if module in modules), len(CORE_LEVELS))


def unplaced(modules: Iterable[Source]) -> list[str]:
    """Modules that the tables above do not know: their place is to be decided, not guessed."""
    known = {"__init__", "__main__", *FLOORS, *APART}
    core = {"__init__"}.union(*CORE_LEVELS)
    return [
        source.name
        for source in modules
        if source.place not in known or (source.place == "core" and source.name.split(".")[1] not in core)
    ]


def library_violations(modules: Iterable[Source], standard: frozenset[str]) -> list[str]:
    return [
        f"{source.name}:{imported.line} imports {imported.target}"
        for source in modules
        for imported in imports(source)
        if (allowed := _libraries(source)) is not None
        and imported.target.split(".")[0] not in {"passproxy", "__future__", *standard, *allowed}
    ]


def _libraries(source: Source) -> set[str] | None:
    return LIBRARIES.get(source.name, LIBRARIES.get(source.place, set()))


def impurities(modules: Iterable[Source]) -> list[str]:
    found = []
    for source in modules:
        if source.place != "core":
            continue
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)) or (
                isinstance(node, ast.comprehension) and node.is_async
            ):
                found.append(f"{source.name}:{getattr(node, 'lineno', '?')} awaits")
        found += [
            f"{source.name}:{imported.line} imports {imported.target}"
            for imported in imports(source)
            if imported.target.split(".")[0] in SHELL_MODULES
        ]
    return found


def protocol_mentions(modules: Iterable[Source]) -> list[str]:
    """Names and strings in code. Comments and docstrings may explain themselves with any word."""
    return [
        f"{source.name}:{token.start[0]} has {token.string!r}"
        for source in modules
        if not f"{source.name}.".startswith(PROTOCOL_PLACES)
        for token in _code_tokens(source.text)
        if PROTOCOL_WORDS.search(token.string)
    ]


def _code_tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            docstrings.add((node.body[0].lineno, node.body[0].col_offset))
    # Python 3.12 splits f-strings into tokens of their own; before, they are STRING.
    kinds = {tokenize.NAME, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds and token.start not in docstrings:
            yield token


def untested(modules: Iterable[Source], root: Path) -> list[str]:
    """Modules without `tests/<folder>/test_<module>.py`. An `__init__` that defines nothing needs none."""
    return [
        f"{source.name} has no {_elsewhere(source) or _mirror(source)}"
        for source in modules
        if _defines_something(source)
        and not (root / _mirror(source)).exists()
        and not (root / (_elsewhere(source) or "-")).exists()
    ]


def _mirror(source: Source) -> str:
    *folders, module = source.name.split(".")
    if module == "__init__":
        # The code of a package's front door is tested under the package's name.
        module = folders[-1]
    return "/".join(("tests", *folders, f"test_{module}.py"))


def _elsewhere(source: Source) -> str | None:
    return next((path for name, (path, _) in TESTED_ELSEWHERE.items() if _is_below(source.name, name)), None)


def _is_below(module: str, name: str) -> bool:
    return module.startswith(name) if name.endswith(".") else module == name


def _defines_something(source: Source) -> bool:
    if not source.name.endswith("__init__"):
        return True
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in ast.parse(source.text).body
    )


STANDARD = frozenset(sys.stdlib_module_names)
SOURCES = sources()


def test_imports_go_down_or_stay_level() -> None:
    assert floor_violations(SOURCES) == []


def test_every_module_has_a_place() -> None:
    assert unplaced(SOURCES) == []


def test_each_floor_keeps_to_its_own_third_parties() -> None:
    assert library_violations(SOURCES, STANDARD) == []


def test_the_core_awaits_nothing_and_reaches_nothing() -> None:
    assert impurities(SOURCES) == []


def test_protocols_are_named_only_by_those_who_speak_them_or_configure_them() -> None:
    assert protocol_mentions(SOURCES) == []


def test_every_module_has_its_test_module() -> None:
    assert untested(SOURCES, ROOT) == []


def test_every_exception_from_the_mirror_names_a_module_that_exists() -> None:
    assert [name for name in TESTED_ELSEWHERE if not any(_is_below(source.name, name) for source in SOURCES)] == []


# --- the rules find what is planted ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("core.tokens", "from passproxy.idp.base import Proof", id="the core imports an adapter"),
        pytest.param("core.http1", "import passproxy.web.server", id="the core imports the web by its full name"),
        pytest.param("core.tokens", "from passproxy import web", id="the core imports the web from the package"),
        pytest.param("core.http1", "from passproxy.core import session", id="the core imports upward in itself"),
        pytest.param("core.policy", "from passproxy.core.config import Config", id="a part imports its builder"),
        pytest.param("core.policy", "from passproxy.core.settings import Settings", id="a part reads settings"),
        pytest.param("idp.base", "def f():\n    from passproxy.web import gateway", id="an import inside a function"),
        pytest.param("idp.base", "if TYPE_CHECKING:\n    from passproxy.app import x", id="an import for types alone"),
        pytest.param("web.gateway", "import passproxy.app", id="the web imports the composition root"),
        pytest.param("app", "from passproxy.cli import main", id="the composition root imports a command"),
        pytest.param("app", "from passproxy.demo import provider", id="the product imports the demo"),
        pytest.param("demo.provider", "from passproxy.web import gateway", id="the demo imports the product"),
        pytest.param("web.endpoints", "from passproxy.keyfile import obtained_keys", id="the web reads the key file"),
        pytest.param("trusted.asgi", "from passproxy.core import urls", id="what applications copy imports ours"),
        pytest.param("core.urls", "from . import errors", id="a relative import hides its floor"),
    ],
)
def test_an_upward_import_is_found(name: str, text: str) -> None:
    assert len(floor_violations([Source(name, text)])) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("core.session", "from passproxy.core.tokens import seal"),
        ("core.session", "from passproxy.core.pending import x"),
        ("core.config", "from passproxy.core.settings import Settings"),
        ("idp.saml.login", "from passproxy.core.settings import SamlSettings\nfrom passproxy.idp.base import Proof"),
        ("web.gateway", "from passproxy.core import decision\nfrom passproxy.idp import login"),
        ("app", "import passproxy\nfrom passproxy.keyfile import obtained_keys"),
        ("cli.demo", "from passproxy.demo import provider\nfrom passproxy import __version__, app"),
        ("demo.provider", "from passproxy.core.urls import Origin\nfrom passproxy.demo import pages"),
        ("__main__", "from passproxy.cli import main"),
    ],
)
def test_a_downward_or_level_import_is_fine(name: str, text: str) -> None:
    assert floor_violations([Source(name, text)]) == []


@pytest.mark.parametrize(
    "text",
    [
        "async def f(): pass",
        "class A:\n    async def f(self): await g()",
        "def f():\n    import asyncio",
        "from socket import socket",
    ],
)
def test_a_coroutine_or_a_socket_in_the_core_is_found(text: str) -> None:
    assert impurities([Source("core.tokens", text)])
    assert not impurities([Source("idp.base", text)])


def test_a_foreign_library_is_found() -> None:
    assert library_violations([Source("core.tokens", "from aiohttp import web")], STANDARD)
    assert library_violations([Source("web.gateway", "import aiohttp")], STANDARD)
    assert library_violations([Source("web.admin", "import prometheus_client")], STANDARD)
    assert not library_violations([Source("web.metrics", "import prometheus_client")], STANDARD)
    assert not library_violations([Source("cli.doctor", "import requests")], STANDARD)


@pytest.mark.parametrize(
    "text", ["x = settings.saml", "def from_oidc(): pass", "x = 'oidc/callback'", "x = f'{y}/SAML/acs'", "import saml2"]
)
def test_a_protocol_named_in_the_core_is_found(text: str) -> None:
    assert protocol_mentions([Source("core.routing", text)])
    assert not protocol_mentions([Source("idp.saml.login", text)])


def test_a_protocol_in_a_comment_or_docstring_is_fine() -> None:
    text = '"""\nSAML says so.\n"""\n# oidc too\ndef f():\n    """Not SAML."""\n'
    assert protocol_mentions([Source("core.routing", text)]) == []


def test_a_module_without_tests_or_without_a_place_is_found(tmp_path: Path) -> None:
    assert untested([Source("core.tokens", "")], tmp_path) == ["core.tokens has no tests/core/test_tokens.py"]
    assert untested([Source("core.__init__", '"""Pure."""')], tmp_path) == []
    assert untested([Source("idp.__init__", "def build(): pass")], tmp_path) == [
        "idp.__init__ has no tests/idp/test_idp.py"
    ]
    assert unplaced([Source("core.misc", ""), Source("misc.a", ""), Source("web.misc", "")]) == ["core.misc", "misc.a"]
