"""`passproxy policy`: the verdict of the server, with its rule and its reason, and tables for CI."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
import yaml

from passproxy.cli import main
from passproxy.cli.policy_expectations import FILE_LIMIT_BYTES
from passproxy.cli.policy_trial import Asker, Trial
from tests.core.policy_cases import BASIS, Case, cases, configurations, settings_of


@pytest.fixture
def example(tmp_path: Path) -> str:
    file = tmp_path / "app.yaml"
    file.write_text(json.dumps({**BASIS, **configurations()["example"]}))
    return str(file)


def written(tmp_path: Path, expectations: object) -> str:
    file = tmp_path / "expectations.yaml"
    file.write_text(expectations if isinstance(expectations, str) else yaml.safe_dump(expectations))
    return str(file)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_command_says_what_the_server_decides(case: Case) -> None:
    user = "somebody" if case.is_signed_in else None
    asker = Asker(user, case.groups, (), case.attributes, case.peer)
    tried = Trial(settings_of(case.configuration)).of(asker, case.method, case.target)
    assert tried.verdict == case.verdict
    assert case.rule in (tried.rule, tried.code)
    if tried.readings:
        order = ("allow", "login", "deny")
        strictest = max((read.verdict for read in tried.readings), key=order.index)
        assert order.index(tried.verdict) >= order.index(strictest)


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["GET", "/api/health"], 0, ["allow\n", "rule        health\n", "who         nobody\n"]),
        (["GET", "/admin"], 1, ["login\n", "rule        admin\n"]),
        (["--user", "alice", "--group", "ops", "GET", "/admin"], 0, ["allow\n", "who         alice (ops)\n"]),
        (["GET", "/admin", "--group", "staff"], 1, ["deny\n", "in none of the groups ops, platform-eng", "viewer"]),
        (["--role", "administrator", "--from", "10.0.0.1", "GET", "/reports"], 0, ["allow\n", "from 10.0.0.1"]),
        (["--role", "administrator", "--from", "::1", "GET", "/reports"], 1, ["outside 10.0.0.0/8"]),
        (["--role", "administrator", "GET", "/reports"], 1, ["deny\n", "outside 10.0.0.0/8"]),
        (["--attribute", "email=a@b", "GET", "/x"], 0, ["somebody (email=a@b)"]),
        (["GET", "/.passproxy/login"], 0, ["a page of PassProxy itself"]),
        (["TRACE", "/"], 1, ["deny\n", "PP-REQUEST-METHOD"]),
        (["GET", "x"], 1, ["deny\n", "PP-REQUEST"]),
        (["GET", "/ü"], 1, ["deny\n", "PP-REQUEST"]),
        (["POST", "/x"], 1, ["login\n", "rule        access.default\n"]),
    ],
)
def test_a_request_is_tried(
    example: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, shown: list[str]
) -> None:
    assert main(["policy", example, *arguments]) == code
    out = capsys.readouterr().out
    assert all(text in out for text in shown), out
    assert "s3cret" not in out


def test_somebody_who_fits_no_session_is_told_so(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    groups = [f"--group={secrets.token_hex(40)}" for _ in range(400)]
    assert main(["policy", example, *groups, "GET", "/"]) == 1
    assert "PP-IDENTITY-SIZE" in capsys.readouterr().out


def test_all_readings_are_shown_of_a_path_that_has_several(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", example, "--group", "staff", "GET", "/x/..%2fadmin"]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["deny"]
    assert ["/x/..%2fadmin", "allow", "access.default"] in lines
    assert ["/x/../admin", "allow", "access.default"] in lines
    assert ["/admin", "deny", "admin"] in lines


def test_the_answer_may_be_json(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", example, "--format", "json", "--group", "staff", "GET", "/ADMIN"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "verdict": "deny",
        "rule": "admin",
        "why": "in none of the groups ops, platform-eng",
        "code": "PP-ACCESS-RULE",
        "roles": ["viewer"],
        "readings": [
            {"path": "/ADMIN", "verdict": "allow", "rule": "access.default"},
            {"path": "/admin", "verdict": "deny", "rule": "admin"},
        ],
        "report": None,
    }


def test_a_rule_that_only_reports_is_told_beside_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(json.dumps({**BASIS, **configurations()["reporting"]}))
    assert main(["policy", str(file), "--user", "x", "GET", "/old"]) == 0
    assert "closed would deny: action deny" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["GET"],
        ["GET", "/x", "/y"],
        ["--from", "ten", "GET", "/"],
        ["--attribute", "mail=x", "GET", "/"],
        ["--attribute", "email", "GET", "/"],
        ["--role", "boss", "GET", "/"],
    ],
)
def test_wrong_usage_is_told_apart(example: str, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["policy", example, *arguments])
    assert caught.value.code == 2


def test_expectations_that_hold_pass(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expectations = [
        {"request": "GET /api/health", "expect": "allow", "rule": "health"},
        {"request": "GET /admin?x=1", "expect": "login"},
        {"request": "GET /admin", "user": "alice", "groups": ["ops"], "expect": "allow"},
        {"request": "GET /x/..%2fadmin", "user": "bob", "expect": "deny", "rule": "admin"},
        {"request": "GET /reports", "roles": ["administrator"], "from": "10.0.0.1", "expect": "allow"},
        {"request": "GET /", "attributes": {"email": "a@b"}, "expect": "allow"},
    ]
    assert main(["policy", example, "--test", written(tmp_path, expectations)]) == 0
    assert capsys.readouterr().out == "6 of 6 expectations hold\n"


def test_expectations_that_fail_are_printed(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(
        tmp_path,
        [
            {"request": "GET /admin", "groups": ["staff"], "expect": "allow", "rule": "admin"},
            {"request": "GET /", "expect": "login"},
            {"request": "GET /", "expect": "login", "rule": "admin"},
        ],
    )
    assert main(["policy", example, "--test", file]) == 1
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first == (
        f"{file}: 1. GET /admin of somebody (staff): expected allow by admin, "
        "got deny by admin (in none of the groups ops, platform-eng)"
    )
    assert "3. GET / of nobody: expected login by admin, got login by access.default" in second
    assert summary == "1 of 3 expectations hold"
    assert main(["policy", example, "--test", file, "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["expectations"], [each["number"] for each in told["failed"]]) == (3, [1, 3])


@pytest.mark.parametrize(
    ("expectations", "problem"),
    [
        ("{", "is not YAML"),
        ([], "has no expectations"),
        ({"request": "GET /"}, "must be a list of expectations"),
        ("#" * (FILE_LIMIT_BYTES + 1), "must be a list of expectations"),
        ([{"request": "GET /", "expect": "allow"}, {"request": "GET /"}], "2. expect: Field required"),
        ([{"request": "/", "expect": "allow"}], "1. request: expected a method and a target"),
        ([{"request": "GET /", "expect": "yes"}], "1. expect: "),
        ([{"request": "GET /", "expect": "allow", "group": "x"}], "1. group: "),
        ([{"request": "GET /", "expect": "allow", "from": "ten"}], "1. from: expected an IPv4 or IPv6 address"),
        ([{"request": "GET /", "expect": "allow", "roles": ["boss"]}], "1. roles: boss is not in access.roles"),
    ],
)
def test_a_file_that_is_no_table_is_a_configuration_error(
    example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], expectations: object, problem: str
) -> None:
    assert main(["policy", example, "--test", written(tmp_path, expectations)]) == 78
    assert problem in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_configuration_error(example: str, tmp_path: Path) -> None:
    assert main(["policy", example, "--test", str(tmp_path / "nothing.yaml")]) == 78
    assert main(["policy", str(tmp_path / "nothing.yaml"), "GET", "/"]) == 78
