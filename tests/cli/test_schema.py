"""`passproxy schema`: what it prints is fresh, and no stricter or laxer than the model where that can be told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from docs import reference
from docs.schema import schema
from passproxy.cli import main
from passproxy.core.config import settings_from, variables
from passproxy.core.errors import ConfigError
from tests.core.given import examples
from tests.fakes.schema import complaints

EXAMPLE = reference.EXAMPLE.read_text("utf-8")
SCHEMA: dict[str, Any] = schema(EXAMPLE)
ROOT = Path(__file__).resolve().parents[2]


def test_what_is_printed_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA, "make docs"


def test_the_reference_is_fresh() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(EXAMPLE), "make docs"


def test_the_first_line_of_the_example_names_a_schema_that_is_there() -> None:
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", EXAMPLE.splitlines()[0])
    assert named is not None
    assert json.loads((reference.EXAMPLE.parent / named[1]).read_text("utf-8")) == SCHEMA


def test_every_key_and_its_variable_stand_in_the_reference_with_their_meaning() -> None:
    page = reference.page(EXAMPLE)
    rows = dict(re.findall(r"^\| `([^`]+)`<br>`[^|]+ \| [^\n]+ \| (.+) \|$", page, re.MULTILINE))
    known = {".".join(map(str, path)): name for name, path in variables().items()}
    assert rows.keys() == known.keys()
    assert all(len(meaning) > 10 for meaning in rows.values())
    assert all(f"`{path}`<br>`{name}`" in page for path, name in known.items())


# --- what it accepts

OIDC = "oidc: {issuer: https://sso.example.com, client_id: app}\n"
GOOD = "domain: app.example.com\nupstream: {url: http://127.0.0.1:3000}\n" + OIDC


def read(text: str) -> Any:
    """As an editor reads YAML 1.2: true and false are the only truths, and a date is text."""
    return yaml.load(text, _Yaml12)


class _Yaml12(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - as the parent has it
        first: [each for each in kinds if each[0].rpartition(":")[2] in ("null", "int", "float")]
        for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|false"), list("tf"))


def snippets() -> list[Any]:
    """Every YAML block of the documentation that is a whole configuration."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, block in enumerate(re.findall(r"^```yaml\n(.+?)^```", page.read_text("utf-8"), re.M | re.S)):
            if re.search(r"^domain:", block, re.M):
                found.append(pytest.param(block, id=f"{page.name} {number + 1}"))
    return found


@pytest.mark.parametrize("text", [pytest.param(EXAMPLE, id="the example"), *snippets()])
def test_what_we_show_people_is_accepted(text: str) -> None:
    assert complaints(read(text), SCHEMA) == []


@pytest.mark.parametrize(
    "more",
    [
        "session: {refresh: off, lifetime: 7d}\n",
        "session:\n",
        'session: {not_before: "2026-03-01T08:00:00+01:00"}\n',
        "trusted_proxies: 10.0.0.0/8, ::1\n",
        "passthrough: {paths: [/x, {path: /y/**}, {path: /z, methods: [POST]}]}\n",
        "identity: {attributes: {email: [mail]}, groups: {include: ['^a']}}\n",
        "access: {rules: [{name: a, path: /a/**, from: [10.0.0.0/8], require_attribute: {email: ['*@a.example']}}]}\n",
        "access: {default: deny, roles: {boss: board}, rules: [{name: a, paths: [/a, /b], require_any_role: [boss]}]}\n",
        "log: {level: debug}\n",
        "state_dir: 7\n",
    ],
)
def test_both_accept_it(more: str) -> None:
    assert complaints(read(GOOD + more), SCHEMA) == []
    assert settings_from(GOOD + more, "app.yaml", {}, str)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("domain: app.example.com\n", ""),
        GOOD.replace("127.0.0.1:3000", "127.0.0.1:3000/app"),
        GOOD + "passthroughPath: [/x]\n",
        GOOD + "session: {lifetime: 1440}\n",
        GOOD + "session: {lifetime: 24}\n",
        GOOD + "session: 24h\n",
        GOOD + "log: {level: trace}\n",
        GOOD + "saml: {metadata_file: /x}\n",
        GOOD.replace(OIDC, ""),
        GOOD.replace(OIDC, "saml: {}\n"),
        GOOD.replace(OIDC, "saml: {metadata_file: /x, key_file: /y}\n"),
        GOOD.replace("client_id: app", "client_id: app, client_secret: a, client_secret_file: /b"),
        GOOD.replace("client_id: app", "client_id: ' '"),
        GOOD + "upstream: {url: http://127.0.0.1:1, max_connections: 0}\n",
        GOOD + "passthrough: {paths: ['/x?y']}\n",
        GOOD + "passthrough: {paths: [{path: /x, metods: [GET]}]}\n",
        GOOD + "identity: {attributes: {admin: [x]}}\n",
        GOOD + "listen: :8123\n",
    ],
)
def test_both_refuse_it(text: str) -> None:
    assert complaints(read(text), SCHEMA)
    with pytest.raises(ConfigError):
        settings_from(text, "app.yaml", {}, str)


def patterns(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [pattern for each in schema for pattern in patterns(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    return own + [pattern for each in schema.values() for pattern in patterns(each)]


@pytest.mark.parametrize("pattern", sorted(set(patterns(SCHEMA))))
def test_a_pattern_means_the_same_to_editors(pattern: str) -> None:
    """They read it as JavaScript does, with its flag u: only what has a meaning may be escaped (ECMA-262, 22.2.1)."""
    assert not re.search(r"(?<!\\)(?:\\\\)*\\[^sSdDwWbB^$\\.*+?()\[\]{}|/]", pattern)
    assert "(?" not in pattern
    re.compile(pattern)


def values(kind: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a part of the schema accepts: its own default and examples where it shows some."""
    shown = [kind["default"]] if "default" in kind else kind.get("examples", [])
    if "properties" in kind:
        return st.fixed_dictionaries(
            {name: values(below) for name, below in kind["properties"].items() if name in kind.get("required", ())},
            optional={
                name: values(below)
                for name, below in kind["properties"].items()
                if name not in kind.get("required", ())
            },
        )
    if "enum" in kind:
        return st.sampled_from(kind["enum"])
    if kind.get("type") == "boolean":
        return st.booleans()
    if kind.get("type") == "integer":
        return st.integers(kind["minimum"], kind["maximum"])
    lists = [each for each in kind.get("anyOf", []) if each.get("type") == "array"]
    if lists and "enum" in lists[0]["items"]:
        return st.lists(values(lists[0]["items"]), min_size=1)
    return st.sampled_from(shown)


@given(st.data())
@examples(300)
def test_what_the_schema_accepts_the_model_understands(data: st.DataObject) -> None:
    """It may refuse what contradicts itself, of which a schema can say little."""
    configuration = data.draw(values(SCHEMA))
    provider = data.draw(st.sampled_from(["oidc", "saml"]))
    configuration.pop(provider, None)
    if complaints(configuration, SCHEMA):
        return
    assert not re.search("unknown|missing|expected|must be a|valid", refusal(yaml.safe_dump(configuration)))


def refusal(text: str) -> str:
    try:
        settings_from(text, "app.yaml", {}, lambda path: "tokens: []")
    except ConfigError as error:
        return str(error)
    return ""
