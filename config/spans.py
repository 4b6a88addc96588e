"""OpenTelemetry behind `apps.common.tracing`. Only `config/telemetry.py` loads this, where traces are wanted.

The server's and the client's side of a request, a call, a task and an event are spans that our own code makes, which
knows routes, errors and links. The drivers of stores are OpenTelemetry's own to instrument.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.conf import settings
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes, AttributeValue

from apps.common import tracing
from apps.common.masking import mask
from apps.common.outages import Outage
from apps.common.tracing import Kind, Span, Tracer

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_DRIVERS = (PsycopgInstrumentor, RedisInstrumentor, PymongoInstrumentor)
# Statements as they are written, with places for values; commands with a ? for each.
_PLAIN = frozenset({"db.statement", "db.query.text"})
# The longest of our own statements are shorter.
_LONGEST_TEXT = 8192

_running: "tuple[TracerProvider, Discreet] | None" = None


def start() -> None:
    """Make spans, and send them to the collector."""
    global _running  # noqa: PLW0603 - one for each process
    provider = TracerProvider(
        sampler=sampler(settings.TRACES_RATIO),
        resource=Resource.create({SERVICE_NAME: settings.OTLP_SERVICE_NAME}),
        span_limits=SpanLimits(max_span_attribute_length=_LONGEST_TEXT),
        shutdown_on_exit=False,
    )
    exporter = Discreet(_exporter())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    for instrumentor in _DRIVERS:
        instrumentor().instrument(tracer_provider=provider)
    tracing.use(OpenTelemetry(provider.get_tracer("cartwright")))
    _running = provider, exporter


def stop(seconds: float) -> None:
    """Send what there is, but wait no longer than that."""
    global _running
    if _running is None:
        return
    (provider, exporter), _running = _running, None
    tracing.use(Tracer())
    if exporter.is_away:
        # No further attempt is worth waiting for.
        exporter.shutdown()
    # The library itself would wait for half a minute, or however long one attempt takes.
    thread = threading.Thread(target=provider.shutdown, name="telemetry", daemon=True)
    thread.start()
    thread.join(seconds)


def sampler(ratio: float) -> Sampler:
    """Records that share of the traces that begin here; of others, those that whoever was before us records."""
    return ParentBased(root=_Roots(ratio))


class OpenTelemetry(Tracer):
    """Makes spans by OpenTelemetry."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(self, name: str, kind: Kind, *, parent: str = "", links: Sequence[str] = ()) -> Span:
        context = _read(parent)
        within = trace.set_span_in_context(NonRecordingSpan(context), Context()) if context else None
        linked = [Link(each) for each in map(_read, links) if each]
        return _RealSpan(self._tracer.start_span(name, within, SpanKind[kind], links=linked))

    def traceparent(self) -> str:
        return _write(trace.get_current_span().get_span_context())


class _RealSpan(Span):
    def __init__(self, real: trace.Span) -> None:
        self._real = real
        self.traceparent = _write(real.get_span_context())

    def set(self, attributes: Mapping[str, str | int]) -> None:
        self._real.set_attributes(attributes)

    def rename(self, name: str) -> None:
        self._real.update_name(name)

    @contextmanager
    def active(self) -> Iterator[None]:
        with trace.use_span(self._real, record_exception=False, set_status_on_exception=False):
            yield

    def end(self, error: BaseException | str | None = None) -> None:
        if isinstance(error, BaseException):
            self._real.record_exception(error)
            error = type(error).__name__
        if error:
            self._real.set_status(Status(StatusCode.ERROR, error))
        self._real.end()


class _Roots(TraceIdRatioBased):
    """A share of all traces. A statement that belongs to no request, task or event is in none: the relay looks for
    events several times a second.
    """

    def should_sample(  # noqa: PLR0917 - the library's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if kind is SpanKind.CLIENT:
            return SamplingResult(Decision.DROP)
        return super().should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)


class Discreet(SpanExporter):
    """Sends spans without what log lines may not have either, and says once that the collector is away."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._outage = Outage("The collector of traces")

    @property
    def is_away(self) -> bool:
        """Whether the collector did not answer when it was asked last."""
        return self._outage.is_on

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export([_masked(span) for span in spans])
        if result is SpanExportResult.SUCCESS:
            self._outage.ended()
        else:
            self._outage.began(SpansLost("spans are lost until it does"))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class SpansLost(Exception):
    """The collector has not taken them."""


def _exporter() -> SpanExporter:
    if settings.OTLP_PROTOCOL == "grpc":
        return GrpcExporter(endpoint=settings.OTLP_ENDPOINT)
    return HttpExporter(endpoint=f"{settings.OTLP_ENDPOINT}/v1/traces")


def _masked(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_masked_attributes(span.attributes),
        events=[Event(each.name, _masked_attributes(each.attributes), each.timestamp) for each in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, mask(span.status.description or "") or None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _masked_attributes(attributes: Attributes) -> Mapping[str, AttributeValue]:
    return {
        name: mask(value) if isinstance(value, str) and name not in _PLAIN else value
        for name, value in (attributes or {}).items()
    }


def _read(traceparent: str) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    if not match:
        return None
    context = SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16))
    )
    return context if context.is_valid else None


def _write(context: SpanContext) -> str:
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
