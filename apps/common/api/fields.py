"""Serializer fields that say no to what databases or people cannot digest."""

import re
from typing import Any

from rest_framework import serializers

from apps.common.money import MAX_DIGITS, MAX_PLACES, is_currency

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BREAK = re.compile(r"[\t\r\n]")


# Functions, as the OpenAPI document would give a RegexValidator's pattern as what the text must match.
def no_control_characters(text: str) -> None:
    """Refuse what no text of a shop needs."""
    if _CONTROL.search(text):
        raise serializers.ValidationError("Control characters are not allowed.", code="control_characters")


def single_line(text: str) -> None:
    """Refuse what would make several lines."""
    if _BREAK.search(text):
        raise serializers.ValidationError("Line breaks and tabs are not allowed here.", code="control_characters")


class LineField(serializers.CharField):
    """One line of text."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - REST framework's own arguments
        super().__init__(**kwargs)
        self.validators += [no_control_characters, single_line]


class TextField(serializers.CharField):
    """Text that may have several lines."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - REST framework's own arguments
        super().__init__(**kwargs)
        self.validators.append(no_control_characters)


class AmountField(serializers.DecimalField):
    """An amount of money: a number or a string in, a string out. Its places are checked against the currency later."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - REST framework's own arguments
        kwargs = {"max_digits": MAX_DIGITS, "decimal_places": MAX_PLACES, "min_value": 0, **kwargs}
        super().__init__(**kwargs)


class CurrencyField(serializers.CharField):
    """An ISO 4217 code, in capitals."""

    default_error_messages = {"unknown_currency": "{value} is not an ISO 4217 currency."}

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - REST framework's own arguments
        super().__init__(**{"max_length": 3, "min_length": 3, **kwargs})

    def to_internal_value(self, data: Any) -> str:  # noqa: ANN401 - anything may come in
        code: str = super().to_internal_value(data).upper()
        if not is_currency(code):
            self.fail("unknown_currency", value=code[:3])
        return code
