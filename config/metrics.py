"""`/metrics`, and the counting of requests. What else is counted, each app says in its `metrics.py`.

Processes that `manage.py serve` has started count in files of one folder, so that whoever answers tells of all of them.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from threading import Lock
from time import monotonic, perf_counter

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from apps.common.outages import Outage
from apps.common.readings import Gauge, Reading, Sample
from config import views

_ENDPOINT = ("method", "endpoint")
REQUESTS = Counter("http_requests_total", "Requests that were answered.", (*_ENDPOINT, "status"))
SECONDS = Histogram(
    "http_request_duration_seconds",
    "How long the answer took, of a stream until it began.",
    _ENDPOINT,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD = "OTHER"
UNKNOWN = "unknown"
# Answered by a middleware: nobody has looked whose address it is.
UNROUTED = "unrouted"
_GROUP = re.compile(r"\(\?P(<\w+>)[^()]*\)")
_METRICS = "/metrics"
_HOST = "localhost" if "*" in settings.ALLOWED_HOSTS else settings.ALLOWED_HOSTS[0].lstrip(".")
_STATIC = f"{settings.STATIC_URL}<path>"

for _module in settings.METRICS:
    import_module(_module)


class CountRequests:
    """Counts every request and its time, by the template of its address: as many labels as there are addresses,
    whatever is asked for. Only the access log is outside of it, so that its time is nearly all of it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        # Past the lock and the checks of `labels()`, which cost as much as counting does.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = perf_counter()
        if request.path_info == _METRICS:
            # Prometheus knows processes by addresses that are no names of the shop; the answer is the same for all.
            request.META["HTTP_HOST"] = _HOST
        response = self.get_response(request)
        method = request.method if request.method in METHODS else _OTHER_METHOD
        endpoint, status = _endpoint(request), response.status_code
        counter = self._counters.get((method, endpoint, status))
        if counter is None:
            counter = self._counters[method, endpoint, status] = REQUESTS.labels(method, endpoint, status)
        histogram = self._histograms.get((method, endpoint))
        if histogram is None:
            histogram = self._histograms[method, endpoint] = SECONDS.labels(method, endpoint)
        counter.inc()
        histogram.observe(perf_counter() - began)
        return response


def _endpoint(request: HttpRequest) -> str:
    match = request.resolver_match
    if match is None:
        return _STATIC if request.path.startswith(settings.STATIC_URL) else UNROUTED
    return UNKNOWN if match.func is views.no_such_address else _template(match.route)


@cache
def _template(route: str) -> str:
    """A route as people write it. Those that are regular expressions lose what they say of a part's characters."""
    return "/" + _GROUP.sub(r"\1", route).replace("^", "").rstrip("$")


def export(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - a view
    """All metrics, in Prometheus' text format."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    registry = REGISTRY
    if folder:
        _forget_the_dead(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry) + generate_latest(_stores()), content_type=CONTENT_TYPE_LATEST)


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of processes that are gone, however they ended. What they have counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        if not _is_alive(int(file.stem.rpartition("_")[2])):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


@cache
def _stores() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Stores([reading for path in settings.METRIC_READINGS for reading in import_string(path)]))
    return registry


STORE_UP = Gauge("store_up", "Whether the store that gauges are read from has answered in time.", ("store",))
_REMEMBERED_SECONDS = 5.0
_PATIENCE_SECONDS = 1.0


class Stores(Collector):
    """Reads gauges from their stores, each in a thread of its own: one that is away, or hangs, keeps nobody waiting for
    longer than a second, and lacks in the answer. What was read is remembered for some seconds.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._gauges = list(dict.fromkeys(chain([STORE_UP], *(reading.gauges for reading in readings))))
        by_store: defaultdict[str, list[Reading]] = defaultdict(list)
        for reading in readings:
            by_store[reading.store].append(reading)
        self._stores = [_Store(name, of_store) for name, of_store in by_store.items()]
        self._lock = Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """What there is, which registering need not read."""
        return (GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels) for gauge in self._gauges)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        sums: defaultdict[str, defaultdict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
        with self._lock:
            for store in self._stores:
                store.begin()
            deadline = monotonic() + _PATIENCE_SECONDS
            for sample in chain.from_iterable(store.finish(deadline) for store in self._stores):
                sums[sample.gauge.name][sample.labels] += sample.value
        for gauge, family in zip(self._gauges, self.describe(), strict=True):
            for labels, value in sums[gauge.name].items():
                family.add_metric(labels, value)
            yield family


class _Store:
    """What was read from one store, and when."""

    def __init__(self, name: str, readings: Sequence[Reading]) -> None:
        self._name = name
        self._readings = readings
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"metrics-{name}")
        self._outage = Outage(f"{name}, from which metrics are read,")
        self._under_way: Future[list[Sample]] | None = None
        self._known: Sequence[Sample] = ()
        self._until = 0.0

    def begin(self) -> None:
        """Start to read, unless that is remembered, or under way since an earlier request."""
        if self._under_way is None and monotonic() >= self._until:
            self._under_way = self._pool.submit(self._read)

    def finish(self, deadline: float) -> Sequence[Sample]:
        """What is remembered by now."""
        if self._under_way is not None:
            try:
                samples = self._under_way.result(timeout=max(0.0, deadline - monotonic()))
                self._known = [*samples, STORE_UP.of(1, self._name)]
                self._outage.ended()
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, the store does not answer
                self._known = [STORE_UP.of(0, self._name)]
                self._outage.began(error)
            if self._under_way.done():
                self._under_way, self._until = None, monotonic() + _REMEMBERED_SECONDS
        return self._known

    def _read(self) -> list[Sample]:
        try:
            return [sample for reading in self._readings for sample in reading.read()]
        finally:
            # It is another thread's in no time, and what it is for may be gone.
            connections.close_all()
