"""Whether a configuration would start is told without starting it, and without a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from passproxy.app.startable import check, creatable
from passproxy.core.config import settings_from
from passproxy.core.errors import ConfigError
from passproxy.core.tokens import keys_text
from tests.core.given import KEY

OIDC = {"issuer": "https://sso.example.com", "client_id": "app"}


def problems(**sections: Any) -> list[str]:
    whole = {"domain": "app.example.com", "upstream": {"url": "http://127.0.0.1:3000"}, **sections}
    if "saml" not in whole:
        whole.setdefault("oidc", OIDC)
    try:
        check(settings_from(json.dumps(whole), "app.yaml", {}, str))
    except ConfigError as error:
        return list(error.problems)
    return []


def test_nothing_is_made_where_all_could_be(tmp_path: Path) -> None:
    store = {"store": f"file:{tmp_path}/ended"}
    for provider in ({"oidc": OIDC}, {"saml": {"metadata_file": "/etc/idp.xml", "sign_requests": True}}):
        assert problems(state_dir=f"{tmp_path}/deep/state", revocation=store, **provider) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_read(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(keys_text((KEY,)))
    assert problems(state_dir=str(tmp_path)) == []
    (tmp_path / "keys.json").write_text("{}")
    assert problems(state_dir=str(tmp_path)) == [
        f"{tmp_path}/keys.json: the key file is not a key file of this product"
    ]


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"state_dir": "{folder}/file"}, "state_dir: {folder}/file is no folder"),
        ({"state_dir": "{folder}/file/state"}, "state_dir: {folder}/file/state: cannot be made: {folder}/file is no folder here"),
        ({"session": {"keys_file": "{folder}/none"}}, "{folder}/none: the session keys cannot be read or made: No such file or directory"),
        ({"revocation": {"store": "file:{folder}/no/ended"}}, "revocation.store: {folder}/no/ended: cannot be written"),
        ({"revocation": {"store": "file:{folder}"}}, "revocation.store: {folder}: cannot be written"),
        ({"revocation": {"store": "rediss://r.example.com", "ca_file": "{folder}/file"}}, "revocation.ca_file: {folder}/file: no certificates"),
        ({"revocation": {"store": "rediss://r.example.com", "ca_file": "{folder}/none"}}, "revocation.ca_file: {folder}/none: No such file or directory"),
        ({"oidc": OIDC | {"private_key_file": "{folder}/none"}}, "oidc.private_key_file: {folder}/none: No such file or directory"),
        ({"upstream": {"url": "https://10.0.0.1", "ca_file": "{folder}/file"}}, "upstream.ca_file: {folder}/file: no certificates"),
        ({"saml": {"metadata_file": "/x", "metadata_certificate_file": "{folder}/file"}}, "saml.metadata_certificate_file: {folder}/file: not a certificate in PEM"),
        ({"saml": {"metadata_file": "/x", "key_file": "{folder}/file", "certificate_file": "{folder}/file"}}, "saml.key_file: {folder}/file: not a private key in PEM without a password"),
    ],
)  # fmt: skip
def test_what_would_stand_in_the_way_is_said(tmp_path: Path, sections: Any, problem: str) -> None:
    (tmp_path / "file").write_text("x")
    filled = json.loads(json.dumps({"state_dir": "{folder}/state", **sections}).replace("{folder}", str(tmp_path)))
    found = problems(**filled)
    assert len(found) == 1
    assert found[0].startswith(problem.replace("{folder}", str(tmp_path)))


def test_all_of_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    found = problems(
        state_dir=f"{tmp_path}/file",
        session={"keys_file": f"{tmp_path}/none"},
        upstream={"url": "https://10.0.0.1", "ca_file": f"{tmp_path}/none"},
        revocation={"store": f"file:{tmp_path}/no/ended"},
        saml={"metadata_file": "/x", "metadata_certificate_file": f"{tmp_path}/none"},
    )
    assert len(found) >= 5


def test_a_name_that_no_file_can_have_is_in_the_way(tmp_path: Path) -> None:
    found = problems(state_dir=f"{tmp_path}/{'x' * 300}/state")
    assert any("File name too long" in problem for problem in found)


def test_only_what_is_a_folder_can_hold_something_new(tmp_path: Path) -> None:
    creatable(tmp_path / "deep" / "state")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is no folder here"):
        creatable(tmp_path / "file" / "state")
