"""Serializer fields that say no to what databases or people cannot digest."""

from collections.abc import Callable, Sequence
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from rest_framework import serializers

from apps.common.money import MAX_DIGITS, MAX_PLACES, is_currency
from apps.common.validators import no_control_characters, single_line


class TextField(serializers.CharField):
    """Text that may have several lines."""

    rules: Sequence[Callable[[str], None]] = (no_control_characters,)

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - REST framework's own arguments
        super().__init__(**kwargs)
        # Our own rule speaks of NUL, too.
        kept = [each for each in self.validators if not isinstance(each, ProhibitNullCharactersValidator)]
        self.validators = [*kept, *self.rules]


class LineField(TextField):
    """One line of text."""

    rules = (no_control_characters, single_line)


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
