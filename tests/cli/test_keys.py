"""`passproxy keys`: a rotation logs nobody out, gives no key away and loses none."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import jwt
import pytest

from passproxy.cli import keys, main
from passproxy.core.tokens import keys_from, keys_text, new_key
from passproxy.keyfile import replace, rotate
from tests.core.given import KEY, OLD_KEY
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, demo_idp, eventually, get, oidc_at, protecting
from tests.fakes.raw import Raw

LIFETIME = 86400


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "app.yaml"
    found.write_text(
        "domain: app.example.com\nupstream: {url: 'http://127.0.0.1:3000'}\n"
        "oidc: {issuer: 'https://sso.example.com', client_id: app}\n"
        f"session: {{keys_file: '{tmp_path}/keys.json'}}\n"
    )
    return found


def written(folder: Path, *ages: float) -> Path:
    """A key file with keys of these ages in seconds."""
    path = folder / "keys.json"
    path.write_text(keys_text(tuple(new_key(time.time() - age) for age in ages)))
    path.chmod(0o600)
    return path


def test_a_new_file_is_printed_and_is_one(capsys):
    printed = []
    for _ in range(2):
        assert main(["keys", "new"]) == 0
        printed.append(capsys.readouterr().out)
    (first,), (second,) = map(keys_from, printed)
    assert first.seals_from == 0
    assert abs(time.time() - first.created) < 60
    assert first.secret != second.secret


def test_a_rotation_adds_a_key_that_waits(file, tmp_path, capsys):
    path = written(tmp_path, 1000)
    (before,) = keys_from(path.read_text())
    assert main(["keys", "rotate", str(file)]) == 0
    added, kept = keys_from(path.read_text())
    assert kept == before
    assert 590 < added.seals_from - time.time() <= 601
    assert added.kid in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["app.yaml", "keys.json"]


def test_a_second_rotation_while_a_key_waits_changes_nothing(file, tmp_path, capsys):
    path = written(tmp_path, 1000)
    assert main(["keys", "rotate", str(file)]) == 0
    after = path.read_text()
    assert main(["keys", "rotate", str(file)]) == 0
    assert path.read_text() == after
    assert "waiting already" in capsys.readouterr().out


def test_a_key_is_dropped_when_nothing_that_it_signed_holds_any_more(file, tmp_path, capsys):
    path = written(tmp_path, 1000, LIFETIME + 500, 9 * LIFETIME)
    newest, older, oldest = keys_from(path.read_text())
    assert main(["keys", "rotate", str(file)]) == 0
    # The second one signed until the newest began, 1000 seconds ago; the third until the second did.
    assert keys_from(path.read_text())[1:] == (newest, older)
    assert f"holds any more: {oldest.kid}" in capsys.readouterr().out


def test_after_a_leak_one_new_key_replaces_all_at_once(file, tmp_path, capsys):
    path = written(tmp_path, 1000, 5000)
    before = keys_from(path.read_text())
    assert main(["keys", "rotate", "--replace-all", str(file)]) == 0
    (only,) = keys_from(path.read_text())
    assert only.kid not in {key.kid for key in before}
    assert only.seals_from == 0
    assert "everybody signs in again" in capsys.readouterr().out


def test_a_file_without_room_is_left_as_it_is(file, tmp_path, capsys):
    path = written(tmp_path, *range(0, 1600, 100))
    before = path.read_text()
    assert main(["keys", "rotate", str(file)]) == 78
    assert path.read_text() == before
    assert "rotate less often" in capsys.readouterr().err


def test_a_key_file_that_does_not_exist_is_not_made(file, tmp_path, capsys):
    assert main(["keys", "rotate", str(file)]) == 78
    assert str(tmp_path / "keys.json") in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["app.yaml"]


def test_the_state_folder_is_where_keys_are_without_a_keys_file(file, tmp_path, capsys):
    file.write_text(file.read_text().partition("session:")[0] + f"state_dir: {tmp_path}/state\n")
    (tmp_path / "state").mkdir()
    path = written(tmp_path / "state", 10)
    assert main(["keys", "rotate", str(file)]) == 0
    assert len(keys_from(path.read_text())) == 2


def test_by_hand_the_state_of_the_service_of_that_name_is_found(file, tmp_path, monkeypatch):
    """systemd's template keeps it by the name of the file, and tells nobody but the service."""
    file.write_text(file.read_text().partition("session:")[0])
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr("passproxy.app.building.DEFAULT_STATE_DIR", str(tmp_path / "lib"))
    (tmp_path / "lib" / "app").mkdir(parents=True)
    path = written(tmp_path / "lib" / "app", 10)
    assert main(["keys", "rotate", str(file)]) == 0
    assert len(keys_from(path.read_text())) == 2


def test_a_rotated_file_belongs_to_whom_it_did(file, tmp_path):
    """An administrator rotates as root; the service has to read the file at its next start."""
    path = written(tmp_path, 10)
    owner = (12345, 23456) if os.getuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    path.chmod(0o647)
    assert main(["keys", "rotate", str(file)]) == 0
    after = path.stat()
    assert (after.st_uid, after.st_gid) == owner
    # The group that shares it reads it, nobody else does.
    assert after.st_mode & 0o777 == 0o640


def test_a_link_to_the_key_file_stays_a_link(file, tmp_path):
    (tmp_path / "shared").mkdir()
    path = written(tmp_path / "shared", 10)
    (tmp_path / "keys.json").symlink_to(path)
    assert main(["keys", "rotate", str(file)]) == 0
    assert (tmp_path / "keys.json").is_symlink()
    assert len(keys_from(path.read_text())) == 2


def test_names_ages_and_states_are_shown_and_secrets_are_not(file, tmp_path, capsys):
    path = written(tmp_path, 100, LIFETIME * 3, LIFETIME * 5)
    assert main(["keys", "rotate", str(file)]) == 0
    path.write_text(keys_text((*keys_from(path.read_text()), new_key(1))))
    capsys.readouterr()
    assert main(["keys", "show", str(file)]) == 0
    text = capsys.readouterr().out
    assert main(["keys", "show", "--format", "json", str(file)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [key["state"] for key in shown["keys"]] == ["waits", "signs", "verifies", "done"]
    for key, described in zip(keys_from(path.read_text()), shown["keys"], strict=True):
        assert described["kid"] == key.kid
        assert key.kid in text
    secrets = [entry["secret"] for entry in json.loads(path.read_text())["keys"]]
    assert not any(secret[:8] in text + json.dumps(shown) for secret in secrets)


def _rotate(path: Path, gate, results) -> None:
    gate.wait()
    done = rotate(path, now=time.time(), delay_seconds=300, lifetime_seconds=LIFETIME)
    results.put(None if done.added is None else done.added.kid)


def test_cfg_08_of_rotations_at_once_one_key_comes_and_none_is_lost(tmp_path):
    path = written(tmp_path, 10, 20)
    before = keys_from(path.read_text())
    context = multiprocessing.get_context("fork")
    gate, results = context.Event(), context.Queue()
    writers = [context.Process(target=_rotate, args=(path, gate, results)) for _ in range(6)]
    for writer in writers:
        writer.start()
    gate.set()
    added = [kid for _ in writers if (kid := results.get(timeout=20)) is not None]
    for writer in writers:
        writer.join(20)
    assert len(added) == 1
    assert [key.kid for key in keys_from(path.read_text())] == [*added, *(key.kid for key in before)]


def test_a_file_of_before_there_were_rotations_is_understood():
    assert keys_from(keys_text((KEY, OLD_KEY))) == (KEY, OLD_KEY)
    assert "seals_from" not in keys_text((KEY, OLD_KEY))


@pytest.mark.parametrize(("seconds", "said"), [(5, "less than a minute"), (120, "2 minutes"), (90000, "1 day")])
def test_ages_are_said_in_words(seconds, said):
    assert keys._age(seconds) == said


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "when its time has come"])
async def test_a_rotation_and_a_restart_log_nobody_out(upstream, tmp_path, waits):
    state = tmp_path / "state"
    state.mkdir()
    path = state / "keys.json"
    async with demo_idp() as idp:
        async with protecting(upstream.url, state, **oidc_at(idp)) as passproxy:
            cookie = passproxy.cookie()
        (old,) = keys_from(path.read_text())
        done = rotate(path, now=time.time(), delay_seconds=300 if waits else -1, lifetime_seconds=LIFETIME)
        async with (
            protecting(upstream.url, state, **oidc_at(idp)) as passproxy,
            Raw(passproxy.address) as raw,
            Browser(passproxy.front) as browser,
        ):
            answer = await raw.ask(get("/still-in", cookie=cookie))
            assert answer.status == 200
            page = await browser.sign_in(await browser.open(f"{ORIGIN}/"), "alice", "alice")
            assert page.status == 200
            assert done.added is not None
            token = browser.cookies.named("__Host-passproxy").value
            assert kid_of(token) == (old.kid if waits else done.added.kid)


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "when its time has come"])
async def test_a_rotation_and_a_reload_log_nobody_out_and_break_no_login_under_way(upstream, tmp_path, waits):
    path = tmp_path / "keys.json"
    async with (
        demo_idp() as idp,
        protecting(upstream.url, tmp_path, **oidc_at(idp)) as passproxy,
        Raw(passproxy.address) as raw,
        Browser(passproxy.front) as browser,
    ):
        cookie = passproxy.cookie()
        form = await browser.open(f"{ORIGIN}/deep?x=1")
        (old,) = keys_from(path.read_text())
        done = rotate(path, now=time.time(), delay_seconds=300 if waits else -1, lifetime_seconds=LIFETIME)
        passproxy.reload()
        assert (await raw.ask(get("/still-in", cookie=cookie))).status == 200
        page = await browser.sign_in(form, "alice", "alice")
        assert (page.status, page.url) == (200, f"{ORIGIN}/deep?x=1")
        assert done.added is not None
        token = browser.cookies.named("__Host-passproxy").value
        assert kid_of(token) == (old.kid if waits else done.added.kid)


async def test_after_a_leak_the_sessions_of_the_leaked_key_are_over_with_the_reload(upstream, tmp_path):
    async with protecting(upstream.url, tmp_path) as passproxy, Raw(passproxy.address) as raw:
        cookie = passproxy.cookie()
        assert (await raw.ask(get("/", cookie=cookie))).status == 200
        replace(tmp_path / "keys.json", now=time.time())
        passproxy.reload()
        assert (await raw.ask(get("/", cookie=cookie))).status == 401
    assert len(upstream.requests) == 1


async def test_whoever_rotates_is_in_the_audit_log_of_the_service(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "carol")
    recorded = tmp_path / "audit.jsonl"
    recorded.touch()
    file.write_text(file.read_text() + f"log: {{audit: 'file:{recorded}'}}\n")
    keys = written(tmp_path, 86400)
    for _ in range(2):  # the second changes nothing
        assert main(["keys", "rotate", str(file)]) == 0
    await eventually(lambda: recorded.stat().st_size > 0, "the line")
    line = json.loads(recorded.read_text())
    assert (line["event"], line["operator"]) == ("audit.keys", "carol")
    assert line["added"] in line["verifying"].split()
    for key in json.loads(keys.read_text())["keys"]:
        assert key["secret"] not in recorded.read_text()
