"""Time, as reports divide it: into days, weeks and months of a time zone, and into what the tables keep sums of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from apps.orders.reports.facts import QUARTER, quarter_of, start_of
from apps.orders.spans import Span

_DAY = timedelta(days=1)
_LONGEST = {Span.MONTH: timedelta(days=31), Span.QUARTER: timedelta(days=92)}
_UTC = ZoneInfo("UTC")


class Interval(StrEnum):
    """What each row of a report of sales is about. Weeks are those of ISO 8601: they begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Stretch:
    """From a moment, included, to another, excluded."""

    starts_at: datetime
    ends_at: datetime

    def __bool__(self) -> bool:
        return self.starts_at < self.ends_at

    def __contains__(self, at: datetime) -> bool:
        return self.starts_at <= at < self.ends_at

    def quarters(self) -> "Stretch":
        """The whole quarters of an hour in it; empty, or upside down, if there are none."""
        return Stretch(quarter_of(self.starts_at - timedelta.resolution) + QUARTER, quarter_of(self.ends_at))

    def less(self, core: "Stretch") -> Sequence["Stretch"]:
        """What its core, which may be upside down, leaves of it: nothing, one end or both."""
        ends = [Stretch(self.starts_at, core.starts_at), Stretch(core.ends_at, self.ends_at)]
        return [end for end in ends if end] if core.starts_at <= core.ends_at else [self]


@dataclass(frozen=True)
class Days:
    """From a day in UTC, included, to another, excluded."""

    first: date
    end: date

    def __bool__(self) -> bool:
        return self.first < self.end


@dataclass(frozen=True)
class Period:
    """A day, week or month, as far as it was asked for: `2026-11-23`, `2026-W48` or `2026-11`."""

    name: str
    stretch: Stretch


@dataclass(frozen=True)
class Part:
    """Days that are read from sums of one span, and added, or with a sign of -1 taken away."""

    span: Span
    days: Days
    sign: int = 1


@dataclass(frozen=True)
class Cover:
    """A stretch, put together from whole days in UTC and from what is left at its ends: less than a day each. The
    parts are the same days, put together from as few sums as can be.
    """

    whole: Days
    parts: Sequence[Part]
    edges: Sequence[Stretch]


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins in the zone. Where the clocks skip midnight, that is the moment at which they do."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def periods(stretch: Stretch, interval: Interval, zone: ZoneInfo) -> Iterator[Period]:
    """The stretch as periods in the zone, without a gap; the first and the last may be cut off."""
    day = _first_day(stretch.starts_at.astimezone(zone).date(), interval)
    while (begin := midnight(day, zone)) < stretch.ends_at:
        following = _next(day, interval)
        part = Stretch(max(begin, stretch.starts_at), min(midnight(following, zone), stretch.ends_at))
        # A zone that moves across the date line skips a day.
        if part:
            yield Period(_name(day, interval), part)
        day = following


def cover(stretch: Stretch) -> Cover:
    """How to read the stretch from sums of days and more."""
    whole = Days((stretch.starts_at + _DAY - timedelta.resolution).date(), stretch.ends_at.date())
    core = Stretch(midnight(whole.first, _UTC), midnight(whole.end, _UTC))
    return Cover(whole=whole, parts=list(_parts(whole)) if whole else [], edges=stretch.less(core))


def _parts(days: Days) -> Iterator[Part]:
    """The nearest whole quarters of a year, more or less some months, more or less some days."""
    for span, coarser in ((Span.DAY, Span.MONTH), (Span.MONTH, Span.QUARTER)):
        core = Days(_nearest(days.first, coarser), _nearest(days.end, coarser))
        if days.end - days.first < _LONGEST[coarser] or not core:
            yield Part(span, days)
            return
        yield from _difference(span, days.first, core.first)
        yield from _difference(span, core.end, days.end)
        days = core
    yield Part(Span.QUARTER, days)


def _difference(span: Span, first: date, end: date) -> Iterator[Part]:
    if first != end:
        yield Part(span, Days(first, end)) if first < end else Part(span, Days(end, first), sign=-1)


def _nearest(day: date, span: Span) -> date:
    """The day nearest to this one on which a span begins."""
    begin = start_of(day, span)
    following = start_of(begin + _LONGEST[span], span)
    return begin if day - begin <= following - day else following


def _first_day(day: date, interval: Interval) -> date:
    match interval:
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day - timedelta(days=day.weekday())
        case Interval.MONTH:
            return day.replace(day=1)


def _next(day: date, interval: Interval) -> date:
    """The first day of the period after the one that the day is in."""
    match interval:
        case Interval.DAY:
            return day + _DAY
        case Interval.WEEK:
            return day + timedelta(days=7 - day.weekday())
        case Interval.MONTH:
            return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _name(day: date, interval: Interval) -> str:
    match interval:
        case Interval.DAY:
            return day.isoformat()
        case Interval.WEEK:
            week = day.isocalendar()
            return f"{week.year}-W{week.week:02d}"
        case Interval.MONTH:
            return f"{day:%Y-%m}"
