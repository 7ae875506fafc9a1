"""`passproxy revoke`: what it says has ended is refused by the instance that runs."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from passproxy.cli import main
from tests.fakes.browser import Browser
from tests.fakes.gateway import ORIGIN, demo_idp, eventually, oidc_at, protecting, saml_at, until


def configuration(folder: Path, store: str) -> Path:
    file = folder / "app.yaml"
    file.write_text(
        "domain: app.example.com\nupstream: {url: 'http://127.0.0.1:3000'}\n"
        f"oidc: {{issuer: 'https://sso.example.com', client_id: app}}\nrevocation: {{store: '{store}'}}\n"
    )
    return file


@pytest.mark.parametrize("provider", [oidc_at, saml_at], ids=["oidc", "saml"])
@pytest.mark.parametrize("whom", ["subject", "session", "all"])
async def test_a_session_that_was_revoked_is_refused_and_others_are_served(
    upstream, tmp_path, capsys, log, provider, whom
):
    listed = tmp_path / "revoked"
    file = configuration(tmp_path, f"file:{listed}")
    async with (
        demo_idp() as idp,
        protecting(upstream.url, tmp_path, revocation={"store": f"file:{listed}"}, **provider(idp)) as passproxy,
        Browser(passproxy.front) as alice,
        Browser(passproxy.front) as bob,
    ):
        await alice.sign_in(await alice.open(f"{ORIGIN}/"), "alice", "alice")
        named = {
            "subject": ["--subject", upstream.requests[-1].one(b"x-passproxy-subject").decode()],
            "session": [f"--session={log.one('auth.login')['session']}"],
            "all": ["--all"],
        }[whom]
        await bob.sign_in(await bob.open(f"{ORIGIN}/"), "bob", "bob")
        assert await asyncio.to_thread(main, ["revoke", str(file), *named]) == 0
        assert capsys.readouterr().out.startswith("Ended: ")
        await eventually(lambda: listed.stat().st_size > 0, "the list is written")

        async def is_over() -> bool:
            return (await alice.open(f"{ORIGIN}/.passproxy/userinfo")).status == 401

        await until(is_over, "alice's session is over")
        assert (await bob.open(f"{ORIGIN}/.passproxy/userinfo")).status == (401 if whom == "all" else 200)


async def test_the_providers_own_name_of_a_session_does_as_well(tmp_path):
    from passproxy.core.handles import handle_of

    listed = tmp_path / "revoked"
    listed.touch()
    assert (
        await asyncio.to_thread(main, ["revoke", str(configuration(tmp_path, f"file:{listed}")), "--session", "a-sid"])
        == 0
    )
    assert handle_of("sid:a-sid") in listed.read_text()


@pytest.mark.parametrize("store", ["none", "memory"])
def test_a_list_that_is_out_of_reach_is_said_to_be(tmp_path, capsys, store):
    assert main(["revoke", str(configuration(tmp_path, store)), "--all"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"revocation.store is {store}" in said.err
    assert "nothing was revoked" in said.err


def test_a_list_that_does_not_exist_is_not_made(tmp_path, capsys):
    """It would belong to root, and the service could not open it."""
    assert main(["revoke", str(configuration(tmp_path, f"file:{tmp_path}/revoked")), "--all"]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["app.yaml"]


@pytest.mark.parametrize("arguments", [[], ["--all", "--subject", "x"], ["--subject", " "], ["--session", "a\x1bb"]])
def test_whom_it_is_about_must_be_said_once_and_plainly(tmp_path, arguments):
    with pytest.raises(SystemExit) as end:
        main(["revoke", str(configuration(tmp_path, "none")), *arguments])
    assert end.value.code == 2


async def test_whoever_revokes_is_in_the_audit_log_of_the_service(tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "carol")
    listed, recorded = tmp_path / "revoked", tmp_path / "audit.jsonl"
    file = configuration(tmp_path, f"file:{listed}")
    file.write_text(file.read_text() + f"log: {{audit: 'file:{recorded}'}}\n")
    listed.touch()
    await asyncio.to_thread(main, ["revoke", str(file), "--subject", "s-1"])
    assert not recorded.exists(), "made here, it would belong to whoever ran this"
    recorded.touch()
    await asyncio.to_thread(main, ["revoke", str(file), "--subject", "s-2"])
    await eventually(lambda: recorded.stat().st_size > 0, "the line")
    line = json.loads(recorded.read_text())
    assert (line["event"], line["operator"], line["subject"]) == ("audit.revocation", "carol", "s-2")
