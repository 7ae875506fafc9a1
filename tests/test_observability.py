"""
docs/observability.md tells all that can be observed, and nothing else; what etc/ asks for exists.

The metrics are those that a running instance gives; events are read from the source.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from passproxy.web import refusals
from tests.fakes.admin import ADMIN, Admin
from tests.fakes.gateway import demo_idp, protecting, saml_at
from tests.fakes.upstream import Upstream

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "observability.md").read_text("utf-8")
DASHBOARD = ROOT / "etc" / "grafana" / "passproxy.json"
RULES = ROOT / "etc" / "prometheus" / "passproxy.rules.yml"

#: What a metric is called in a query: also the parts of a histogram.
_METRIC = re.compile(r"\b(?:passproxy|process)_[a-z_]+\b")

#: An event: words with a dot between them.
_EVENT = re.compile(r"[a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*\Z")

#: Methods of loggers, the level of each, and where in the arguments the name of the event is.
_LOGGERS = {"debug": 0, "info": 0, "warning": 0, "error": 0, "failure": 0, "counted": 0, "event": 1, "log": 1}


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading of the document: the first cell without its quotes -> the other cells."""
    section = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            assert first.strip("`") not in found, f"{first} is there twice"
            found[first.strip("`")] = others
    assert found, heading
    return found


def events() -> Iterator[tuple[str, str]]:
    """Every event that the source can log, and its level ("" where it depends)."""
    for path in sorted((ROOT / "passproxy").rglob("*.py")):
        if "demo" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    yield from _logged(node)
    yield from ((name, level) for _, level, name in refusals.EVENTS)


def _logged(call: ast.Call) -> Iterator[tuple[str, str]]:
    method = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = 0 if _is_audit(call) else _LOGGERS.get(method)
    if place is None or len(call.args) <= place:
        return
    first = call.args[place]
    for name in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            event = name.value.partition(" ")[0]
            if _EVENT.match(event):
                yield event, _level(call, method)


def _is_audit(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "audit"


def _level(call: ast.Call, method: str) -> str:
    if _is_audit(call):
        return "info"
    if method in ("event", "log"):
        level = call.args[0]
        return str(level.value) if isinstance(level, ast.Constant) else ""
    return {"failure": "error", "counted": "warning"}.get(method, method)


EVENTS = sorted(set(events()))


async def exported(upstream: Upstream, tmp_path: Path, log: Any) -> list[Any]:
    async with demo_idp() as idp, protecting(upstream.url, tmp_path, **ADMIN, **saml_at(idp)):
        return list(text_string_to_metric_families(await Admin(log).text()))


def _full_name(family: Any) -> str:
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


async def test_the_document_has_every_metric_and_no_other(upstream, tmp_path, log):
    found = {_full_name(family): family for family in await exported(upstream, tmp_path, log)}
    told = rows("Metrics")
    assert sorted(told) == sorted(found)
    for name, (kind, labels, meaning) in told.items():
        assert kind == found[name].type, name
        given = {label for sample in found[name].samples for label in sample.labels} - {"le"}
        assert given <= set(re.findall(r"`([a-z]+)`", labels)), name
        assert meaning, name


async def test_the_document_has_the_labels_that_are_told_from_the_start(upstream, tmp_path, log):
    for family in await exported(upstream, tmp_path, log):
        labels = rows("Metrics")[_full_name(family)][1]
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in ("le", "version", "python") and not value.startswith("PP-"):
                    assert value in labels, (sample.name, value)


def test_the_document_has_every_event_and_no_other():
    assert sorted({*rows("Log"), *rows("Audit")}) == sorted({name for name, _ in EVENTS})


@pytest.mark.parametrize("event", EVENTS, ids=" ".join)
def test_an_event_has_its_level_its_fields_and_its_remedy(event):
    name, level = event
    if name.startswith("audit."):
        fields, meaning = rows("Audit")[name]
    else:
        levels, fields, meaning, _ = rows("Log")[name]
        assert level in levels.split(", ") or not level, name
    assert meaning
    assert fields


# --- etc/


def rules() -> list[dict[str, Any]]:
    data = yaml.safe_load(RULES.read_text("utf-8"))
    return [rule for group in data["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Every question that is asked of Prometheus, and who asks."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable["name"], variable.get("definition", "")


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Names as they are written in queries -> labels; those of the document, which the tests above hold to the truth."""
    found: dict[str, set[str]] = {}
    for name, (kind, labels, _) in rows("Metrics").items():
        given = set(re.findall(r"`([a-z]+)`", labels)) | {"instance", "job"}
        parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + part: given | ({"le"} if part == "_bucket" else set()) for part in parts}
    return found


@pytest.mark.parametrize(("who", "expression"), list(queries()), ids=[who for who, _ in queries()])
def test_what_is_asked_for_exists(who, expression, known):
    names = _METRIC.findall(expression)
    assert names or "up{" in expression or who == "datasource", expression
    assert set(names) <= known.keys()
    for name, selector in re.findall(r"\b((?:passproxy|process)_[a-z_]+)\{([^}]*)\}", expression):
        assert set(re.findall(r"([a-z]+)[=!]", selector)) <= known[name], expression
    grouped = {label for text in re.findall(r"\bby \(([^)]*)\)", expression) for label in text.split(", ")}
    assert grouped <= set().union(*(known[name] for name in names), {"instance", "job"})
    # Values of labels: an alternative that never comes would alert nobody.
    for label, values in re.findall(r'(result|reason|outcome|code|source|status)[!=]~?"([^"]*)"', expression):
        told = " ".join(cells[1] for cells in rows("Metrics").values() if f"`{label}`" in cells[1])
        assert all(re.search(rf"\b{value}\b", told) for value in values.split("|")), expression


def test_brackets_of_every_expression_are_balanced():
    for _, expression in queries():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression


def test_an_alert_says_what_happened_and_what_to_do():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert "$labels.instance" in rule["annotations"]["summary"]


@pytest.mark.parametrize(
    "metric",
    [
        "passproxy_idp_certificate_expires_timestamp_seconds",
        "passproxy_idp_description_age_seconds",
        "passproxy_idp_known",
        "passproxy_logins_total",
        "passproxy_upstream_errors_total",
        "passproxy_ready",
        "passproxy_log_lines_dropped_total",
    ],
)
def test_there_is_an_alert_for_what_somebody_must_know(metric):
    assert [rule for rule in rules() if metric in rule["expr"]]


def test_panels_do_not_overlap_and_have_a_title_and_a_meaning():
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["title"]
        assert panel["description"]
    assert len({panel["id"] for panel in panels}) == len(panels)
