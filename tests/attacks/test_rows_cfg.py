"""
Rows CFG of the catalogue as an administrator meets them: surprises of YAML, variables, first starts, dumps, and a check
that says what a start would do. What single values accept is in test_configuration.py.
"""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import passproxy
from passproxy.cli import main
from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.settings import Settings
from passproxy.core.tokens import keys_from
from tests.fakes.commands import WAIT_SECONDS, free_port, running, wait_for

SECRET = "correct-horse-battery-staple"
OIDC = f"oidc:\n  issuer: http://127.0.0.1:9\n  client_id: app\n  client_secret: {SECRET}\n"
GOOD = f"domain: app.example.com\nupstream:\n  url: http://127.0.0.1:9\n{OIDC}"


def load(text: str | None, environment: dict[str, str] | None = None, files: dict[str, str] | None = None) -> Settings:
    return settings_from(text, "app.yaml", environment or {}, (files or {}).__getitem__)


def refusal(text: str | None, environment: dict[str, str] | None = None, files: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        load(text, environment, files)
    return "\n".join(refused.value.problems)


# --- CFG-03: surprises of YAML


@pytest.mark.parametrize(
    "written",
    [
        "no",
        "on",
        "yes",
        "y",
        "0644",
        "0o17",
        "0x10",
        "1e3",
        "1_000",
        "12:30:45",
        "2026-03-01",
        ".inf",
        "1.0",
        "=",
        "<<",
    ],
)
def test_cfg_03_a_text_stays_the_text_that_was_written(written: str):
    settings = load(GOOD.replace("client_id: app", f"client_id: {written}"))
    assert settings.oidc is not None
    assert settings.oidc.client_id == written


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(GOOD + "session: {lifetime: 12:30:45}\n", "session.lifetime: expected a duration", id="a sexagesimal"),
        pytest.param(GOOD + "session: {lifetime: 0x10}\n", "session.lifetime: expected a duration", id="a hexadecimal"),
        pytest.param(GOOD + "domain: b.example.com\n", "given twice", id="a key twice"),
        pytest.param(GOOD + "session: {lifetime: 1h, lifetime: 7d}\n", "given twice", id="a key twice in a flow"),
        pytest.param(GOOD + "<<: {listen: 0.0.0.0:1}\n", "keys must be plain names", id="a merge key"),
        pytest.param("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "anchors, aliases and tags", id="a bomb of aliases"),
        pytest.param("[" * 5000, "nested more than", id="a deep nest"),
        pytest.param(GOOD + "support: {footer: ~}\n", "support.footer: must be a valid string", id="nothing for a text"),
        pytest.param(GOOD.replace("app.example.com", '"app\\0.example.com"'), "domain: expected a host name", id="a zero byte in a name"),
        pytest.param(GOOD + 'state_dir: "/var/\\0/x"\n', "state_dir: must not contain a null", id="a zero byte in a path"),
    ],
)  # fmt: skip
def test_cfg_03_what_could_be_read_in_two_ways_is_refused(text: str, problem: str):
    assert problem in refusal(text)


def test_cfg_03_marks_of_other_editors_change_nothing():
    assert load("\ufeff" + GOOD.replace("\n", "\r\n")) == load(GOOD)


@pytest.mark.parametrize("content", [b"domain: \xe4.example.com\n", "domain: a\n".encode("utf-16"), b"\x00\x01"])
def test_cfg_03_what_is_not_utf_8_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes):
    (tmp_path / "app.yaml").write_bytes(content)
    assert main(["check", str(tmp_path / "app.yaml")]) == 78
    assert "app.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['access: {require_any_group: [""]}\n', "access: {require_any_group: ~}\n", "access: {require_any_group: [~]}\n", 'access: {require_any_group: ""}\n'])  # fmt: skip
def test_cfg_05_no_group_is_no_list_of_groups(text: str):
    assert "access.require_any_group" in refusal(GOOD + text)


# --- CFG-06: variables beside the file


def test_cfg_06_a_variable_beats_the_file_and_an_empty_one_is_not_an_absent_one():
    assert load(GOOD, {"PASSPROXY_LISTEN": "127.0.0.1:1"}).listen == "127.0.0.1:1"
    assert load(GOOD, {}).listen == "127.0.0.1:8123"
    assert "PASSPROXY_LISTEN: listen: expected address:port" in refusal(GOOD, {"PASSPROXY_LISTEN": ""})
    assert "PASSPROXY_OIDC_CLIENT_SECRET: " in refusal(GOOD, {"PASSPROXY_OIDC_CLIENT_SECRET": ""})


@pytest.mark.parametrize(
    "name", ["PASSPROXY_LISTENS", "PASSPROXY_UPSTREAM_URL_FILE", "PASSPROXY_", "PASSPROXY_oidc_issuer"]
)
def test_cfg_06_an_unknown_variable_is_refused(name: str):
    assert f"{name}: unknown variable" in refusal(GOOD, {name: "x"})


@pytest.mark.parametrize(
    ("content", "secret"), [("s\n", "s"), ("s\r\n", "s"), ("s", "s"), ("s\n\n", "s\n"), (" s \n", " s ")]
)
def test_cfg_06_one_line_end_of_a_secret_is_dropped_and_nothing_else(content: str, secret: str):
    text = GOOD.replace(f"client_secret: {SECRET}", "client_secret_file: /s")
    for settings in (
        load(text, {}, {"/s": content}),
        load(GOOD.replace(f"  client_secret: {SECRET}\n", ""), {"PASSPROXY_OIDC_CLIENT_SECRET": content}),
    ):
        assert settings.oidc is not None
        assert settings.oidc.client_secret is not None
        assert settings.oidc.client_secret.get_secret_value() == secret


def test_cfg_06_a_secret_and_its_file_contradict_each_other():
    assert "given together" in refusal(GOOD, {"PASSPROXY_OIDC_CLIENT_SECRET_FILE": "/s"}, {"/s": "x"})


# --- CFG-08 and CFG-09: the first start


def serving(folder: Path, port: int, more: str = "") -> str:
    file = folder / f"{port}.yaml"
    file.write_text(
        f"domain: 127.0.0.1\norigin: http://127.0.0.1:8123\nlisten: 127.0.0.1:{port}\nstate_dir: {folder}/state\n"
        f"upstream: {{url: 'http://127.0.0.1:9'}}\n{OIDC}{more}"
    )
    file.chmod(0o600)
    return str(file)


def test_cfg_08_two_first_starts_at_once_have_one_key(tmp_path: Path):
    ports = [free_port(), free_port()]
    with (
        running("serve", serving(tmp_path, ports[0]), cwd=tmp_path) as one,
        running("serve", serving(tmp_path, ports[1]), cwd=tmp_path) as other,
    ):
        for port in ports:
            wait_for(port)
        assert len(keys_from((tmp_path / "state" / "keys.json").read_text())) == 1
        assert [file.name for file in (tmp_path / "state").iterdir() if "keys" in file.name] == ["keys.json"]
        assert one.poll() is other.poll() is None


def test_cfg_09_no_key_comes_with_the_package_and_none_is_made_by_a_check(tmp_path: Path):
    package = Path(passproxy.__file__).parent
    names = [path.name for path in package.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pem", ".key", ".crt")) or name == "keys.json"]
    assert main(["check", serving(tmp_path, 1)]) == 0
    assert not (tmp_path / "state").exists()


# --- CFG-10: what is dangerous is loud

DANGEROUS = "log: {level: debug}\ntrusted_proxies: [0.0.0.0/0]\n"


def test_cfg_10_dangerous_switches_are_loud_at_each_start_and_in_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    port = free_port()
    file = serving(tmp_path, port, DANGEROUS)
    content = Path(file).read_text().replace("'http://127.0.0.1:9'}", "'https://127.0.0.1:9', verify_tls: false}")
    Path(file).write_text(content.replace("client_id: app\n", "client_id: app\n  allow_unverified_email: true\n"))
    keys = {"upstream.verify_tls", "oidc.allow_unverified_email", "log.level", "trusted_proxies", "origin"}
    for _ in range(2):
        with running("serve", file, cwd=tmp_path) as process:
            wait_for(port)
            process.terminate()
            _, written = process.communicate(timeout=WAIT_SECONDS)
        loud = [line for line in written.splitlines() if " config.danger " in line and " warning " in line]
        assert {line.partition("key=")[2].partition(" ")[0] for line in loud} == keys
    assert main(["check", file]) == 0
    said = capsys.readouterr().err
    assert said.count("DANGER: ") == len(keys)


# --- CFG-11: nothing shows a secret


@pytest.mark.parametrize("arguments", [["check"], ["check", "--format", "json"]])
@pytest.mark.parametrize("more", ["", "nonsense: 1\n", "oidc: {}\n", "x: [\n", 'session: {lifetime: "x"}\n'])
def test_cfg_11_no_command_prints_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], more: str
):
    (tmp_path / "app.yaml").write_text(GOOD + more)
    main([*arguments, str(tmp_path / "app.yaml")])
    shown = capsys.readouterr()
    assert "app" in shown.out + shown.err
    assert SECRET not in shown.out + shown.err


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("client_secret:", "client_secrets:"),
        GOOD.replace(f"client_secret: {SECRET}", f"client_secret: [{SECRET}]"),
        GOOD.replace("http://127.0.0.1:9\n", f"http://user:{SECRET}@127.0.0.1:9\n"),
        GOOD.replace("issuer: http://127.0.0.1:9", f"issuer: https://{SECRET}@x/"),
        GOOD.replace("app.example.com", SECRET + ".."),
        f"{GOOD}session: {{lifetime: {SECRET}}}\n",
        f"{GOOD}log: {{level: {SECRET}}}\n",
        f"{GOOD}session: {{cookie_name: '{SECRET} '}}\n",
        f'{GOOD}support: {{footer: "{SECRET}}}\n',
        f"{GOOD}x: *{SECRET}\n",
    ],
)
def test_cfg_11_no_error_quotes_a_value(text: str):
    assert SECRET not in refusal(text)


def test_cfg_11_no_representation_of_the_settings_shows_a_secret():
    settings = load(GOOD)
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


# --- CFG-12: a check says what a start would do

#: Each is broken in its own way: in the file, in what the file names, or on this machine.
BROKEN = {
    "CFG-01 an unknown key": GOOD + "passthroughPath: [/x]\n",
    "CFG-01 an empty file": "",
    "CFG-01 no domain": GOOD.replace("domain: app.example.com\n", ""),
    "CFG-01 two documents": GOOD + "---\n" + GOOD,
    "CFG-01 a tab": GOOD + "\tlisten: x\n",
    "CFG-02 a tag": GOOD + 'support: !!python/object/apply:os.system ["true"]\n',
    "CFG-03 a key twice": GOOD + "domain: b.example.com\n",
    "CFG-03 a zero byte": GOOD + 'state_dir: "/var/\\0/x"\n',
    "CFG-04 no lifetime": GOOD + "session: {lifetime: 0s}\n",
    "CFG-05 a group that is none": GOOD + 'access: {require_any_group: [""]}\n',
    "CFG-06 a secret that is not there": GOOD.replace(f"client_secret: {SECRET}", "client_secret_file: /nowhere/x"),
    "CFG-08 keys that are not there": GOOD + "session: {keys_file: /nowhere/keys.json}\n",
    "CFG-08 keys that are none": GOOD + "session: {keys_file: FOLDER/file}\n",
    "CFG-09 a state that cannot be made": GOOD + "state_dir: FOLDER/file/state\n",
    "CFG-09 a state that is a file": GOOD + "state_dir: FOLDER/file\n",
    "CFG-09 a state whose name is too long": GOOD + f"state_dir: FOLDER/{'x' * 300}\n",
    "CFG-10 an authority that is none": GOOD.replace("http://127.0.0.1:9\noidc", "https://a\n  ca_file: FOLDER/file\noidc"),
    "CFG-12 a list that cannot be written": GOOD + "revocation: {store: 'file:/nowhere/list'}\n",
    "CFG-12 a client key that is none": GOOD.replace(f"client_secret: {SECRET}", "private_key_file: FOLDER/file"),
    "CFG-12 a SAML key that is none": GOOD.replace(
        OIDC, "saml: {metadata_file: /x, key_file: FOLDER/file, certificate_file: FOLDER/file}\n"
    ),
    "CFG-12 a signer that is none": GOOD.replace(
        OIDC, "saml: {metadata_file: /x, single_logout: false, metadata_certificate_file: FOLDER/file}\n"
    ),
    "CFG-13 our own pages": GOOD + "passthrough: {paths: [/.passproxy/**]}\n",
    "CFG-14 a bare port": GOOD + 'listen: ":8123"\n',
    "CFG-15 a domain that is a path": GOOD.replace("app.example.com", "../../x"),
}  # fmt: skip


@pytest.fixture
def _process_as_it_was() -> Iterator[None]:
    """What `serve` asks the system for, where it runs in a process that goes on. That it dumps no core may stay."""
    limits, hangup = resource.getrlimit(resource.RLIMIT_NOFILE), signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, hangup)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("_process_as_it_was")
@pytest.mark.parametrize("name", BROKEN)
def test_cfg_12_a_check_refuses_what_a_start_refuses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The command itself, without the second that a process of its own takes: cli/test_serve.py has that."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    text = BROKEN[name].replace("FOLDER", str(tmp_path))
    if "state_dir" not in text and text.startswith("domain"):
        text += f"state_dir: {tmp_path}/state\n"
    (tmp_path / "app.yaml").write_text(text)
    started, said_at_start = main(["serve", str(tmp_path / "app.yaml")]), capfd.readouterr().err
    checked, said = main(["check", str(tmp_path / "app.yaml")]), capfd.readouterr().err
    assert (checked, started) == (78, 78), (said, said_at_start)
    assert "Traceback" not in said + said_at_start
    # The log has a writer of its own, whose line may come later.
    problems = [next(line for line in text.splitlines() if " config." not in line) for text in (said, said_at_start)]
    assert problems[0].split(": ")[0] == problems[1].split(": ")[0]


@pytest.mark.parametrize(
    "more", ["", DANGEROUS, "revocation: {store: 'file:FOLDER/ended'}\n", "passthrough: {paths: [/**/*.css]}\n"]
)
def test_cfg_12_and_accepts_what_a_start_accepts(tmp_path: Path, more: str):
    port = free_port()
    file = serving(tmp_path, port, more.replace("FOLDER", str(tmp_path)))
    assert main(["check", file]) == 0
    with running("serve", file, cwd=tmp_path):
        wait_for(port)
        assert main(["check", file]) == 0


def test_cfg_12_a_program_can_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "app.yaml").write_text(GOOD + "nonsense: 1\n")
    assert main(["check", "--format", "json", str(tmp_path / "app.yaml")]) == 78
    report = json.loads(capsys.readouterr().out)
    assert report == {"valid": False, "problems": [f"{tmp_path}/app.yaml:8: nonsense: unknown key"]}


def test_cfg_14_every_interface_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "app.yaml").write_text(GOOD + f"listen: 0.0.0.0:8123\nstate_dir: {tmp_path}\n")
    assert main(["check", str(tmp_path / "app.yaml")]) == 0
    assert "DANGER: listen is open to every network" in capsys.readouterr().err


def test_cfg_04_the_longest_lifetime_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "app.yaml").write_text(GOOD + f"session: {{lifetime: 31d}}\nstate_dir: {tmp_path}\n")
    assert main(["check", str(tmp_path / "app.yaml")]) == 0
    assert "session.lifetime is above 24h" in capsys.readouterr().err
