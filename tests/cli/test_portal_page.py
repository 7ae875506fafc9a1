"""The page of applications: what it says, and that nothing in it is more than text."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest
from lxml import html

from passproxy.cli.portal_page import HUES, Application, rendered

WIKI = Application("Wiki", "https://wiki.example.com/", "What we know", "W", groups=("Everybody", "Guests"))
IMAGE = "data:image/svg+xml;base64,PHN2Zy8+"

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><script>alert(1)</script>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "&lt;b&gt;&amp;",
]


def parsed(text: str) -> Any:
    return html.document_fromstring(text)


def shape(text: str) -> list[tuple[str, list[str]]]:
    """All elements in their order, with the names of their attributes."""
    return [(element.tag, element.keys()) for element in parsed(text).iter() if isinstance(element.tag, str)]


def test_a_tile_has_name_address_description_and_groups():
    page = parsed(rendered("Applications", [WIKI]))
    (link,) = page.xpath("//main//a")
    assert (link.text, link.get("href"), link.get("rel")) == ("Wiki", "https://wiki.example.com/", "noreferrer")
    assert [each.text_content() for each in page.xpath("//p[@class='place']")] == ["wiki.example.com"]
    assert [each.text for each in page.xpath("//p[@class='description']")] == ["What we know"]
    assert [each.text for each in page.xpath("//ul[@class='groups']/li")] == ["Everybody", "Guests"]
    assert [each.text for each in page.xpath("//h1|//title")] == ["Applications", "Applications"]


def test_what_is_not_said_leaves_no_room():
    page = rendered("Applications", [Application("Wiki", "https://wiki.example.com/", sign="W")])
    assert parsed(page).xpath("//p[@class='description']|//ul[@class='groups']|//img") == []


def test_an_image_is_shown_instead_of_the_sign():
    page = parsed(rendered("Applications", [Application("Wiki", "https://w.example.com/", sign="W", image=IMAGE)]))
    assert [image.get("src") for image in page.xpath("//img")] == [IMAGE]
    assert [each.text_content() for each in page.xpath("//span[@aria-hidden]")] == []


def test_tiles_are_in_the_order_of_their_names():
    names = ["wiki", "Zebra", "Argo", "argo 2"]
    page = parsed(
        rendered("Applications", [Application(name, f"https://{n}.example.com") for n, name in enumerate(names)])
    )
    assert [link.text for link in page.xpath("//main//a")] == ["Argo", "argo 2", "wiki", "Zebra"]


def test_the_same_applications_make_the_same_page():
    other = Application("Files", "https://files.example.com/")
    assert rendered("Applications", [WIKI, other]) == rendered("Applications", [other, WIKI])


@pytest.mark.parametrize("text", HOSTILE)
def test_what_looks_like_html_is_text(text: str):
    plain = rendered("Title", [Application("Name", "https://a.example.com/", "Text", "S", groups=("Group",))])
    hostile = rendered(text, [Application(text, f"https://a.example.com/?{text}", text, text, groups=(text,))])
    assert shape(hostile) == shape(plain)
    page = parsed(hostile)
    (link,) = page.xpath("//main//a")
    assert link.text == text
    assert link.get("href") == f"https://a.example.com/?{text}"
    for query in ("//h1", "//title", "//p[@class='description']", "//ul[@class='groups']/li"):
        assert [each.text for each in page.xpath(query)] == [text]


def test_the_page_loads_nothing_and_runs_nothing():
    text = rendered("Applications", [WIKI, Application("Files", "https://files.example.com/", image=IMAGE)])
    page = parsed(text)
    assert page.xpath("//script|//iframe|//object|//embed|//form|//base|//@style|//@*[starts-with(name(), 'on')]") == []
    for loaded in page.xpath("//link/@href|//@src"):
        assert loaded.startswith("data:image/")
    assert "@import" not in text
    assert "url(" not in text


def test_the_policy_is_the_first_that_a_browser_reads_and_allows_the_one_style_alone():
    page = parsed(rendered("Applications", [WIKI]))
    (style,) = page.xpath("//style")
    (policy,) = page.xpath("//meta[@http-equiv='Content-Security-Policy']")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert policy.get("content") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert [element.tag for element in page.xpath("//head/*")][:2] == ["meta", "meta"]
    assert page.xpath("//head/*")[1] is policy


def test_every_colour_of_a_tile_is_in_the_style():
    text = rendered("Applications", [])
    assert {int(number) for number in re.findall(r"\.hue(\d) \{", text)} == set(range(HUES))
    assert {Application(f"application {n}", "").hue for n in range(200)} == set(range(HUES))


@pytest.mark.parametrize(
    ("sign", "is_small"), [("W", False), ("Wi", False), ("Wik", True), ("🛠️", False), ("👩‍💻", False)]
)
def test_three_letters_are_small_enough_for_their_tile(sign: str, is_small: bool):
    text = rendered("Applications", [Application("Wiki", "https://wiki.example.com/", sign=sign)])
    assert (' letters"' in text) is is_small
