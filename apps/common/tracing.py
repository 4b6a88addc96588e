"""Traces, as the shop's own code knows them: spans, and the W3C trace context that says where one belongs.

Nothing here makes any: while traces are off, every call does nothing, at the price of calling it. `config/telemetry.py`
puts OpenTelemetry behind it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from secrets import token_hex
from typing import Final
from uuid import UUID


class Kind(StrEnum):
    """What a span is of (OpenTelemetry's span kinds)."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span:
    """A piece of work in a trace. This one is in none."""

    # Its W3C trace context (`traceparent`, version 00): what is done elsewhere because of it has it as its parent.
    traceparent: str = ""

    def set(self, attributes: Mapping[str, str | int]) -> None:
        """Say more of it, in names of OpenTelemetry's semantic conventions."""

    def rename(self, name: str) -> None:
        """Call it something else than when it began."""

    def active(self) -> AbstractContextManager[None]:
        """Whatever begins inside has it as its parent."""
        return nullcontext()

    def end(self, error: BaseException | str | None = None) -> None:
        """The work is done, or has failed."""


class Tracer:
    """Makes spans. This one makes none."""

    def start(self, name: str, kind: Kind, *, parent: str = "", links: Sequence[str] = ()) -> Span:  # noqa: ARG002
        """A span below `parent`, by default below the one that is active; it has to be ended."""
        return NO_SPAN

    def traceparent(self) -> str:
        """The context of the span that is active; nothing, if none is."""
        return ""


NO_SPAN: Final = Span()
_tracer = Tracer()


def use(tracer: Tracer) -> None:
    """Have spans made by it from now on."""
    global _tracer  # noqa: PLW0603 - one for each process
    _tracer = tracer


def start(name: str, kind: Kind, *, parent: str = "", links: Sequence[str] = ()) -> Span:
    """See `Tracer.start`; `links` are the contexts of what it has to do with besides."""
    return _tracer.start(name, kind, parent=parent, links=links)


def traceparent() -> str:
    """The W3C trace context of what is being done; nothing, if that is in no trace."""
    return _tracer.traceparent()


def traceparent_of(request_id: str | None) -> str:
    """The W3C trace context of what is being done; outside of all traces one that nobody has recorded. The request's
    id is then the trace's, so that both find each other.
    """
    # A client may name its request, by a UUID in any of its forms.
    return traceparent() or f"00-{UUID(request_id).hex if request_id else token_hex(16)}-{token_hex(8)}-00"


@contextmanager
def span(name: str, kind: Kind, *, parent: str = "", links: Sequence[str] = ()) -> Iterator[Span]:
    """A span of what is done inside; what is raised there is its error."""
    made = start(name, kind, parent=parent, links=links)
    try:
        with made.active():
            yield made
    except BaseException as error:
        made.end(error)
        raise
    made.end()
