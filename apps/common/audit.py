"""The form of an audit rule. Each service states its own; `manage.py audit` runs them all on live data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Something that must hold for every row. `violations` yields one sentence for each row where it does not;
    `checked` counts the rows that were looked at.
    """

    name: str
    checked: Callable[[], int]
    violations: Callable[[], Iterable[str]]
