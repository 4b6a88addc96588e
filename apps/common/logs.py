"""Log lines, by structlog: what every line says, and what none may (`apps.common.masking`).

Lines of the standard library's loggers, ours and those of others, are made into the same lines as structlog's own.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from django_guid import get_guid
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, get_contextvars
from structlog.dev import ConsoleRenderer
from structlog.stdlib import ProcessorFormatter

from apps.common import tracing
from apps.common.masking import mask_value

Line = MutableMapping[str, Any]

# What an event's data, or a call's message, says of whom and what it is about.
TOLD = ("order_id", "user_id")


# Whether a request, a call or a task is being done: outside of them nobody would take back what was bound.
_is_apart: ContextVar[bool] = ContextVar("is_apart", default=False)


def bind(**values: object) -> None:
    """Have every further line of this request, call or task say so, too; outside of them it does nothing."""
    if _is_apart.get():
        bind_contextvars(**{name: str(value) for name, value in values.items()})


@contextmanager
def saying(values: Mapping[str, object]) -> Iterator[None]:
    """Have every line inside say so, too."""
    with bound_contextvars(**{name: str(value) for name, value in values.items()}):
        yield


@contextmanager
def apart() -> Iterator[None]:
    """What is bound inside is not said of what this thread does afterwards."""
    before, token = get_contextvars(), _is_apart.set(True)
    try:
        yield
    finally:
        _is_apart.reset(token)
        clear_contextvars()
        bind_contextvars(**before)


def told(data: Mapping[str, Any]) -> dict[str, object]:
    """What lines about an event with these data say of it."""
    return {name: data[name] for name in TOLD if data.get(name)}


def json_lines() -> logging.Formatter:
    """One JSON object a line."""
    return _formatter(_to_json)


def readable_lines() -> logging.Formatter:
    """Text for people; in colours, if it goes to a terminal."""
    return _formatter(_readable, ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False, event_key="message"))


def _formatter(*last: Any) -> logging.Formatter:  # noqa: ANN401 - structlog's processors
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return ProcessorFormatter(processors=[_complete, _mask, *last])


def _complete(_: object, __: str, line: Line) -> Line:
    """When, how bad, where; then the message, whose it is, and what went wrong."""
    record: logging.LogRecord = line.pop("_record")
    del line["_from_structlog"]
    message, exc_info = line.pop("event"), line.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    whole: Line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": message,
        "request_id": get_guid(),
        **_trace(),
        **get_contextvars(),
        **line,
    }
    if exc_info:
        whole["traceback"] = _PLAIN.formatException(exc_info)
    return whole


_PLAIN = logging.Formatter()


def _trace() -> dict[str, str]:
    _, *ids = tracing.traceparent().split("-")
    return {"trace_id": ids[0], "span_id": ids[1]} if ids else {}


def _mask(_: object, __: str, line: Line) -> Line:
    return {name: value if name in _OURS else mask_value(name, value) for name, value in line.items()}


# What is made here, and holds nothing of anybody's.
_OURS = frozenset({"time", "level", "logger", "request_id", "trace_id", "span_id", "status", "duration_ms", "bytes"})


def _to_json(_: object, __: str, line: Line) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()


def _readable(_: object, __: str, line: Line) -> Line:
    """As people read it: what is the same on every line, and what is not known, is left out."""
    line["timestamp"] = line.pop("time")[11:]
    # structlog puts it below the line.
    traceback = line.pop("traceback", None)
    if traceback:
        line["exception"] = traceback
    for name in ("trace_id", "span_id"):
        line.pop(name, None)
    return {name: value for name, value in line.items() if value is not None}
