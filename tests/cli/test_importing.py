"""`passproxy import`, as an administrator runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from passproxy.cli import main

CFG = """\
provider = "oidc"
oidc_issuer_url = "https://sso.example.com"
client_id = "wiki"
client_secret = "correct-horse"
redirect_url = "https://wiki.example.com/oauth2/callback"
upstreams = ["http://127.0.0.1:3000"]
email_domains = ["*"]
trusted_ips = ["10.0.0.0/8"]
"""


@pytest.fixture
def cfg(tmp_path: Path) -> str:
    file = tmp_path / "oauth2-proxy.cfg"
    file.write_text(CFG)
    return str(file)


def test_the_configuration_goes_to_one_place_and_the_report_to_the_other(
    cfg: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "oauth2-proxy", cfg]) == 0
    shown = capsys.readouterr()
    assert "domain: wiki.example.com" in shown.out
    assert "Has no equal:" in shown.err
    assert "trusted_ips" in shown.err
    assert "/etc/passproxy/wiki.client_secret" in shown.err
    assert "correct-horse" not in shown.out + shown.err


def test_with_its_secrets_written_check_accepts_it(
    cfg: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "oauth2-proxy", cfg, "--write-secrets", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert f"Written: {tmp_path}/wiki.client_secret" in shown.err
    assert "correct-horse" not in shown.out + shown.err
    (tmp_path / "wiki.yaml").write_text(shown.out)
    assert main(["check", str(tmp_path / "wiki.yaml")]) == 0
    assert "https://wiki.example.com/.passproxy/oidc/callback" in capsys.readouterr().out


def test_secrets_are_never_written_over(cfg: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wiki.client_secret").write_text("of somebody else")
    assert main(["import", "oauth2-proxy", cfg, "--write-secrets", str(tmp_path)]) == 78
    assert "File exists" in capsys.readouterr().err
    assert (tmp_path / "wiki.client_secret").read_text() == "of somebody else"


def test_the_report_says_what_check_would_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("domain: 'no name'\nproxy: {targetURL: 'http://127.0.0.1:3000'}\n")
    assert main(["import", "passbeyond", str(tmp_path / "x.yaml")]) == 0
    assert "To be mended before it can be served: domain: expected a host name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read: No such file"), (b"\xff\xfe", "is not UTF-8 text"), (b"- a", "neither a .cfg file")],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, problem: str
) -> None:
    file = tmp_path / "x.cfg"
    if content is not None:
        file.write_bytes(content)
    assert main(["import", "oauth2-proxy", str(file)]) == 78
    assert problem in capsys.readouterr().err


ROOT = Path(__file__).resolve().parents[2]


def test_every_option_that_the_guide_names_is_translated() -> None:
    """And nothing else: both of its tables are compared with what the importers look for."""
    guide = (ROOT / "docs" / "migrating.md").read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "passproxy/cli/importers").glob("*.py"))
    named = [
        name for left in re.findall(r"^\| (`.+?) \|", guide, re.MULTILINE) for name in re.findall(r"`([\w.]+)`", left)
    ]
    assert len(named) > 20
    assert [name for name in named if f'"{name}"' not in sources] == []


def test_another_product_is_wrong_usage(cfg: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["import", "nginx", cfg])
    assert end.value.code == 2
    assert "oauth2-proxy" in capsys.readouterr().err
