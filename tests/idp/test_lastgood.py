"""The copy on disk: whole, ours and unchanged, or none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passproxy.idp.lastgood import LastGood

KEY = b"k" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata"


@pytest.mark.parametrize("document", [b"", b"{}", b"\n", b"a\nb\n", bytes(range(256))])
def test_what_was_stored_is_loaded(path, document):
    LastGood(path, KEY).store(document)
    assert LastGood(path, KEY).load() == document


def test_a_second_copy_replaces_the_first_and_nothing_stays_behind(path):
    kept = LastGood(path, KEY)
    kept.store(b"first, and longer")
    kept.store(b"second")
    assert kept.load() == b"second"
    assert os.listdir(path.parent) == [path.name]


def test_nobody_else_may_read_it(path):
    LastGood(path, KEY).store(b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_copy_is_none(path):
    assert LastGood(path, KEY).load() is None
    assert LastGood(path / "below" / "nothing", KEY).load() is None


def test_the_copy_of_another_instance_is_none(path):
    LastGood(path, b"another key").store(b"x")
    assert LastGood(path, KEY).load() is None


def test_a_copy_from_before_a_rotation_of_keys_is_still_loaded(path):
    LastGood(path, KEY).store(b"x")
    assert LastGood(path, b"newer key", KEY).load() == b"x"
    LastGood(path, b"newer key", KEY).store(b"y")
    assert LastGood(path, b"newer key").load() == b"y"


def test_the_copy_of_another_document_is_none(path):
    LastGood(path, KEY).store(b"x")
    os.rename(path, path.with_name("other"))
    assert LastGood(path.with_name("other"), KEY).load() is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_copy_is_none(path, data):
    """Cut, extended or with another byte anywhere, a copy is the same as none."""
    LastGood(path, KEY).store(b"the document")
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(
        st.sampled_from(
            [whole[:position], whole + b"x", whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]]
        )
    )
    path.write_bytes(changed)
    assert LastGood(path, KEY).load() is None


@pytest.mark.parametrize("content", [b"", b"\n", b"no line end", b"\xff\n\xff", b"0" * 64 + b"\n{}"])
def test_what_somebody_else_wrote_is_none(path, content):
    path.write_bytes(content)
    assert LastGood(path, KEY).load() is None


def test_a_directory_or_a_pipe_in_its_place_is_none(path):
    os.mkfifo(path)
    assert LastGood(path, KEY).load() is None
    path.unlink()
    path.mkdir()
    assert LastGood(path, KEY).load() is None


def test_a_copy_that_cannot_be_written_leaves_the_previous_one(path):
    kept = LastGood(path, KEY)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        kept.store(b"x")
    assert os.listdir(path.parent) == [path.name]
    path.rmdir()
    with pytest.raises(FileNotFoundError):
        LastGood(path / "missing" / "file", KEY).store(b"x")


def test_a_write_that_breaks_off_leaves_the_previous_one(path, monkeypatch):
    kept = LastGood(path, KEY)
    kept.store(b"previous")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        kept.store(b"next")
    assert kept.load() == b"previous"
    assert os.listdir(path.parent) == [path.name]
