"""What can do harm is said, by `check` and at each start."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from passproxy.cli.dangers import Danger, dangers, file_system_of
from passproxy.core.config import settings_from

OIDC = {"issuer": "https://sso.example.com", "client_id": "app"}
SAML = {"metadata_url": "https://sso.example.com/metadata"}


def issuer(url: str, **more: Any) -> dict[str, Any]:
    """The section with one issuer, which requires something unless it is one for everybody."""
    require = {} if "github" in url else {"require": {"azp": ["nightly"]}}
    return {"issuers": [{"name": "ci", "issuer": url, "audience": "api", **require, **more}]}


def found(folder: Path, **sections: Any) -> list[Danger]:
    whole: dict[str, Any] = {"domain": "app.example.com", "upstream": {"url": "http://127.0.0.1:3000"}}
    whole |= {"state_dir": str(folder), **sections}
    if "saml" not in whole:
        whole["oidc"] = OIDC | whole.get("oidc", {})
    return dangers(settings_from(json.dumps(whole), "app.yaml", {}, lambda path: Path(path).read_text("utf-8")), None)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"upstream": {"url": "https://10.0.0.1", "verify_tls": False}}, "upstream.verify_tls"),
        ({"saml": SAML | {"allow_idp_initiated": True}}, "saml.allow_idp_initiated"),
        ({"oidc": {"allow_unverified_email": True}}, "oidc.allow_unverified_email"),
        ({"domain": "127.0.0.1", "origin": "http://127.0.0.1:8123"}, "origin"),
        ({"log": {"level": "debug"}}, "log.level"),
        ({"access": {"default": "allow"}}, "access.default"),
        ({"listen": "0.0.0.0:8123"}, "listen"),
        ({"listen": "[::]:8123"}, "listen"),
        ({"admin": {"listen": "0.0.0.0:9123"}}, "admin.listen"),
        ({"admin": {"listen": "[::]:9123"}}, "admin.listen"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "trusted_proxies"),
        ({"bearer": issuer("https://token.actions.githubusercontent.com")}, "bearer.issuers"),
        ({"trusted_proxies": ["10.0.0.0/8", "::/0"]}, "trusted_proxies"),
    ],
)
def test_a_switch_that_lets_somebody_in_or_read_along_is_grave(tmp_path: Path, sections: Any, key: str) -> None:
    assert [danger.key for danger in found(tmp_path, **sections) if danger.is_grave] == [key]


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"revocation": {"store": "none"}}, "revocation.store"),
        ({"bearer": issuer("https://ci.example.com", require={})}, "bearer.issuers"),
        ({"bearer": issuer("https://ci.example.com", id_tokens=True)}, "bearer.issuers"),
        ({"bearer": issuer("https://ci.example.com", forward=True)}, "bearer.issuers"),
        ({"bearer": issuer("https://sso.example.com", audience="app")}, "bearer.issuers"),
        ({"access": {"require_any_group": ["CN=ops,OU=x"]}}, "access"),
        (
            {"access": {"roles": {"a": ["app-ops", "ops"]}}, "identity": {"groups": {"strip_prefix": "app-"}}},
            "access",
        ),
        ({"access": {"rules": [{"name": n, "path": "/x"} for n in "ab"]}}, "access.rules"),
        ({"session": {"lifetime": "25h"}}, "session.lifetime"),
        ({"upstream": {"url": "http://10.0.0.1:3000"}}, "upstream.url"),
        ({"saml": {"metadata_file": "/nowhere/idp.xml"}}, "saml.metadata_file"),
    ],
)
def test_a_doubt_is_none(tmp_path: Path, sections: Any, key: str) -> None:
    doubts = [danger for danger in found(tmp_path, **sections) if danger.key != "state_dir"]
    assert [(danger.key, danger.is_grave) for danger in doubts] == [(key, False)]


def test_the_defaults_are_harmless(tmp_path: Path) -> None:
    assert [danger for danger in found(tmp_path) if danger.key != "state_dir"] == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_secrets_that_others_can_read_are_named(tmp_path: Path, mode: int) -> None:
    keys, client = tmp_path / "keys.json", tmp_path / "client.pem"
    for file in (keys, client):
        file.write_text("x")
        file.chmod(mode)
    named = {(danger.key, danger.text) for danger in found(tmp_path, oidc={"private_key_file": str(client)})}
    assert ("oidc.private_key_file", f"{client} can be read by others: chmod 600") in named
    assert ("state_dir", f"{keys} can be read by others: chmod 600") in named
    for file in (keys, client):
        file.chmod(0o600)
    assert not any(danger.is_grave for danger in found(tmp_path, oidc={"private_key_file": str(client)}))


@pytest.mark.parametrize("mode", [0o600, 0o604])
@pytest.mark.parametrize("entry", ["a-plain-token-of-32-letters-or-so", f"sha256:{'0' * 64}"])
@pytest.mark.parametrize("key", ["tokens", "tokens_file"])
def test_pt_11_a_token_in_plain_text_is_named_where_others_can_read_it(
    tmp_path: Path, mode: int, entry: str, key: str
) -> None:
    file, beside = tmp_path / "app.yaml", tmp_path / "tokens.yaml"
    beside.write_text(json.dumps({"tokens": [entry]}))
    whole = {"domain": "app.example.com", "upstream": {"url": "http://127.0.0.1:3000"}, "oidc": OIDC}
    whole |= {"state_dir": str(tmp_path), "passthrough": {key: [entry] if key == "tokens" else str(beside)}}
    file.write_text(json.dumps(whole))
    for path in (file, beside):
        path.chmod(mode)
    settings = settings_from(file.read_text(), str(file), {}, lambda path: Path(path).read_text("utf-8"))
    named = [danger for danger in dangers(settings, str(file)) if danger.key.startswith("passthrough")]
    assert [danger.key for danger in named] == [f"passthrough.{key}"] * (mode == 0o604 and entry.startswith("a-"))
    assert not any(entry in danger.text for danger in named)


@pytest.mark.parametrize(("mode", "is_named"), [(0o440, False), (0o444, True), (0o604, True)])
def test_a_mounted_secret_is_readable_through_its_group_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_named: bool
) -> None:
    """As Kubernetes mounts it: root's, for the group of the pod."""
    file = tmp_path / "keys.json"
    file.write_text("x")
    file.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 65532)
    monkeypatch.setattr(os, "getegid", lambda: file.stat().st_gid)
    keys = [danger.key for danger in found(tmp_path, session={"keys_file": str(file)})]
    assert ("session.keys_file" in keys) == is_named


def test_a_state_that_nothing_depends_on_may_be_anywhere(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.touch(0o600)
    given: dict[str, Any] = {"session": {"keys_file": str(keys)}}
    passing = Path("/dev/shm/passproxy")
    assert found(passing, **given) == []
    assert [danger.key for danger in found(passing, saml=SAML, **given)] == ["state_dir", "state_dir"]
    own = {"key_file": str(keys), "certificate_file": str(keys)}
    assert found(passing, saml=SAML | own, **given) == []


def test_cfg_09_a_state_that_is_not_there_yet_is_said(tmp_path: Path) -> None:
    (danger, *_) = found(tmp_path / "not" / "yet")
    assert "does not exist yet" in danger.text


MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:20 / /run rw - tmpfs tmpfs rw
23 21 0:21 / /srv/with\\040space rw - overlay overlay rw
24 22 8:2 / /run/kept rw - xfs /dev/sdb rw
25 21 0:22 / /srv/over rw - ext4 /dev/sdc rw
26 21 0:23 / /srv/over rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/passproxy/app", "ext4"),
        ("/run/passproxy/app", "tmpfs"),
        ("/runner", "ext4"),
        ("/run/kept/app", "xfs"),
        ("/srv/with space/app", "overlay"),
        ("/srv/over/app", "tmpfs"),
    ],
)
def test_cfg_09_the_file_system_of_a_path_is_found(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert file_system_of(Path(path), tmp_path / "mountinfo") == kind


def test_a_system_that_says_nothing_about_its_mounts_is_no_problem(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "none") is None


def test_cfg_09_a_state_that_does_not_last_is_said() -> None:
    """On Linux /dev/shm is memory (shm_overview(7))."""
    assert any("/dev/shm/passproxy is on tmpfs" in danger.text for danger in found(Path("/dev/shm/passproxy")))
