"""A collector of traces, for tests: takes OTLP over gRPC and over HTTP, and keeps the spans."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Span:
    """A span as a collector gets it."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, str]
    links: Sequence[str]
    is_error: bool

    def __str__(self) -> str:
        return f"{self.service} {self.kind} {self.name}"


class Receiver:
    """What was received so far. `grpc_url` and `http_url` are where it listens."""

    def __init__(self, grpc_url: str, http_url: str) -> None:
        self.grpc_url = grpc_url
        self.http_url = http_url
        self.raw: list[bytes] = []
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def take(self, message: bytes) -> None:
        """Keep what an exporter has sent."""
        request = pb.ExportTraceServiceRequest.FromString(message)
        with self._lock:
            self.raw.append(message)
            self._spans += list(_spans(request))

    def spans(self) -> Sequence[Span]:
        with self._lock:
            return list(self._spans)

    def trace(self, trace_id: str) -> "Trace":
        return Trace([span for span in self.spans() if span.trace_id == trace_id])


class Trace:
    """The spans of one trace."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans

    def all(self, name: str, service: str) -> Sequence[Span]:
        return [span for span in self.spans if (span.name, span.service) == (name, service)]

    def one(self, name: str, service: str) -> Span:
        """The only span of that name in that service."""
        found = self.all(name, service)
        assert len(found) == 1, f"{len(found)} of {service} {name} in\n{self}"
        return found[0]

    def path_to(self, span: Span) -> Sequence[str]:
        """From the first span down to this one."""
        by_id = {each.span_id: each for each in self.spans}
        path = [str(span)]
        while span.parent_id in by_id:
            span = by_id[span.parent_id]
            path.append(str(span))
        return path[::-1]

    def below(self, parent: Span) -> Sequence[Span]:
        """The spans whose parent it is."""
        return [span for span in self.spans if span.parent_id == parent.span_id]

    def __str__(self) -> str:
        return "\n".join(" > ".join(self.path_to(span)) for span in self.spans)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A collector on free ports of this machine."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    port = server.add_insecure_port("127.0.0.1:0")
    http = ThreadingHTTPServer(("127.0.0.1", 0), _HttpHandler)
    receiver = Receiver(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{http.server_port}")
    stubs.add_TraceServiceServicer_to_server(_Service(receiver.take), server)  # type: ignore[no-untyped-call]
    http.take = receiver.take  # type: ignore[attr-defined]  # the handler's way to it
    server.start()
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.stop(grace=None).wait()
        http.shutdown()
        http.server_close()
        thread.join()


class _Service(stubs.TraceServiceServicer):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def Export(  # noqa: N802 - the protocol's name
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        self._take(request.SerializeToString())
        return pb.ExportTraceServiceResponse()


class _HttpHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_known = (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
        if is_known:
            self.server.take(body)  # type: ignore[attr-defined]  # see receiving()
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


def _spans(request: pb.ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=service,
                    name=span.name,
                    kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    attributes=_values(span.attributes),
                    links=[link.trace_id.hex() for link in span.links],
                    is_error=span.status.code == Status.STATUS_CODE_ERROR,
                )


def _values(attributes: Sequence[KeyValue]) -> Mapping[str, str]:
    return {each.key: each.value.string_value or str(each.value.int_value) for each in attributes}
