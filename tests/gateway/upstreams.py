"""What stands behind the gateway in tests: small real servers that remember what reached them."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.gateway.protos import Protos

SERVICES = ("user.UserService", "product.ProductService", "order.OrderService")


@dataclass(frozen=True)
class Seen:
    """A request that reached a service. Names of headers are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What a service answers."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"


class Service:
    """A service over HTTP, on a port of its own."""

    def __init__(self, name: str, jwks: object) -> None:
        self.name = name
        self.jwks = jwks
        self.reset()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self) -> None:
        """As it was at first."""
        self.is_healthy = self.has_keys = True
        self.begun = 0
        # The hosts by which the gateway itself has asked.
        self.asked_as: set[tuple[str, str]] = set()
        self.seen: list[Seen] = []
        self.answer: Callable[[Seen], Answer] = lambda _: Answer()
        # The end of a path, and what is sent there part by part.
        self.streams: dict[str, Callable[[], Iterator[bytes]]] = {}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    service: Service

    def handle_error(self, request: object, client_address: object) -> None:
        """The gateway has gone, as it may."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        service = self.server.service
        headers = {name.lower(): value for name, value in self.headers.items()}
        if "x-forwarded-proto" not in headers:
            service.asked_as.add((self.path, headers["host"]))
        if self.path == "/accepting" and headers.get("user-agent") == "Envoy/HC":
            self._send(Answer(200 if service.is_healthy else 503))
        elif self.path == "/.well-known/jwks.json" and "x-forwarded-proto" not in headers:
            self._send(Answer(200 if service.has_keys else 503, body=json.dumps(service.jwks).encode()))
        else:
            service.begun += 1
            seen = Seen(self.command, self.path, headers, self.rfile.read(int(headers.get("content-length", 0))))
            service.seen.append(seen)
            stream = next((made for end, made in service.streams.items() if self.path.endswith(end)), None)
            if stream:
                self._stream(stream())
            else:
                self._send(service.answer(seen))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815 - http.server's

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)  # with a `Server` header
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else answer.body)

    def _stream(self, parts: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class GrpcServices:
    """All services over gRPC, on one port, with health."""

    def __init__(self, protos: Protos) -> None:
        self.seen: list[tuple[str, Mapping[str, str]]] = []
        self.go_on = threading.Event()
        self._protos = protos
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        servicer = health.HealthServicer()
        for service in ("", *SERVICES):
            servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        # Messages are handed on as bytes.
        get_user: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._get_user)
        watch: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(self._watch)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("user.UserService", {"GetUser": get_user}),
                grpc.method_handlers_generic_handler("order.OrderService", {"WatchOrder": watch}),
            )
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _get_user(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._remember("GetUser", context)
        user_id = self._protos.read("user.GetUserRequest", request).id  # type: ignore[attr-defined]
        if user_id == "nobody":
            context.set_trailing_metadata((("error-code", "user_not_found"),))
            context.abort(grpc.StatusCode.NOT_FOUND, 'There is no "such" user.')
        if user_id == "slow":
            self.go_on.wait(20)
        return self._protos.make("user.GetUserResponse", id=user_id, username="ada").SerializeToString()

    def _watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._remember("WatchOrder", context)
        yield self._protos.make("order.WatchOrderResponse", status="pending").SerializeToString()
        self.go_on.wait(20)
        yield self._protos.make("order.WatchOrderResponse", status="paid").SerializeToString()

    def _remember(self, method: str, context: grpc.ServicerContext) -> None:
        self.seen.append((method, {name: str(value) for name, value in context.invocation_metadata()}))

    def reset(self) -> None:
        self.seen = []
        self.go_on.set()
        self.go_on = threading.Event()

    def stop(self) -> None:
        self.go_on.set()
        self._server.stop(grace=None).wait()


class Collector:
    """An OpenTelemetry collector that keeps what it gets, as bytes of OTLP."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))
        export: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._export)
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.received.append(request)
        return b""

    def stop(self) -> None:
        self._server.stop(grace=None).wait()
