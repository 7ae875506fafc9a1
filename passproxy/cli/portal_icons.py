"""The images on the page of applications: read, examined, and written into it as data: URLs (RFC 2397)."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from lxml import etree

#: Each is in the page itself, a third larger: a hundred icons of this size are still one page of nine megabytes.
ICON_LIMIT_BYTES = 64 * 1024

#: How each kind begins. GIF is left out: nothing on the page moves.
_BEGINNINGS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"\x00\x00\x01\x00"), "image/x-icon"),
)

_SVG = "{http://www.w3.org/2000/svg}"

#: Browsers run none of it in an image. It is refused all the same: nobody's icon needs it.
_ACTIVE = frozenset({"script", "foreignobject", "iframe", "handler"})


def data_url(file: Path) -> str:
    """
    The image of a file as a data: URL. Its content says of which kind it is, and its name does not.

    Raises:
        ValueError: it cannot be read, is too large, or is no image that may be there.
    """
    try:
        if not file.is_file():
            raise ValueError("is not there" if not file.exists() else "is not a file")
        with file.open("rb") as reading:
            content = reading.read(ICON_LIMIT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > ICON_LIMIT_BYTES:
        raise ValueError(f"is larger than {ICON_LIMIT_BYTES // 1024} KiB")
    kind = next((kind for beginning, kind in _BEGINNINGS if beginning.match(content)), None) or _svg(content)
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _svg(content: bytes) -> str:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError:
        root = None
    if root is None or root.tag != f"{_SVG}svg":
        raise ValueError("is neither SVG, PNG, JPEG, WebP nor ICO")
    declared: Any = root.getroottree().docinfo.internalDTD
    if declared is not None and next(iter(declared.iterentities()), None) is not None:
        raise ValueError("is an SVG that declares entities")
    for element in root.iter(etree.Element):
        name = etree.QName(element).localname.lower()
        if name in _ACTIVE or any(etree.QName(each).localname.lower().startswith("on") for each in element.attrib):
            raise ValueError("is an SVG with something that runs; an icon needs none of it")
    return "image/svg+xml"
