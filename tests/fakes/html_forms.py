"""
The forms of an HTML page, as far as a browser without scripts would submit them.

Reads; submits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urljoin

_SELF_SUBMITTING = re.compile(r"\.\s*submit\s*\(\s*\)")
_BUTTONS = ("submit", "image", "button", "reset")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: str
    type: str
    checked: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """One form. `action` is absolute; `fields` are in the order of the page."""

    action: str
    method: str
    fields: tuple[Field, ...] = ()
    id: str = ""

    def has(self, name: str) -> bool:
        return any(each.name == name for each in self.fields)

    @property
    def is_hidden(self) -> bool:
        """Whether there is nothing in it for a visitor to fill in."""
        return all(each.type in ("hidden", *_BUTTONS) for each in self.fields)

    def filled(self, values: Mapping[str, str]) -> Form:
        """With these values; a name that the form lacks is a mistake of the test."""
        unknown = set(values) - {each.name for each in self.fields}
        assert not unknown, f"the form has no {sorted(unknown)}, but {[each.name for each in self.fields]}"
        return replace(
            self,
            fields=tuple(
                replace(each, value=values[each.name], checked=True) if each.name in values else each
                for each in self.fields
            ),
        )

    def signed_in(self, username: str, password: str) -> Form:
        """With the password in the password field, and the name in the text field before it."""
        index = next(i for i, each in enumerate(self.fields) if each.type == "password")
        name = next(each.name for each in reversed(self.fields[:index]) if each.type in ("text", "email"))
        return self.filled({name: username, self.fields[index].name: password})

    def data(self, button: str | None = None) -> list[tuple[str, str]]:
        """What is sent: of the buttons only the one that is pressed, the first one unless named."""
        buttons = [each for each in self.fields if each.type in ("submit", "image")]
        pressed = next((each for each in buttons if button in (None, each.name, each.value)), None)
        return [(each.name, each.value) for each in self.fields if each.name and _is_sent(each, pressed)]


def _is_sent(each: Field, pressed: Field | None) -> bool:
    if each.type in _BUTTONS:
        return each is pressed
    return each.type not in ("checkbox", "radio") or each.checked


def forms(html: str, base_url: str) -> tuple[Form, ...]:
    reader = _Reader(base_url)
    reader.feed(html)
    reader.close()
    return tuple(reader.forms)


def submits_itself(html: str) -> bool:
    """Whether the page's one form is sent by a script as soon as it is loaded."""
    return bool(_SELF_SUBMITTING.search(html))


@dataclass(slots=True)
class _Open:
    form: Form
    fields: list[Field] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url
        self._open: _Open | None = None
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "base" and "href" in given:
            self._base_url = urljoin(self._base_url, given["href"])
        elif tag == "form" and self._open is None:
            action = urljoin(self._base_url, given.get("action", "").strip())
            self._open = _Open(Form(action, given.get("method", "get").lower(), id=given.get("id", "")))
        elif tag in ("input", "button", "textarea") and self._open is not None and "disabled" not in given:
            kind = given.get("type", "submit" if tag == "button" else "text").lower()
            # A checkbox without a value says "on" (HTML, 4.10.5.3.5).
            value = given.get("value", "on" if kind in ("checkbox", "radio") else "")
            self._open.fields.append(Field(given.get("name", ""), value, kind, "checked" in given))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._open is not None:
            self.forms.append(replace(self._open.form, fields=tuple(self._open.fields)))
            self._open = None


_REFRESH = re.compile(r"<noscript><meta http-equiv=\"refresh\" content=\"0; url=([^\"]*)\"></noscript>")


def refresh(html: str) -> str | None:
    """Where a page sends browsers without scripts on to, at once."""
    found = _REFRESH.search(html)
    return None if found is None else unescape(found[1])
