"""What an answer must look like: exact values, and forms for those that nobody can know before."""

import re
from collections.abc import Callable, Iterator
from typing import Any

# So much of a value that is wrong is shown.
_LONGEST = 500
_UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class Mismatch(AssertionError):
    """An answer is not what was promised."""


class Form:
    """Equals every value of a form: `{"id": ID} == {"id": "01938d5e-…"}`."""

    def __init__(self, name: str, fits: Callable[[Any], bool]) -> None:
        self._name = name
        self._fits = fits

    def __eq__(self, other: object) -> bool:
        return self._fits(other)

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"<{self._name}>"


def text(name: str, pattern: str) -> Form:
    """Texts that match the pattern as a whole."""
    whole = re.compile(pattern, re.DOTALL)
    return Form(name, lambda value: isinstance(value, str) and whole.fullmatch(value) is not None)


def each(element: object) -> Form:
    """Lists, not empty, whose elements all are that."""
    return Form(
        f"list of {element!r}",
        lambda value: isinstance(value, list) and value != [] and all(element == one for one in value),
    )


def has(**fields: object) -> Form:
    """Objects with these fields, among others."""
    return Form(
        f"object with {fields!r}",
        lambda value: (
            isinstance(value, dict)
            and all(name in value and expected == value[name] for name, expected in fields.items())
        ),
    )


ID = text("UUIDv7", _UUID7)
TIME = text("time in UTC", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
SENTENCE = text("sentence", r"\S.+\S")
JWT = text("JWT", r"[\w-]+\.[\w-]+\.[\w-]+")
MONEY = text("amount", r"-?\d+(\.\d+)?")
COUNT = Form("count", lambda value: type(value) is int and value >= 0)
SOMETHING = text("text", r".+")
ANYTHING = Form("anything", lambda _: True)


def check(expected: object, actual: object, about: str) -> None:
    """
    Raises:
        Mismatch: names each place where they differ.
    """
    found = list(differences(expected, actual, "$"))
    if found:
        raise Mismatch(f"{about}: " + "; ".join(found))


def differences(expected: object, actual: object, place: str) -> Iterator[str]:
    """Where two values of JSON differ, in words."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in sorted(expected.keys() | actual.keys()):
            if name not in actual:
                yield f"{place}.{name} is missing"
            elif name not in expected:
                yield f"{place}.{name} is too much: {actual[name]!r}"
            else:
                yield from differences(expected[name], actual[name], f"{place}.{name}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif type(expected) in {bool, int, float} and type(expected) is not type(actual):
        yield f"{place} is {_short(actual)}, not {expected!r}"  # True is no 1
    elif not expected == actual:  # noqa: SIM201 - the form is asked, not the value
        yield f"{place} is {_short(actual)}, not {_short(expected)}"


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
