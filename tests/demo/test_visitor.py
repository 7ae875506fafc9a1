"""What the application reads out of a head."""

from __future__ import annotations

from passproxy.demo.visitor import received, visitor_from


def test_a_name_of_one_word_has_one_initial() -> None:
    visitor = visitor_from([("x-passproxy-user", "alice")])
    assert visitor
    assert (visitor.name, visitor.initials, visitor.groups) == ("alice", "A", ())


def test_initials_are_those_of_the_first_and_the_last_word() -> None:
    visitor = visitor_from([("X-Passproxy-Subject", "s"), ("X-Passproxy-Name", "ana maria de souza")])
    assert visitor
    assert visitor.initials == "AS"


def test_a_target_that_is_not_utf8_is_read_as_latin1() -> None:
    raw = b"/caf\xe9".decode("utf-8", "surrogateescape")
    assert received("GET", raw, []).target == "/café"


def test_query_values_are_decoded_for_reading() -> None:
    head = received("GET", "/a?x=%41+b&&y&x=%ff=", [])
    assert head.path == "/a"
    assert head.query == (("x", "A b"), ("y", ""), ("x", "\ufffd="))
