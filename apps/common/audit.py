"""The form of an audit rule. Each service states its own; `manage.py audit` runs them all on live data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Something that must hold for every row. `checked` counts the rows that are looked at. `violations` yields one
    sentence for each row where it does not hold; its first two words name the row, such as "order 261122-7F3K9QXA".
    """

    name: str
    checked: Callable[[], int]
    violations: Callable[[], Iterable[str]]
