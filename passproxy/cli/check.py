"""`passproxy check FILE`: every mistake at once, what the configuration means, and what to be wary of."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from passproxy.app.building import state_dir_of
from passproxy.app.startable import check
from passproxy.cli.dangers import Danger, dangers
from passproxy.cli.files import add_file, loaded_beside
from passproxy.cli.patterns import Opened, opened
from passproxy.cli.sizes import Sizes, advice, sizes
from passproxy.core.cookies import cookie_names
from passproxy.core.errors import ConfigError
from passproxy.core.formats import duration_text
from passproxy.core.routing import PREFIX
from passproxy.core.settings import AccessSettings, Settings
from passproxy.core.urls import Origin

#: Of a terminal that nobody made wider.
_COLUMNS = 100

#: Other spellings that are shown of one pattern; `--format json` has all.
_SHOWN_SPELLINGS = 4


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="check a configuration",
        description="Check a configuration without starting or changing anything. Exits with 78 and lists every "
        "mistake where `serve` would not start; otherwise says what the configuration means, what is public without a "
        "login, how large cookies and headers may become, and what is dangerous.",
        epilog="example: passproxy check /etc/passproxy/grafana.yaml",
    )
    add_file(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class Report:
    """All that is to be said about a configuration that can be served."""

    meaning: list[tuple[str, str]]
    is_open: bool
    public: list[Opened]
    sizes: Sizes
    dangers: list[Danger]


def run(arguments: argparse.Namespace) -> int:
    try:
        settings = loaded_beside(arguments.file)
        check(settings)
    except ConfigError as error:
        if arguments.format == "json":
            _print_json({"valid": False, "problems": list(error.problems)})
        raise
    report = Report(
        _meaning(settings),
        settings.access.default == "allow",
        opened(settings),
        sizes(settings, cookie_names(settings.session.cookie_name, Origin.of(settings.domain, settings.origin))),
        dangers(settings, arguments.file),
    )
    if arguments.format == "json":
        _print_json({"valid": True, "problems": [], **asdict(report), "meaning": dict(report.meaning)})
        return 0
    sys.stdout.write("\n".join(_lines(report)) + "\n")
    sys.stdout.flush()
    sys.stderr.write("\n" if report.dangers else "")
    for danger in report.dangers:
        sys.stderr.write(_wrapped(f"{'DANGER' if danger.is_grave else 'warning'}: ", f"{danger.key}: ", danger.text))
    return 0


def _print_json(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _meaning(settings: Settings) -> list[tuple[str, str]]:
    origin = Origin.of(settings.domain, settings.origin)
    names = cookie_names(settings.session.cookie_name, origin)
    provider = "SAML 2.0" if settings.saml else "OpenID Connect"
    callback = origin.url(PREFIX + ("saml/acs" if settings.saml else "oidc/callback"))
    rows = [
        ("origin", str(origin)),
        ("listens on", settings.listen),
        ("application", settings.upstream.url),
        ("identity provider", f"{provider}, {_provider_source(settings)}"),
        ("register there", callback),
        ("session", f"cookie {names.session}, for {duration_text(settings.session.lifetime)} at most"),
        ("metrics", settings.admin.listen or "off (admin.listen)"),
        ("state", str(state_dir_of(settings))),
        ("headers", _headers(settings)),
    ]
    if settings.access.default != "authenticate" or settings.access.rules:
        rows.append(("access", _access(settings.access)))
    if settings.forward_auth is not None:
        peers = ", ".join((*settings.trusted_proxies, *(["who may write to it"] if _is_socket(settings) else [])))
        rows.append(("may ask", f"{settings.forward_auth.web_server}, from {peers}"))
    if settings.bearer.issuers:
        rows.append(("bearer tokens", "; ".join(f"{each.name} of {each.issuer}" for each in settings.bearer.issuers)))
    if settings.saml:
        rows.insert(5, ("entity id", settings.saml.entity_id or origin.url(PREFIX + "saml/metadata")))
    return rows


def _is_socket(settings: Settings) -> bool:
    return settings.listen.startswith("unix:")


def _headers(settings: Settings) -> str:
    further = ", ".join(settings.headers.set)
    credentials = "; Basic credentials" if settings.upstream.basic_auth else ""
    return f"profile {settings.headers.profile}{' and ' if further else ''}{further}{credentials}"


def _access(access: AccessSettings) -> str:
    count = len(access.rules)
    reporting = sum(rule.report_only for rule in access.rules)
    rules = f"{count} rule{'s' if count != 1 else ''}" + (f", {reporting} of them only reporting" if reporting else "")
    return f"{rules}; otherwise {access.default}"


def _provider_source(settings: Settings) -> str:
    if settings.saml:
        return str(settings.saml.metadata_url or settings.saml.metadata_file)
    return settings.oidc.issuer if settings.oidc else ""


def _lines(report: Report) -> list[str]:
    return [
        "The configuration is valid.",
        "",
        *(f"  {label:18} {text}" for label, text in report.meaning),
        "",
        *(["Public without a login: all that no rule protects."] if report.is_open else []),
        *(_public_lines(report.public) if report.public or not report.is_open else []),
        "",
        "At worst",
        "",
        f"  {'cookies':18} {report.sizes.cookie_line:,} bytes in one line; of these {report.sizes.session:,} for the session",
        f"  {'identity headers':18} {report.sizes.identity:,} bytes toward the application",
        "",
        *(f"  {line}" for said in advice(report.sizes) for line in textwrap.wrap(said, _COLUMNS - 2)),
    ]


def _public_lines(public: list[Opened]) -> list[str]:
    if not public:
        return ["Public without a login: nothing."]
    wide = max(len(entry.path) for entry in public)
    methods = max(len(_methods(entry)) for entry in public)
    lines = [f"Public without a login ({public[0].tried} other spellings of each were tried)", ""]
    for entry in public:
        start = f"  {entry.path:{wide}}  {_methods(entry):{methods}}  "
        lines.append(start + entry.meaning)
        below = [f"! {doubt}" for doubt in entry.doubts]
        if entry.also:
            shown = ", ".join(path for _, path in entry.also[:_SHOWN_SPELLINGS])
            more = len(entry.also) - _SHOWN_SPELLINGS
            below.append(f"fits as well: {shown}{f' and {more} more' if more > 0 else ''}")
        room = max(_COLUMNS - len(start), 40)
        lines += [
            " " * len(start) + line for text in below for line in textwrap.wrap(text, room, subsequent_indent="  ")
        ]
    return lines


def _methods(entry: Opened) -> str:
    return " ".join(entry.methods) or "any method"


def _wrapped(level: str, key: str, text: str) -> str:
    return textwrap.fill(level + (text if text.startswith(key.rstrip(": ")) else key + text), _COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) + "\n"  # fmt: skip
