"""`passproxy policy FILE ... METHOD TARGET`: who may do what, and why; and a table of expectations for CI."""

from __future__ import annotations

import argparse
import ipaddress
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from passproxy.cli.files import loaded
from passproxy.cli.policy_expectations import expectations_from
from passproxy.cli.policy_trial import Asker, Trial, Tried
from passproxy.core.settings import AttributeName

_EPILOG = """\
example: passproxy policy /etc/passproxy/app.yaml GET /health
  passproxy policy /etc/passproxy/app.yaml --user alice --group ops --from 10.0.0.1 GET /admin/users
  passproxy policy /etc/passproxy/app.yaml --test expectations.yaml

exit codes: 0 allowed, or all expectations hold; 1 not; 2 wrong usage; 78 mistakes in a file
"""


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "policy",
        help="try out access rules",
        description="Say what would become of a request: allow, login or deny, by which rule and why. Nothing is sent anywhere.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the domain's YAML file")
    method = parser.add_argument("method", metavar="METHOD", help="the request's method, such as GET")
    target = parser.add_argument("target", metavar="TARGET", help="its path, with a query if you like, as it is sent")
    parser.add_argument("--user", help="somebody is signed in, under this name; without it and the next three, nobody")
    parser.add_argument("--group", action="append", default=[], help="a group, as the configuration calls it")
    parser.add_argument("--role", action="append", default=[], help="a role beside those that the groups have")
    parser.add_argument("--attribute", action="append", default=[], type=_attribute, metavar="NAME=VALUE")
    parser.add_argument("--from", dest="address", type=_address, metavar="ADDRESS", help="of the client")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--test",
        metavar="EXPECTATIONS",
        action=_Test,
        replaces=(method, target),
        help="a YAML file of requests and verdicts, instead of METHOD and TARGET",
    )
    parser.set_defaults(run=run, fail=parser.error)


def run(arguments: argparse.Namespace) -> int:
    trial = Trial(loaded(arguments.file))
    if arguments.test is not None:
        return _tested(trial, arguments.test, as_json=arguments.format == "json")
    unknown = set(arguments.role) - trial.roles
    if unknown:
        arguments.fail(f"not a role in access.roles: {', '.join(sorted(unknown))}")
    asker = _asker(arguments)
    tried = trial.of(asker, arguments.method, arguments.target)
    sys.stdout.write(_as_json(tried) if arguments.format == "json" else _as_text(tried, asker))
    return 0 if tried.verdict == "allow" else 1


class _Test(argparse.Action):
    """An option in whose presence arguments are not required."""

    def __init__(self, *, replaces: Sequence[argparse.Action], **more: Any) -> None:
        super().__init__(**more)
        self._replaces = replaces

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        for action in self._replaces:
            action.required = False


def _attribute(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or name not in get_args(AttributeName):
        raise argparse.ArgumentTypeError(f"NAME=VALUE, with a name of {', '.join(get_args(AttributeName))}")
    return name, value


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError("an IPv4 or IPv6 address") from None


def _asker(arguments: argparse.Namespace) -> Asker:
    groups, roles, attributes = tuple(arguments.group), tuple(arguments.role), dict(arguments.attribute)
    is_somebody = arguments.user or groups or roles or attributes
    user = arguments.user or attributes.get("user") or ("somebody" if is_somebody else None)
    return Asker(user, groups, roles, attributes, arguments.address or "")


def _as_json(tried: Tried) -> str:
    value = asdict(tried) | {"report": tried.report and tried.report._asdict()}
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _as_text(tried: Tried, asker: Asker) -> str:
    rows = [("rule", tried.rule), ("why", tried.why), ("code", tried.code), ("who", str(asker))]
    if tried.roles:
        rows.append(("roles", ", ".join(tried.roles)))
    if tried.report:
        rows.append(("report only", f"{tried.report.rule} would {tried.report.verdict}: {tried.report.detail}"))
    lines = [tried.verdict, *(f"  {name:12}{value}" for name, value in rows if value)]
    if tried.readings:
        lines += ["", "  This path can be read in several ways; the strictest verdict holds:"]
        width = max(len(read.path) for read in tried.readings)
        lines += [f"  {read.path:{width}}  {read.verdict:5}  {read.rule}" for read in tried.readings]
    return "".join(f"{line}\n" for line in lines)


def _tested(trial: Trial, file: str, *, as_json: bool) -> int:
    expectations = expectations_from(file, trial.roles)
    failed = []
    for number, expected in enumerate(expectations, 1):
        tried = trial.of(expected.asker, expected.method, expected.target)
        if tried.verdict != expected.expect or (expected.rule or tried.rule) != tried.rule:
            wanted = expected.expect + (f" by {expected.rule}" if expected.rule else "")
            got = f"{tried.verdict} by {tried.rule or tried.code} ({tried.why})"
            failed.append({"number": number, "request": expected.request, "expected": wanted, "got": got})
            if not as_json:
                who = expected.asker
                sys.stdout.write(f"{file}: {number}. {expected.request} of {who}: expected {wanted}, got {got}\n")
    if as_json:
        sys.stdout.write(json.dumps({"expectations": len(expectations), "failed": failed}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{len(expectations) - len(failed)} of {len(expectations)} expectations hold\n")
    return 1 if failed else 0
