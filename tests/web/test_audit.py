"""The audit log: off unless asked for, one JSON object a line, by name and never by secret."""

from __future__ import annotations

import json
import logging
import stat
import time
from pathlib import Path

import pytest

from passproxy import keyfile
from passproxy.core.errors import ConfigError
from passproxy.web import audit, log
from passproxy.web.log import JsonFormatter, TextFormatter
from tests.core.given import ALICE
from tests.fakes.gateway import NO_IDP, PassProxy, eventually, get, navigation, protecting
from tests.fakes.raw import Raw


def written(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_it_is_off_unless_asked_for(caplog):
    caplog.set_level(logging.DEBUG)
    audit.event("audit.login", user="alice")
    audit.set_up(None)
    audit.event("audit.login", user="alice")
    assert caplog.records == []


async def test_it_goes_to_the_end_of_a_file_that_others_cannot_read(tmp_path):
    file = tmp_path / "audit.jsonl"
    file.write_text('{"event": "before"}\n')
    file.chmod(0o640)
    audit.set_up(f"file:{file}")
    audit.event("audit.login", user="alice\n", none=None)
    await eventually(lambda: len(written(file)) == 2, "the line")
    assert written(file)[0] == {"event": "before"}
    line = written(file)[1]
    assert (line["event"], line["user"], line["level"]) == ("audit.login", "alice\\x0a", "info")
    assert "none" not in line
    new = tmp_path / "new.jsonl"
    audit.set_up(f"file:{new}")
    assert stat.S_IMODE(new.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match=r"log\.audit"):
        audit.set_up(f"file:{tmp_path}/nowhere/audit.jsonl")


def test_beside_a_log_for_people_it_is_json_all_the_same():
    record = logging.LogRecord("passproxy.audit", logging.INFO, "", 0, "audit.login", (), None)
    record.fields = {"user": "alice"}
    assert TextFormatter().format(record) == JsonFormatter().format(record)


def test_the_log_and_the_audit_log_may_share_a_writer():
    log.set_up("text", "error")
    audit.set_up("stderr")
    assert logging.getLogger("passproxy.audit").handlers == logging.getLogger("passproxy").handlers
    assert logging.getLogger("passproxy.audit").isEnabledFor(logging.INFO), "the level of the log is not its own"


def test_a_person_is_told_by_name_and_subject():
    assert audit.who(None) == {}
    assert audit.who(ALICE) == {"user": "alice", "subject": "subject-of-alice"}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    audit.set_up(f"file:{tmp_path}/audit.jsonl")
    return tmp_path / "audit.jsonl"


async def test_a_refusal_names_the_person_and_the_request(upstream, tmp_path, file, log):
    only = {"require_any_group": ["admins"]}
    async with protecting(upstream.url, tmp_path, access=only) as passproxy, Raw(passproxy.address) as raw:
        answer = await raw.ask(get("/x?secret=1", cookie=passproxy.cookie(groups=("ops",))))
        assert answer.status == 403
        await eventually(lambda: len(written(file)) == 2, "the lines")
    keys, line = written(file)
    assert (keys["event"], keys["verifying"]) == ("audit.keys", passproxy.ring.kids[0])
    assert line["event"] == "audit.refusal"
    assert (line["user"], line["subject"], line["code"]) == ("alice", "sub-alice", "PP-ACCESS-GROUP")
    assert (line["method"], line["path"], line["client"]) == ("GET", "/x", "127.0.0.1")
    assert line["request_id"] == answer.json()["request_id"] == log.one("request.refused")["request_id"]
    assert "secret" not in file.read_text("utf-8")


async def test_what_is_only_not_signed_in_is_no_refusal(passproxy: PassProxy, file):
    async with Raw(passproxy.address) as raw:
        assert (await raw.ask(get("/x"))).status == 401
        assert (await raw.ask(navigation("/x"))).status == 503, "a login that cannot start is none either"
        assert (await raw.ask(navigation("/.passproxy/oidc/callback?code=x&state=" + "A" * 22))).status == 403
    await eventually(lambda: len(written(file)) > 1, "both lines")
    assert {line["code"] for line in written(file)} == {"PP-IDP-UNAVAILABLE", "PP-LOGIN-UNKNOWN"}
    assert NO_IDP["oidc"]["client_secret"] not in file.read_text("utf-8")


async def test_a_file_that_was_moved_away_is_made_again_by_a_reload(file, tmp_path):
    audit.event("audit.login", number=1)
    await eventually(lambda: len(written(file)) == 1, "the line")
    moved = file.rename(tmp_path / "audit.1.jsonl")
    audit.event("audit.login", number=2)
    await eventually(lambda: len(written(moved)) == 2, "it goes on where it was")
    writers = logging.getLogger("passproxy.audit").handlers[:]
    audit.set_up(f"file:{file}")
    audit.event("audit.login", number=3)
    await eventually(lambda: len(written(file)) == 1, "the line")
    assert [line["number"] for line in (*written(moved), *written(file))] == [1, 2, 3]
    assert logging.getLogger("passproxy.audit").handlers == writers, "no second thread"


async def test_keys_are_recorded_when_a_reload_changes_them(upstream, tmp_path, file):
    async with protecting(upstream.url, tmp_path) as passproxy:
        passproxy.reload(log={"level": "error"})
        rotation = keyfile.rotate(tmp_path / "keys.json", now=time.time(), delay_seconds=60, lifetime_seconds=3600)
        passproxy.reload(log={"level": "error"})
    await eventually(lambda: len(written(file)) == 2, "both lists")
    before, after = (str(line["verifying"]).split() for line in written(file))
    assert rotation.added is not None
    assert set(after) == {*before, rotation.added.kid}


def test_whether_a_file_can_be_written_is_found_out_without_recording(tmp_path):
    with pytest.raises(ConfigError, match=r"log\.audit"):
        audit.check(f"file:{tmp_path}/nowhere/audit.jsonl")
    for target in (None, "stderr", f"file:{tmp_path}/audit.jsonl"):
        audit.check(target)
    assert not audit.is_wanted()
