"""Gauges that nobody counts: they are read from a store when somebody asks for metrics (`config/metrics.py`)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone


@dataclass(frozen=True)
class Gauge:
    """A metric that goes up and down."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def of(self, value: float, *labels: str) -> "Sample":
        """What it is for these labels."""
        return Sample(self, float(value), labels)


@dataclass(frozen=True)
class Sample:
    """What a gauge is. Of several samples with the same labels the sum counts."""

    gauge: Gauge
    value: float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """Gauges that are read from one store: a database, by its alias, or the broker.

    `read` asks little of it: a few rows by an index, never more than a fixed number, however many there are.
    """

    store: str
    gauges: Sequence[Gauge]
    read: Callable[[], Iterable[Sample]]


def seconds_since(moment: datetime) -> float:
    """The age of what began at that moment; 0 by a clock that is behind the one that wrote it."""
    return max(0.0, (timezone.now() - moment).total_seconds())
