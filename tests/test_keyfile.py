"""One key set survives the first start, whoever starts, and nobody runs with one that was not saved."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from passproxy.core.errors import ConfigError
from passproxy.core.tokens import keys_from, keys_text
from passproxy.keyfile import obtained_keys
from tests.core.given import KEY, NOW, OLD_KEY


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_key_and_the_next_one_finds_it(tmp_path):
    path = tmp_path / "keys.json"
    made = obtained_keys(path, may_create=True, now=NOW)
    assert len(made) == 1
    assert made[0].created == NOW
    assert obtained_keys(path, may_create=True, now=NOW + 1) == made
    assert keys_from(path.read_text()) == made


def test_nobody_else_may_read_it_whatever_the_umask(tmp_path):
    previous = os.umask(0)
    try:
        obtained_keys(tmp_path / "state" / "keys.json", may_create=True, now=NOW)
    finally:
        os.umask(previous)
    assert mode_of(tmp_path / "state" / "keys.json") == 0o600
    assert mode_of(tmp_path / "state") == 0o700


def test_nothing_but_the_key_file_stays_behind(tmp_path):
    obtained_keys(tmp_path / "keys.json", may_create=True, now=NOW)
    assert os.listdir(tmp_path) == ["keys.json"]


def test_a_file_that_must_exist_is_not_made(tmp_path):
    """A typo in the name of a shared key file must not become a key of one's own."""
    with pytest.raises(ConfigError) as refusal:
        obtained_keys(tmp_path / "keys.json", may_create=False, now=NOW)
    assert str(tmp_path / "keys.json") in refusal.value.problems[0]
    assert os.listdir(tmp_path) == []


def test_all_keys_of_a_file_are_found_newest_first(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(keys_text((OLD_KEY, KEY)))
    assert obtained_keys(path, may_create=False, now=NOW) == (KEY, OLD_KEY)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"keys": []}', b"{" * 10_000])
def test_a_broken_file_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refusal:
        obtained_keys(path, may_create=True, now=NOW)
    assert str(path) in refusal.value.problems[0]
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        obtained_keys(tmp_path, may_create=True, now=NOW)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as refusal:
        obtained_keys(tmp_path / "file" / "keys.json", may_create=True, now=NOW)
    assert "cannot be read or made" in refusal.value.problems[0]


def test_a_full_disk_leaves_no_half_key_file(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError) as refusal:
        obtained_keys(tmp_path / "keys.json", may_create=True, now=NOW)
    assert "No space left on device" in refusal.value.problems[0]
    assert not (tmp_path / "keys.json").exists()


def test_cfg_09_what_lies_in_the_way_gives_nobody_the_key(tmp_path):
    """A file that somebody else put where the new one is written would stay theirs, and readable."""
    for name in ("keys.new", ".keys.json.new", "keys.json.new"):
        lying = tmp_path / name
        lying.write_text("")
        lying.chmod(0o666)
    obtained_keys(tmp_path / "keys.json", may_create=True, now=NOW)
    assert mode_of(tmp_path / "keys.json") == 0o600


def test_cfg_09_a_link_in_the_way_leads_nowhere(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keys.new").symlink_to(elsewhere)
    obtained_keys(tmp_path / "state" / "keys.json", may_create=True, now=NOW)
    assert elsewhere.read_text() == "precious"
    assert not (tmp_path / "state" / "keys.json").is_symlink()


def _start(path: Path, gate, results) -> None:
    gate.wait()
    results.put(obtained_keys(path, may_create=True, now=NOW)[0].secret)


def test_cfg_08_of_parallel_first_starts_one_key_set_survives(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Event(), context.Queue()
    starters = [context.Process(target=_start, args=(tmp_path / "keys.json", gate, results)) for _ in range(6)]
    for starter in starters:
        starter.start()
    gate.set()
    secrets = {results.get(timeout=20) for _ in starters}
    for starter in starters:
        starter.join(20)
    assert secrets == {obtained_keys(tmp_path / "keys.json", may_create=False, now=NOW)[0].secret}
