"""Serializer fields that say no to what databases or people cannot digest."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from django.core.validators import ProhibitNullCharactersValidator
from rest_framework import serializers

from apps.common.money import MAX_DIGITS, MAX_PLACES, is_currency
from apps.common.validators import no_control_characters, single_line

_Field = TypeVar("_Field", bound=serializers.Field[Any, Any, Any, Any])
_YEARS = range(1970, 2200)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# A plus that was not escaped arrives as a space.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[-+ ]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


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


class MomentField(serializers.Field[Any, Any, Any, Any]):
    """A day, or a time with its offset."""

    default_error_messages = {
        "invalid": "This is neither a day such as 2026-11-23 nor a time such as 2026-11-23T10:00:00+01:00.",
        "out_of_range": "The year must be from 1970 to 2199.",
    }

    def to_internal_value(self, data: Any) -> date | datetime:  # noqa: ANN401 - anything may come in
        moment = self._read(str(data))
        if moment.year not in _YEARS:
            self.fail("out_of_range")
        return moment

    def _read(self, text: str) -> date | datetime:
        try:
            if _DATE.fullmatch(text):
                return date.fromisoformat(text)
            if found := _TIME.fullmatch(text):
                time, offset = found.groups()
                return datetime.fromisoformat(f"{time}{offset.replace(' ', '+')}".upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        return self.fail("invalid")


class ZoneField(serializers.Field[Any, Any, Any, Any]):
    """The name of an IANA time zone."""

    default_error_messages = {"unknown_zone": "There is no such time zone. Name one as Europe/Berlin or UTC."}

    def to_internal_value(self, data: Any) -> ZoneInfo:  # noqa: ANN401 - as above
        if data not in _zones():
            self.fail("unknown_zone")
        return ZoneInfo(data)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def from_to(make: Callable[..., _Field], **options: object) -> Mapping[str, _Field]:
    """The fields `from` and `to`, for `get_fields`: as a keyword of Python, `from` cannot be an attribute."""
    return {"from": make(**options), "to": make(**options)}
