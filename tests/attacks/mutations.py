"""
Changes of documents and tokens, each chosen by a few numbers, so that hypothesis can search among them.

A change of a tree takes two places and a text; places are numbers below `PLACES` and mean a share
of whatever there is. `trees` and `byte_strings` are the strategies; both yield functions.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from hypothesis import strategies as st
from lxml import etree

from passproxy.demo.assertions import DS
from tests.fakes import idp_saml as idp
from tests.fakes.idp_saml import Element

PLACES = 10_000

#: What is written into documents: the victim above all, and what parsers and comparisons stumble over.
TEXTS = (
    idp.VICTIM,
    "",
    " ",
    f"{idp.VICTIM} {idp.USER}",
    "_evil",
    "#_evil",
    "#xpointer(/)",
    "file:///dev/zero",
    "2.0",
    "true",
    "groups",
    "http://www.w3.org/TR/1999/REC-xslt-19991116",
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments",
    "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key",
    "2001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "\u0130\u00df\u212a",
    "A" * 300,
)

#: Elements that mean something where they are put.
TAGS = (
    "saml:Assertion", "saml:Advice", "saml:NameID", "saml:Attribute", "saml:AttributeStatement", "saml:EncryptedAssertion",
    "samlp:Extensions", "samlp:Response", "samlp:Status", "ds:Signature", "ds:Object", "ds:Transforms", "ds:KeyInfo",
)  # fmt: skip

TreeEdit = Callable[[Element, int, int, str], None]


def _elements(root: Element) -> list[Element]:
    return [node for node in root.iter() if isinstance(node.tag, str)]


def _at(items: list[Element], place: int) -> Element:
    return items[place * len(items) // PLACES]


def _below(root: Element, place: int) -> Element:
    """An element that is not the root, or the root where there is no other."""
    return _at(_elements(root)[1:] or [root], place)


def _put(element: Element, root: Element, place: int) -> None:
    """Somewhere: as a child of any element, at any position."""
    targets = [one for one in _elements(root) if one is not element and element not in one.iterancestors()]
    target = _at(targets, place)
    target.insert(place % (len(target) + 1), element)


def _forged(element: Element, text: str) -> Element:
    copy = deepcopy(element)
    for one in _elements(copy):
        if one.text and idp.USER in one.text:
            one.text = text
    return copy


def duplicate(root: Element, where: int, to: int, text: str) -> None:
    copy = deepcopy(_below(root, where))
    copy.tail = None
    _put(copy, root, to)


def forge(root: Element, where: int, to: int, text: str) -> None:
    """A copy that speaks of somebody else, with another ID or the same one."""
    copy = _forged(_below(root, where), idp.VICTIM)
    if "ID" in copy.attrib and to % 2:
        copy.set("ID", "_evil")
    _put(copy, root, to)


def forge_here(root: Element, where: int, to: int, text: str) -> None:
    """The original moves to somewhere else, a forged copy takes its place: signature wrapping."""
    element = _below(root, where)
    parent = element.getparent()
    if parent is None:
        return
    copy = _forged(element, idp.VICTIM)
    parent.replace(element, copy)
    for signature in copy.findall(f"{{{DS}}}Signature") if to % 2 else ():
        copy.remove(signature)
    _put(element, root, to)


def move(root: Element, where: int, to: int, text: str) -> None:
    element = _below(root, where)
    if element is not root:
        _put(element, root, to)


def remove(root: Element, where: int, to: int, text: str) -> None:
    element = _below(root, where)
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def wrap(root: Element, where: int, to: int, text: str) -> None:
    element = _below(root, where)
    parent = element.getparent()
    if parent is not None:
        holder = idp.xml(f"<{TAGS[to % len(TAGS)]}/>")
        parent.replace(element, holder)
        holder.append(element)


def unwrap(root: Element, where: int, to: int, text: str) -> None:
    """The children take the place of their parent."""
    element = _below(root, where)
    parent = element.getparent()
    if parent is not None:
        position = parent.index(element)
        parent.remove(element)
        for child in reversed(list(element)):
            parent.insert(position, child)


def rename(root: Element, where: int, to: int, text: str) -> None:
    _at(_elements(root), where).tag = idp.xml(f"<{TAGS[to % len(TAGS)]}/>").tag


def insert(root: Element, where: int, to: int, text: str) -> None:
    element = idp.xml(f"<{TAGS[to % len(TAGS)]}/>")
    element.text = text
    _put(element, root, where)


def set_text(root: Element, where: int, to: int, text: str) -> None:
    _at(_elements(root), where).text = text


def set_tail(root: Element, where: int, to: int, text: str) -> None:
    _below(root, where).tail = text


def set_attribute(root: Element, where: int, to: int, text: str) -> None:
    element = _at(_elements(root), where)
    names = [*element.attrib, "ID", "Id", "{http://www.w3.org/XML/1998/namespace}id", "InResponseTo", "Format"]
    element.set(names[to % len(names)], text)


def drop_attribute(root: Element, where: int, to: int, text: str) -> None:
    holders = [one for one in _elements(root) if one.attrib]
    element = _at(holders, where)
    del element.attrib[list(element.attrib)[to % len(element.attrib)]]


def copy_attribute(root: Element, where: int, to: int, text: str) -> None:
    """The value of one attribute at another element: an ID twice, a time from elsewhere."""
    holders = [one for one in _elements(root) if one.attrib]
    source = _at(holders, where)
    name = list(source.attrib)[to % len(source.attrib)]
    _at(_elements(root), to).set(name, source.attrib[name])


def not_an_element(root: Element, where: int, to: int, text: str) -> None:
    """A comment, an instruction or an entity in the middle of a text."""
    element = _at(_elements(root), where)
    made = (etree.Comment("x"), etree.ProcessingInstruction("x"), etree.Entity("lt"), etree.Entity("evil"))
    node = made[to % len(made)]
    said = element.text or ""
    node.tail, element.text = said[len(said) // 2 :], said[: len(said) // 2]
    element.insert(0, node)


TREE_EDITS: tuple[TreeEdit, ...] = (
    duplicate, forge, forge_here, move, remove, wrap, unwrap, rename, insert,
    set_text, set_tail, set_attribute, drop_attribute, copy_attribute, not_an_element,
)  # fmt: skip

_PLACE = st.integers(0, PLACES - 1)


def trees() -> st.SearchStrategy[idp.Edit]:
    """One to three changes of a tree."""
    steps = st.lists(
        st.tuples(st.sampled_from(TREE_EDITS), _PLACE, _PLACE, st.sampled_from(TEXTS)), min_size=1, max_size=3
    )

    def edit_by(chosen: list[tuple[TreeEdit, int, int, str]]) -> idp.Edit:
        def edit(root: Element) -> None:
            for change, where, to, text in chosen:
                change(root, where, to, text)

        return edit

    return steps.map(edit_by)


def wrappings() -> st.SearchStrategy[idp.Edit]:
    """
    What is signed is still there, somewhere; where it is looked for stands a copy about the victim.

    All forms of signature wrapping are among these: either of the two parts, with any of the two
    IDs and signatures, at any two places, inside of anything.
    """

    def edit_by(
        is_response: bool,
        has_own_id: bool,
        is_bare: bool,
        first: int,
        second: int,
        holders: tuple[str | None, str | None],
    ) -> idp.Edit:
        def edit(root: Element) -> None:
            signed = root if is_response else idp.assertion_of(root)
            original, forged = deepcopy(signed), signed
            for one in _elements(forged):
                if one.text and idp.USER in one.text:
                    one.text = idp.VICTIM
            for signature in forged.findall(f"{{{DS}}}Signature") if is_bare else ():
                forged.remove(signature)
            if has_own_id:
                forged.set("ID", "_evil")
            _put(_held(original, holders[0]), root, first)
            if not is_response and second:
                root.remove(forged)
                _put(_held(forged, holders[1]), root, second)

        return edit

    holder = st.one_of(st.none(), st.sampled_from(TAGS))
    # Zero, which is chosen as often as all others, leaves the forged one where it is looked for.
    place = st.one_of(st.just(0), _PLACE)
    return st.builds(
        edit_by,
        st.booleans(),
        st.booleans(),
        st.booleans(),
        _PLACE,
        place,
        st.tuples(holder, st.one_of(st.none(), holder)),
    )


def _held(element: Element, holder: str | None) -> Element:
    element.tail = None
    if holder is None:
        return element
    outer = idp.xml(f"<{holder}/>")
    outer.append(element)
    return outer


def byte_strings(tokens: tuple[bytes, ...]) -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """One to three changes of bytes: flipped, replaced by one of `tokens`, cut out, doubled, cut off, exchanged."""
    kinds = st.sampled_from(("between", "insert", "replace", "flip", "cut", "double", "truncate", "exchange"))
    steps = st.lists(st.tuples(kinds, _PLACE, st.integers(0, 40), st.sampled_from(tokens)), min_size=1, max_size=3)

    def change_by(chosen: list[tuple[str, int, int, bytes]]) -> Callable[[bytes], bytes]:
        def change(content: bytes) -> bytes:
            for kind, place, length, token in chosen:
                content = _changed(content, kind, place * len(content) // PLACES, length, token)
            return content

        return change

    return steps.map(change_by)


def _changed(content: bytes, kind: str, start: int, length: int, token: bytes) -> bytes:
    if kind == "between":  # where a document stays one more often
        start, length = content.find(b">", start) + 1, 0
    before, span, after = content[:start], content[start : start + length], content[start + length :]
    if kind == "flip":
        return before + bytes([content[start] ^ 1 << length % 8]) + content[start + 1 :] if content else b""
    if kind == "truncate":
        return before
    if kind == "exchange":
        return before + after[:length] + span + after[length:]
    middle = {"between": token, "replace": token, "insert": token + span, "cut": b"", "double": span + span}
    return before + middle[kind] + after
