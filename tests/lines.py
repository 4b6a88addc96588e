"""What is logged, as it is written: for tests that look at whole lines."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from apps.common.logs import json_lines


class Lines(logging.Handler):
    """Keeps lines of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(json_lines())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def all(self) -> Sequence[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]

    def of(self, logger: str) -> Sequence[dict[str, Any]]:
        """The lines of a logger."""
        return [line for line in self.all() if line["logger"] == logger]


@contextmanager
def written() -> Iterator[Lines]:
    """The lines that are written inside."""
    lines = Lines()
    root = logging.getLogger()
    root.addHandler(lines)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
