"""Whether visitors can ask what only the web server may, over the public address."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, web

from passproxy.cli.doctor.questions import questions
from tests.cli.doctor.given import origin_at, results, settings, text_of
from tests.cli.doctor.test_front import examined, nothing, site, through
from tests.fakes.commands import free_port

NAMES = ("nginx", "caddy", "haproxy", "traefik")


@pytest.mark.parametrize("server", NAMES)
async def test_a_web_server_that_passes_questions_of_visitors_on_is_found(upstream, tmp_path, server):
    for more in ({}, {"passthrough": {"paths": ["/"]}}):
        found = await through(upstream, tmp_path, nothing, forward_auth={"web_server": server}, **more)
        assert results(found)["questions"] == "failed"
        assert "docs/forward-auth.md" in text_of(found, "questions")
    assert upstream.requests == []


@pytest.mark.parametrize("server", NAMES)
async def test_one_that_removes_the_fields_or_hides_the_page_is_fine(upstream, tmp_path, server):
    def removing(request, headers):
        if isinstance(headers, dict):
            for name in [name for name in headers if name.startswith(("X-Original-", "X-Forwarded-"))]:
                del headers[name]

    def hiding(request, headers):
        return web.Response(status=404) if request.path == "/.passproxy/auth" else None

    for change in (removing, hiding):
        found = await through(upstream, tmp_path, change, forward_auth={"web_server": server})
        assert results(found)["questions"] == "ok", text_of(found, "questions")


async def test_without_forward_authentication_nobody_is_asked(upstream, tmp_path):
    port = free_port()
    async with site(upstream, tmp_path, port, f"127.0.0.1:{port}") as (_, configured):
        assert "questions" not in results(await examined(configured))


async def test_an_address_that_does_not_answer_is_no_good_sign():
    configured = settings(domain="127.0.0.1", origin=f"http://127.0.0.1:{free_port()}")
    async with ClientSession() as http:
        assert results(await questions(http, origin_at(configured))) == {"questions": "failed"}
