"""A wrong secret is found without anybody logging in."""

from __future__ import annotations

import time

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from passproxy.cli.doctor.provider import provider
from tests.cli.doctor.given import origin_at, results, settings, text_of
from tests.fakes.gateway import demo_idp, oidc_at
from tests.fakes.idp_oidc import FakeOp

SECRET = "correct-horse-battery"


async def examined(**oidc):
    configured = settings(oidc=oidc)
    return await provider(configured, origin_at(configured), time.time)


@pytest.mark.parametrize(("secret", "result"), [(SECRET, "ok"), ("wrong-horse-battery", "failed")])
async def test_a_wrong_secret_is_found_and_not_shown(secret, result):
    async with FakeOp(client_secret=SECRET) as op:
        found = await examined(issuer=op.issuer, client_id="app", client_secret=secret)
    assert results(found)["client"] == result
    assert secret not in text_of(found, "client")


async def test_the_demos_provider_judges_the_client_first_as_well():
    async with demo_idp() as idp:
        good = oidc_at(idp)["oidc"]
        assert results(await examined(**good))["client"] == "ok"
        assert results(await examined(**{**good, "client_secret": "wrong-horse-battery"}))["client"] == "failed"


@pytest.mark.parametrize(("is_known", "result"), [(True, "ok"), (False, "failed")])
async def test_a_private_key_that_is_not_registered_is_found(tmp_path, is_known, result):
    ours, other = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    (tmp_path / "key.pem").write_bytes(ours.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "invalid_client"}, status=401)

    async with FakeOp(client_secret=None) as op:
        op.client_key = (ours if is_known else other).public_key()
        if not is_known:
            op.instead["token"] = refuse
        found = await examined(issuer=op.issuer, client_id="app", private_key_file=str(tmp_path / "key.pem"))
    assert results(found)["client"] == result
    assert "private key" in text_of(found, "client")


async def test_of_a_public_client_there_is_nothing_to_find_out():
    async with FakeOp(client_secret=None) as op:
        assert "client" not in results(await examined(issuer=op.issuer, client_id="app"))


async def test_another_refusal_says_nothing_about_the_secret():
    async def broken(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "server_error"}, status=500)

    async with FakeOp(client_secret=SECRET) as op:
        op.instead["token"] = broken
        found = await examined(issuer=op.issuer, client_id="app", client_secret=SECRET)
    assert results(found)["client"] == "unknown"


async def test_a_provider_that_takes_any_code_is_none_to_use():
    async with FakeOp(client_secret=SECRET) as op:

        async def generous(request: web.Request) -> web.StreamResponse:
            nonce = next(iter(op._grants.values())).query["nonce"]
            tokens = {"access_token": "a", "token_type": "Bearer", "id_token": op.id_token(nonce=nonce)}
            return web.json_response(tokens)

        op.instead["token"] = generous
        found = await examined(issuer=op.issuer, client_id="app", client_secret=SECRET)
    # Its ID token is bound to no login of ours, so it is refused; that is no proof of a good client.
    assert results(found)["client"] == "unknown"
