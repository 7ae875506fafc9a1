"""Pages: escaped, complete, and with a policy of their own each time."""

from __future__ import annotations

import re

import jinja2
import pytest

from passproxy.demo.rendering import page


def test_values_are_escaped() -> None:
    text = page("refused.html", status=400, sentence="<b>\"'&").text
    assert text
    assert "&lt;b&gt;&#34;&#39;&amp;" in text


def test_a_value_that_is_forgotten_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        page("refused.html")


def test_the_nonce_is_never_the_same() -> None:
    policies = {page("refused.html", sentence="").headers["Content-Security-Policy"] for _ in range(50)}
    assert len(policies) == 50


def test_a_form_may_end_where_it_was_told_to() -> None:
    """Browsers check form-action for the redirects after a form, too."""
    response = page("refused.html", sentence="", form_targets=("http://127.0.0.1:8080",))
    assert "form-action 'self' http://127.0.0.1:8080;" in response.headers["Content-Security-Policy"]


def test_the_style_has_the_nonce_of_the_policy() -> None:
    response = page("refused.html", sentence="")
    nonce = re.search(r"style-src 'nonce-([^']+)'", response.headers["Content-Security-Policy"])
    assert nonce
    assert f'<style nonce="{nonce[1]}">' in (response.text or "")
