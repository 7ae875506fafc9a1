"""Images for the page of applications: what is one, and what must not be put into a page."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path

import pytest

from passproxy.cli.portal_icons import ICON_LIMIT_BYTES, data_url

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1v1z"/></svg>'
PNG = b"\x89PNG\r\n\x1a\n" + zlib.compress(b"an image")

KINDS = [
    (PNG, "image/png"),
    (b"\xff\xd8\xff\xe0 image", "image/jpeg"),
    (b"RIFF\x10\n\x00\x00WEBPVP8 ", "image/webp"),
    (b"\x00\x00\x01\x00\x01\x00", "image/x-icon"),
    (SVG, "image/svg+xml"),
    (b'<?xml version="1.0"?>\n<!-- drawn by hand -->\n' + SVG, "image/svg+xml"),
    (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://127.0.0.1:9/svg11.dtd">' + SVG, "image/svg+xml"),
]


@pytest.fixture
def icon(tmp_path: Path) -> Path:
    return tmp_path / "icon"


@pytest.mark.parametrize(("content", "kind"), KINDS, ids=[f"{n}-{kind}" for n, (_, kind) in enumerate(KINDS)])
def test_the_content_says_of_which_kind_an_image_is(icon: Path, content: bytes, kind: str):
    icon.write_bytes(content)
    assert data_url(icon) == f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        b"<html><body>an image</body></html>",
        b'<svg viewBox="0 0 1 1"/>',
        b'<x:svg xmlns:x="https://elsewhere.example.com"/>',
        SVG[:-1],
        b"-----BEGIN PRIVATE KEY-----",
    ],
)
def test_what_is_no_image_is_refused(icon: Path, content: bytes):
    icon.write_bytes(content)
    with pytest.raises(ValueError, match="is neither SVG, PNG, JPEG, WebP nor ICO"):
        data_url(icon)


@pytest.mark.parametrize(
    "inside",
    [
        b"<script>alert(1)</script>",
        b'<s:script xmlns:s="http://www.w3.org/2000/svg">alert(1)</s:script>',
        b'<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
        b'<path onload="alert(1)"/>',
        b'<path ONLOAD="alert(1)"/>',
        b"<foreignObject><p>text</p></foreignObject>",
    ],
)
def test_an_image_with_something_that_runs_is_refused(icon: Path, inside: bytes):
    icon.write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg">' + inside + b"</svg>")
    with pytest.raises(ValueError, match="something that runs"):
        data_url(icon)


def test_an_image_that_declares_entities_is_refused(icon: Path, tmp_path: Path):
    (tmp_path / "secret").write_text("a secret")
    icon.write_bytes(f'<!DOCTYPE svg [<!ENTITY all SYSTEM "{tmp_path}/secret">]>'.encode() + SVG)
    with pytest.raises(ValueError, match="declares entities"):
        data_url(icon)


def test_the_limit_on_the_size_is_exact(icon: Path):
    icon.write_bytes(PNG.ljust(ICON_LIMIT_BYTES, b"\0"))
    assert data_url(icon).startswith("data:image/png;base64,")
    icon.write_bytes(PNG.ljust(ICON_LIMIT_BYTES + 1, b"\0"))
    with pytest.raises(ValueError, match="is larger than 64 KiB"):
        data_url(icon)


def test_what_is_not_a_file_is_not_waited_for(icon: Path):
    with pytest.raises(ValueError, match="is not there"):
        data_url(icon)
    os.mkfifo(icon)
    with pytest.raises(ValueError, match="is not a file"):
        data_url(icon)
