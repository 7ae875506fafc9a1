"""The page of applications as HTML: one file that loads nothing, runs nothing and needs nobody to serve it."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup

#: Colours for tiles without an image, each a class of portal.css.
HUES = 8


@dataclass(frozen=True, slots=True)
class Application:
    """What a tile says. All of it is public: nothing else of a configuration comes here."""

    name: str
    url: str
    description: str = ""
    #: An emoji or letters, which are shown where there is no image.
    sign: str = ""
    #: A data: URL, or none.
    image: str = ""
    groups: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Its host, and its port where it is no usual one: what people compare with the address bar."""
        return urlsplit(self.url).netloc

    @property
    def has_letters(self) -> bool:
        """Whether what is shown instead of an image is so many letters that they are to be small."""
        return len(self.sign) > 2 and self.sign.isalnum()

    @property
    def hue(self) -> int:
        """The same for the same name, on every machine."""
        return zlib.crc32(self.name.encode()) % HUES


def rendered(title: str, applications: Sequence[Application]) -> str:
    """The page, with the applications in the order of their names."""
    ours = files("passproxy.cli")
    style = (files("passproxy.web") / "pages" / "style.css").read_text("utf-8")
    style += (ours / "portal.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string((ours / "portal.html.j2").read_text("utf-8")).render(
        title=title,
        applications=sorted(applications, key=lambda each: (each.name.casefold(), each.url)),
        style=Markup(style),  # noqa: S704 - our own files
        # A browser takes the style by its hash, images from the page itself, and nothing else from anywhere.
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
    )
