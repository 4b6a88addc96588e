"""What is counted of calls; names are those of the gRPC ecosystem's Prometheus libraries."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_CALL = ("grpc_service", "grpc_method")

HANDLED = Counter("grpc_server_handled_total", "Calls that were answered.", (*_CALL, "grpc_code"))
HANDLING_SECONDS = Histogram("grpc_server_handling_seconds", "How long answering a call took.", _CALL)
CALLED = Counter("grpc_client_handled_total", "Calls that were made.", (*_CALL, "grpc_code"))
BREAKER_STATE = Gauge(
    "circuit_breaker_state",
    "Of the circuit to a service: 0 closed, 1 half-open, 2 open.",
    ("service",),
    # Of the processes that live, the one that sees it worst.
    multiprocess_mode="livemax",
)


def expect(service: str, methods: Iterable[str]) -> None:
    """Have a service's calls among the metrics before there is one."""
    for method in methods:
        HANDLED.labels(service, method, "OK")
        HANDLING_SECONDS.labels(service, method)
