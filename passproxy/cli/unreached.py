"""
Access rules that never decide anything, because those in front of them cover all that they do.

Asked of the code that decides about requests: a path that stands for all that a pattern covers is
looked up, and whoever answers first is the one who always does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passproxy.core.access import rules_of
from passproxy.core.policy import Policy, Rule

if TYPE_CHECKING:
    from passproxy.core.settings import Settings

#: Stands for whatever a star stands for: no pattern has it, so only a star fits it.
_ANYTHING = "\x01"

#: What `**` stands for: one segment, two, three.
_ACROSS = (_ANYTHING, f"{_ANYTHING}/{_ANYTHING}", f"{_ANYTHING}/{_ANYTHING}/{_ANYTHING}")

#: For all methods that no rule names.
_ANOTHER = "ANOTHER"


def unreached(settings: Settings) -> list[tuple[str, str]]:
    """The name of each such rule, and of one that is in front of it."""
    # A rule for some clients only leaves the others to those behind it, and one that reports leaves all.
    rules = [rule for rule in rules_of(settings) if not rule.is_report_only]
    settled = [rule for rule in rules if rule.action == "authenticate" or not rule.networks]
    policy = Policy(settled)
    every = {_ANOTHER}.union(*(rule.methods for rule in settled))
    found = []
    for rule in settled:
        first = {_first(policy, method, path) for path in _samples(rule) for method in rule.methods or every}
        if rule.name not in first:
            found.append((rule.name, min(first)))
    return found


def _first(policy: Policy, method: str, path: str) -> str:
    return policy.literal(method.encode(), path.encode(), None, lambda: "").rule.name


def _samples(rule: Rule) -> list[str]:
    return [sample.replace("*", _ANYTHING) for pattern in rule.paths for sample in _across(pattern)]


def _across(pattern: str) -> list[str]:
    samples = [pattern.replace("**", across) for across in _ACROSS]
    folder = pattern.removesuffix("/**").replace("**", _ANYTHING)
    # A folder is among what it covers, with and without a slash.
    return [*samples, folder, f"{folder}/"] if pattern.endswith("/**") else samples
