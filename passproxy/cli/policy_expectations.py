"""The file of `passproxy policy --test`: requests, who makes them, and the verdict that is expected."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from passproxy.cli.policy_trial import Asker
from passproxy.core.errors import ConfigError
from passproxy.core.formats import Text, TextList
from passproxy.core.settings import AttributeName, Section

#: Of the file. Ten thousand expectations fit.
FILE_LIMIT_BYTES = 1024 * 1024


def _request(value: str) -> str:
    if len(value.split(" ")) != 2:
        raise ValueError("expected a method and a target, such as GET /admin")
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("expected an IPv4 or IPv6 address") from None


class Expectation(Section):
    """One line of the table. Without user, groups, roles and attributes nobody is signed in."""

    request: Annotated[str, AfterValidator(_request)]
    expect: Literal["allow", "login", "deny"]
    rule: Text | None = None
    user: Text | None = None
    groups: TextList = ()
    roles: TextList = ()
    attributes: dict[AttributeName, Text] = Field(default_factory=dict)
    address: Annotated[str, AfterValidator(_address), Field(alias="from")] = ""

    @property
    def method(self) -> str:
        return self.request.partition(" ")[0]

    @property
    def target(self) -> str:
        return self.request.partition(" ")[2]

    @property
    def asker(self) -> Asker:
        attributes = {str(name): value for name, value in self.attributes.items()}
        is_somebody = self.user or self.groups or self.roles or attributes
        user = self.user or attributes.get("user") or ("somebody" if is_somebody else None)
        return Asker(user, self.groups, self.roles, attributes, self.address)


def expectations_from(file: str, roles: Collection[str]) -> list[Expectation]:
    """
    The expectations of a YAML file, a list of mappings. `roles` are those that the configuration has.

    Raises:
        ConfigError: with all that is wrong with it.
    """
    try:
        text = Path(file).read_text("utf-8")
        data = yaml.safe_load(text) if len(text) <= FILE_LIMIT_BYTES else None
        found = TypeAdapter(list[Expectation]).validate_python(data)
    except OSError as error:
        raise ConfigError((f"{file}: cannot be read: {error.strerror}",)) from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise ConfigError((f"{file}: is not YAML",)) from None
    except ValidationError as error:
        raise ConfigError(tuple(_problem(file, each["loc"], each["msg"]) for each in error.errors())) from None
    unknown = [
        f"{file}: {number}. roles: {role} is not in access.roles"
        for number, each in enumerate(found, 1)
        for role in each.roles
        if role not in roles
    ]
    if not found:
        unknown.append(f"{file}: has no expectations")
    if unknown:
        raise ConfigError(tuple(unknown))
    return found


def _problem(file: str, location: tuple[int | str, ...], message: str) -> str:
    if not location:
        return f"{file}: must be a list of expectations, below {FILE_LIMIT_BYTES} bytes"
    number, *keys = location
    return f"{file}: {int(number) + 1}. {'.'.join(map(str, keys))}: {message.removeprefix('Value error, ')}"
