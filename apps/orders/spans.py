"""The stretches of time for which sales of a product are added up."""

from enum import StrEnum


class Span(StrEnum):
    """A day, a month or a quarter of a year (UTC)."""

    DAY = "day"
    MONTH = "month"
    QUARTER = "quarter"
