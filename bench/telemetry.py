"""Measures what traces cost: the same requests to shops that send none, a tenth and all of them to a collector.

The collector is one of our own that counts spans, and costs little. `django.setup()` comes first.
"""

import gzip
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median

from django.core.cache import cache
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.crowd import crowd, request, single
from bench.load import Case, Limits, compare
from bench.results import note
from bench.stock import body, customer, stock
from tests.shop import Shop

# The part of all traces that is sent, in percent.
SAMPLED = (0, 10, 100)
MOST_SECONDS = 300
_PRODUCTS = 200
# Spans are sent in batches, every few seconds.
_SOON = 15


def main(clients: str, rounds: str, seconds: str) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done in {MOST_SECONDS} s."))
    signal.alarm(MOST_SECONDS)
    folder = Path(os.environ["DATA_DIR"])
    Shop(folder, os.environ).manage("migrate_all")
    with ExitStack() as stack:
        # Before anything is connected to: it is forked.
        address, spans = stack.enter_context(collector())
        stack.callback(cache.delete_pattern, "*")  # type: ignore[attr-defined] # django-redis
        shops = {sampled: stack.enter_context(_opened(folder, address, sampled)) for sampled in SAMPLED}
        print(f"\nTraces, {clients} clients, {rounds} rounds of {seconds} s", flush=True)
        cases = _cases(shops)
        compare(
            [case for of_one in cases.values() for case in of_one], Limits(int(clients), int(rounds), float(seconds))
        )
        deadline = time.monotonic() + _SOON
        while not spans.value and time.monotonic() < deadline:
            time.sleep(0.1)
        if not spans.value:
            print("  Nothing to compare: this shop sends no traces.", flush=True)
            return
        for name, of_one in cases.items():
            for sampled, case in zip(SAMPLED, of_one, strict=True):
                print(case, flush=True)
                note("traces that are sent, in percent", name, median(case.rates), "/s", case.ratios, at=sampled)
        print(f"  Checked: spans have come, {spans.value:,} by now.", flush=True)


@contextmanager
def _opened(folder: Path, address: str, sampled: int) -> Iterator[Shop]:
    own = folder / str(sampled)
    own.mkdir()
    # Three shops' connections together must be fewer than the hundred that PostgreSQL allows by default.
    few = {"WEB_THREADS": "8", "EVENT_STREAMS": "1", "DATA_DIR": str(own)}
    traces = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(sampled / 100),
    }
    shop = Shop(own, {**os.environ, **few, **(traces if sampled else {})})
    try:
        shop.start(("-m", "bench.web"))
        yield shop
    finally:
        shop.kill()


def _cases(shops: dict[int, Shop]) -> dict[str, list[Case]]:
    """The same requests to each shop, compared with the one that sends nothing."""
    buyer, products = customer(), stock(_PRODUCTS)
    bodies = [body(random.sample(products, 2)) for _ in range(_PRODUCTS)]
    asked: dict[str, Callable[[str], list[bytes]]] = {
        "GET /products/{id}": lambda url: [request(url, "GET", f"/api/v1/products/{products[0]}", buyer.token)],
        "POST /orders": lambda url: [request(url, "POST", "/api/v1/orders", buyer.token, each) for each in bodies],
    }
    cases: dict[str, list[Case]] = {}
    for name, requests in asked.items():
        of_one = cases[name] = []
        for sampled, shop in shops.items():
            against = of_one[:1]
            of_one.append(Case(f"{name}, {sampled} %", crowd(shop.url, single(requests(shop.url))), against))
    return cases


@contextmanager
def collector() -> Iterator[tuple[str, "Synchronized[int]"]]:
    """The address of a collector of OTLP over HTTP in a process of its own, and how many spans it was sent."""
    context = multiprocessing.get_context("fork")
    spans = context.Value("q", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(spans))
    process = context.Process(target=server.serve_forever, daemon=True)
    process.start()
    server.socket.close()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        process.terminate()
        process.join()


def _handler(spans: "Synchronized[int]") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            if self.path == "/v1/traces":
                sent = ExportTraceServiceRequest.FromString(data)
                with spans.get_lock():
                    spans.value += sum(len(scope.spans) for each in sent.resource_spans for scope in each.scope_spans)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nothing: it would cost."""

    return Handler
