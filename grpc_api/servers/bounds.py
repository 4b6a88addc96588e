"""What the texts and numbers of messages are to be like: no more than REST takes, and said in one table per service."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from apps.common.errors import InvalidInput, Problem
from apps.common.money import MAX_DIGITS, MAX_PLACES, is_currency
from apps.common.validators import is_line, is_text

# What is wrong with a field's content, in a sentence; None: nothing.
Rule = Callable[[Any], str | None]
# By the full name of a message, its fields that have a rule.
Bounds = Mapping[str, Mapping[str, Rule]]

_AMOUNT = re.compile(rf"-?\d{{1,{MAX_DIGITS - MAX_PLACES}}}(\.\d{{1,{MAX_DIGITS}}})?", re.ASCII)


def line(most: int, *, least: int = 0) -> Rule:
    """One line of text with so many characters."""
    return lambda text: _length(text, least, most) or (None if is_line(text) else "This must be one line of text.")


def text(most: int) -> Rule:
    """Text of several lines with so many characters."""
    return lambda text: _length(text, 0, most) or (None if is_text(text) else "Control characters are not allowed.")


def number(least: int, most: int) -> Rule:
    return lambda value: None if least <= value <= most else f"This must be from {least} to {most}."


def count(least: int, most: int) -> Rule:
    """So many of a repeated field."""
    return lambda each: None if least <= len(each) <= most else f"There must be {least} to {most} of these."


def amount(text: str) -> str | None:
    """A number with no more digits than we count; whether it is a sum that can be paid is for the service to say."""
    return None if _AMOUNT.fullmatch(text) else "This is not an amount."


def currency(text: str) -> str | None:
    return None if is_currency(text) else "This is not an ISO 4217 currency."


def identifier(text: str) -> str | None:
    try:
        UUID(text)
    except ValueError:
        return "This is not a UUID."
    return None


def check(message: Message, bounds: Bounds) -> None:
    """
    Raises:
        InvalidInput: names each field that breaks its rule.
    """
    problems = list(_problems(message, bounds, ""))
    if problems:
        raise InvalidInput(*problems)


def _problems(message: Message, bounds: Bounds, path: str) -> Collection[Problem]:
    found: list[Problem] = []
    for name, rule in bounds.get(message.DESCRIPTOR.full_name, {}).items():
        if _is_absent(message, name):
            continue
        if wrong := rule(getattr(message, name)):
            found.append(Problem(wrong, path + name))
    if found:
        # Too many lines are not looked at one by one.
        return found
    for field, content in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        inner = enumerate(content) if field.is_repeated else [("", content)]
        for place, each in inner:
            found += _problems(
                each, bounds, f"{path}{field.name}.{place}." if field.is_repeated else f"{path}{field.name}."
            )
    return found[:_MOST]


_MOST = 20


def _is_absent(message: Message, name: str) -> bool:
    return message.DESCRIPTOR.fields_by_name[name].has_presence and not message.HasField(name)


def _length(text: str, least: int, most: int) -> str | None:
    if len(text) > most:
        return f"This must have no more than {most} characters."
    return "This may not be empty." if len(text) < least else None
