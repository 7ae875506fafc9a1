"""The checks in the order in which they run, and which of them an installation has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.interop import endings, examined
from tests.interop.provider import Case
from tests.interop.visit import Visit


@dataclass(frozen=True, slots=True)
class Check:
    """One column of the table."""

    run: Callable[[Visit], Awaitable[None]]
    applies: Callable[[Case], bool] = lambda case: True


#: All but the last follow one another; each is independent of the others but for the session that the
#: third one leaves behind, and the one before the last.
CHECKS: Mapping[str, Check] = {
    "doctor": Check(examined.examined),
    "closed": Check(Visit.closed_before_login),
    "deep link": Check(Visit.deep_link_kept),
    "as meant": Check(Visit.went_as_meant),
    "identity": Check(Visit.identity_asserted),
    "one login": Check(Visit.no_second_login),
    "no forgery": Check(Visit.not_forgeable),
    "renewed": Check(endings.renewed, lambda case: case.is_renewed),
    "logout": Check(endings.logged_out),
    "ended there": Check(endings.ended_at_provider, lambda case: case.ending is not None),
    "started there": Check(Visit.started_at_provider, lambda case: case.start_url is not None),
    "other person": Check(Visit.other_person),
}

#: When all installations at the provider are done with those.
NEW_KEY = "new key"
LAST: Mapping[str, Check] = {NEW_KEY: Check(endings.new_key, lambda case: case.old_key is not None)}

NAMES = (*CHECKS, *LAST)
