"""
YAML and environment to frozen settings, or every mistake at once.

Text becomes values here, once; nothing is checked again per request. Each
problem names its file and line (or the environment variable), the key's path
and what to do; none quotes a value that could be a secret. Which keys exist
and what they accept is in settings.py. Files are read by the caller: this
module is given their content.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from passproxy.core.errors import ConfigError
from passproxy.core.settings import Settings
from passproxy.core.urls import is_loopback

ENVIRONMENT_PREFIX = "PASSPROXY_"

#: Written by hand; the longest real one, with two hundred rules, is below 30 KiB.
FILE_LIMIT_BYTES = 1024 * 1024

# What Kubernetes adds to the environment of every pod beside a Service that is called passproxy.
_KUBERNETES_LINK = re.compile(r"PASSPROXY_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP).*)?)\Z")
_KUBERNETES_HINT = "; Kubernetes adds it for a Service of this name: set enableServiceLinks: false in the pod"

# Begins as a JSON list does, and is none.
_IPV6_LISTENER = re.compile(r"\[[0-9A-Fa-f:.]+\]:\d+\Z")

# Begins as a JSON map does, and is a template: in JSON a quotation mark follows.
_TEMPLATE = re.compile(r"\{[a-z_{]")

#: The deepest key is in the fourth level.
DEPTH_LIMIT = 16

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Reading:
    """Where each value came from, and what was wrong so far."""

    name: str
    places: dict[Path, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def report(self, path: Path, text: str) -> None:
        key = _dotted(path)
        place = next((self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places), self.name)
        self.problems.append((place, f"{key}: {text}" if key else text))


def settings_from(
    text: str | None, name: str, environment: Mapping[str, str], read_file: Callable[[str], str]
) -> Settings:
    """
    The settings of one YAML text and the environment, which wins.

    `name` is the file's name for messages; `read_file` gives the content of a
    `..._file` twin and raises `OSError`.

    Raises:
        ConfigError: with all problems of both.
    """
    reading = _Reading(name)
    data = _yaml_data(text, reading) if text is not None else {}
    if data is not None:
        _drop_empty_sections(data, Settings)
        _merge_environment(data, environment, reading)
        _resolve_secrets(data, Settings, (), read_file, reading)
        _read_tokens(data, read_file, reading)
        _check_contradictions(data, reading)
        settings = _validated(data, reading)
        if settings is not None and not reading.problems:
            return settings
    raise ConfigError(tuple(f"{place}: {problem}" for place, problem in sorted(reading.problems, key=_by_place)))


def _by_place(problem: tuple[str, str]) -> tuple[str, int, str]:
    name, _, line = problem[0].rpartition(":")
    return (name, int(line), problem[1]) if line.isdecimal() else (problem[0], 0, problem[1])


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# --- YAML


def _yaml_data(text: str, reading: _Reading) -> dict[str, Any] | None:
    """
    The mapping of a YAML text, all scalars as the text that was written.

    YAML 1.1 would make `no` false, `0644` a number and `12:30` another one;
    here the model alone decides what a text means.
    """
    if len(text) > FILE_LIMIT_BYTES:
        reading.problems.append((reading.name, f"larger than {FILE_LIMIT_BYTES} bytes"))
        return None
    text = text.removeprefix("\ufeff")
    try:
        # Events first: an alias is refused before anything is built from it (CVE-2020-14343's
        # class for tags, and the bombs that aliases make).
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_LIMIT:
                reading.problems.append((reading.name, f"nested more than {DEPTH_LIMIT} levels deep"))
                return None
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                reading.problems.append(
                    (f"{reading.name}:{line}", "anchors, aliases and tags are not used in a configuration")
                )
                return None
        documents = list(yaml.compose_all(text, yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = reading.name if mark is None else f"{reading.name}:{mark.line + 1}"
        reading.problems.append(
            (place, f"not valid YAML: {_unquoted(getattr(error, 'problem', None) or 'unreadable')}")
        )
        return None
    if len(documents) != 1 or not isinstance(documents[0], yaml.MappingNode):
        reading.problems.append((reading.name, "expected one YAML mapping of keys to values"))
        return None
    value = _plain(documents[0], (), reading)
    return value if isinstance(value, dict) else None


def _unquoted(problem: str) -> str:
    """What the YAML parser says, without what it quotes of the file: that may be a secret."""
    return re.sub(r"""(['"])(?!<)[^'"]*\w[^'"]*\1?""", "...", problem)


def _plain(node: yaml.Node, path: Path, reading: _Reading) -> Any:
    reading.places[path] = f"{reading.name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, path, reading)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), reading) for index, item in enumerate(node.value)]
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return node.value


def _plain_mapping(node: yaml.MappingNode, path: Path, reading: _Reading) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            reading.report(path, "keys must be plain names")
            continue
        below = (*path, key.value)
        if key.value in found:
            reading.problems.append((f"{reading.name}:{key.start_mark.line + 1}", f"{_dotted(below)}: given twice"))
            continue
        found[key.value] = _plain(value, below, reading)
        reading.places[below] = f"{reading.name}:{key.start_mark.line + 1}"
    return found


def _drop_empty_sections(data: dict[str, Any], model: type[BaseModel]) -> None:
    """A section whose keys are all commented out says nothing; a key without a value is a mistake."""
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        if section is None or name not in data:
            continue
        if data[name] is None:
            del data[name]
        elif isinstance(data[name], dict):
            _drop_empty_sections(data[name], section)


# --- environment


@functools.cache
def variables() -> Mapping[str, Path]:
    """Every environment variable that is understood, and the key that it stands for."""
    return {ENVIRONMENT_PREFIX + "_".join(str(part) for part in path).upper(): path for path in _leaves(Settings, ())}


def _leaves(model: type[BaseModel], path: Path) -> Iterator[Path]:
    for name, info in model.model_fields.items():
        below = (*path, name)
        section = _section(info.annotation)
        if section is not None:
            yield from _leaves(section, below)
        else:
            yield below
            if _is_secret(info.annotation):
                yield (*path, f"{name}_file")


def _parts(annotation: Any) -> Iterator[Any]:
    """A type and all types that it is made of: `Annotated[X, ...] | None` contains X."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _section(annotation: Any) -> type[BaseModel] | None:
    direct = (annotation, *get_args(annotation))
    return next((part for part in direct if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _is_secret(annotation: Any) -> bool:
    return SecretStr in _parts(annotation)


def _merge_environment(data: dict[str, Any], environment: Mapping[str, str], reading: _Reading) -> None:
    known = variables()
    paths = set(known.values())
    secrets = {path for path in paths if (*path[:-1], f"{path[-1]}_file") in paths}
    for name in sorted(n for n in environment if n.startswith(ENVIRONMENT_PREFIX)):
        path = known.get(name)
        if path is None:
            hint = _KUBERNETES_HINT if _KUBERNETES_LINK.match(name) else _nearest(name, known)
            reading.problems.append((name, f"unknown variable{hint}"))
            continue
        for below in [place for place in reading.places if place[: len(path)] == path]:
            del reading.places[below]  # what the file says there holds no more
        reading.places[path] = name
        value: Any = environment[name]
        if path in secrets:
            value = value.removesuffix("\n").removesuffix("\r")
        if value.lstrip()[:1] in ("[", "{") and not _IPV6_LISTENER.match(value) and not _TEMPLATE.match(value):
            try:
                value = json.loads(value)
            except ValueError:
                reading.report(path, "starts like JSON but is none")
                continue
        _put(data, path, value)


def _put(data: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        below = data.get(str(part))
        if not isinstance(below, dict):
            below = data[str(part)] = {}
        data = below
    data[str(path[-1])] = value


def _resolve_secrets(
    data: dict[str, Any], model: type[BaseModel], path: Path, read_file: Callable[[str], str], reading: _Reading
) -> None:
    """Replace each `..._file` twin of a secret by the content of the file, without its last line end."""
    for name, info in model.model_fields.items():
        section, value, twin = _section(info.annotation), data.get(name), f"{name}_file"
        if section is not None and isinstance(value, dict):
            _resolve_secrets(value, section, (*path, name), read_file, reading)
        if not _is_secret(info.annotation) or twin not in data:
            continue
        source = data.pop(twin)
        if value is not None:
            reading.report((*path, twin), f"given together with {name}; only one of them can hold")
            continue
        try:
            data[name] = read_file(str(source)).removesuffix("\n").removesuffix("\r")
        except (OSError, ValueError) as error:
            reading.report((*path, twin), f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}")
            data[name] = "unread"
        if not data[name].strip():
            reading.report((*path, twin), "the file is empty")


def _read_tokens(data: dict[str, Any], read_file: Callable[[str], str], reading: _Reading) -> None:
    """Add the entries of `passthrough.tokens_file`, a YAML file with the one key `tokens`."""
    section = data.get("passthrough")
    source = section.get("tokens_file") if isinstance(section, dict) else None
    if source is None or not isinstance(section, dict):
        return
    path = ("passthrough", "tokens_file")
    own = section.get("tokens") or []
    try:
        within = _Reading(str(source))
        listed = _yaml_data(read_file(str(source)), within)
    except (OSError, ValueError) as error:
        reading.report(path, f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}")
        return
    reading.problems += within.problems
    if listed is None:
        return
    entries = listed.get("tokens") or []
    if set(listed) - {"tokens"} or not isinstance(entries, list) or not isinstance(own, list):
        reading.report(path, "has the one key tokens, with a list below it")
        return
    for number in range(len(entries)):
        reading.places["passthrough", "tokens", len(own) + number] = within.places["tokens", number]
    section["tokens"] = [*own, *entries]


# --- checks


def _check_contradictions(data: dict[str, Any], reading: _Reading) -> None:
    """What involves several keys; on the plain data, so that it is found beside all other mistakes."""
    protocols = [name for name in ("saml", "oidc") if data.get(name) is not None]
    if len(protocols) == 2:
        reading.report(("oidc",), "given together with saml; a domain has exactly one identity provider")
    elif not protocols:
        reading.report((), "neither saml nor oidc: without an identity provider nobody could log in")
    saml = data.get("saml")
    if isinstance(saml, dict):
        sources = [name for name in ("metadata_url", "metadata_file") if saml.get(name)]
        if len(sources) != 1:
            reading.report(("saml",), "needs exactly one of metadata_url and metadata_file")
    _check_origin(data, reading)


def _check_origin(data: dict[str, Any], reading: _Reading) -> None:
    origin, domain = data.get("origin"), data.get("domain")
    if isinstance(origin, str) and isinstance(domain, str):
        authority = origin.partition("://")[2]
        host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
        if host.rstrip("/").lower() not in (domain.lower(), f"[{domain.lower()}]"):
            reading.report(("origin",), "its host is not the domain")
    upstream = data.get("upstream")
    url = upstream.get("url") if isinstance(upstream, dict) else None
    if isinstance(url, str) and isinstance(domain, str):
        host = url.partition("://")[2].rstrip("/").rpartition(":")[0] or url.partition("://")[2]
        if host.lower() == domain.lower() and not is_loopback(host):
            reading.report(("upstream", "url"), "names the protected domain itself: requests would go round in circles")
        if url.partition("://")[2].rstrip("/") == data.get("listen", "127.0.0.1:8123"):
            reading.report(("upstream", "url"), "is the address that PassProxy listens on")


def _validated(data: dict[str, Any], reading: _Reading) -> Settings | None:
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            path = _known_path(problem["loc"], data)
            reading.report(path, _sentence(problem["type"], problem["msg"], path))
        return None


def _known_path(location: Path, data: Any) -> Path:
    """Pydantic's location without the steps that are not in the data (names of union members)."""
    path: list[str | int] = []
    for part in location:
        if isinstance(data, dict) and (part in data or part == location[-1]):
            path.append(part)
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
    return tuple(path)


def _sentence(kind: str, message: str, path: Path) -> str:
    if kind == "extra_forbidden":
        return f"unknown key{_nearest(str(path[-1]), _siblings(path))}"
    if kind == "missing":
        return "missing"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a section: keys and values below it"
    return message.removeprefix("Value error, ").removeprefix("Input ").replace("should be", "must be")


def _siblings(path: Path) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path[:-1]:
        if isinstance(part, int):
            continue  # the model of a list's items was found with the list
        info = model.model_fields.get(part)
        below = () if info is None else _parts(info.annotation)
        section = next((each for each in below if isinstance(each, type) and issubclass(each, BaseModel)), None)
        if section is None:
            return []
        model = section
    known = [info.alias or name for name, info in model.model_fields.items()]
    return [*known, *(f"{n}_file" for n, i in model.model_fields.items() if _is_secret(i.annotation))]


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
