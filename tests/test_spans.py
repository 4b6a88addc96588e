"""Spans of one process: of requests, calls, the relay and subscribers, and what they say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from celery import current_app
from django.test import Client
from django_guid import clear_guid, set_guid
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pytest_django import Settings

from apps.common import tracing
from apps.common.databases import alias_of, atomic
from apps.common.ids import new_id
from apps.common.tracing import Kind, Tracer
from apps.events.consumer import subscriber
from apps.events.envelope import Event, Fact
from apps.events.models import OutboxEvent
from apps.events.outbox import publish
from apps.events.relay import relay_batch
from apps.orders.tests.factories import make_product, place
from apps.users.interface import Role, UserNotFound
from apps.users.services import LocalUserService
from apps.users.tests.factories import UserFactory
from config.spans import Discreet, OpenTelemetry, sampler
from grpc_api.clients.users import RemoteUserService
from grpc_api.servers.users import hosted
from grpc_api.tests.running import peer, serving
from tests.flow import LoggedIn, deliver_events, hang_up
from tests.lines import written

ALIAS = alias_of("orders")
THEIRS = f"00-{'a' * 32}-{'b' * 16}-01"


class Kept:
    """The spans that were made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def one(self, name: str) -> ReadableSpan:
        found = [span for span in self.all() if span.name == name]
        assert len(found) == 1, [span.name for span in self.all()]
        return found[0]

    def clear(self) -> None:
        self.exporter.clear()


@pytest.fixture
def spans() -> Iterator[Kept]:
    kept = Kept()
    provider = TracerProvider(sampler=sampler(1.0), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Discreet(kept.exporter)))
    tracing.use(OpenTelemetry(provider.get_tracer("tests")))
    yield kept
    tracing.use(Tracer())


def ids(span: ReadableSpan) -> tuple[str, str]:
    """The trace's, and the span's."""
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.django_db
class TestRequests:
    def test_a_request_is_a_span_named_after_its_route(self, client: Client, spans: Kept) -> None:
        address = f"/api/v1/products/{new_id()}"
        assert client.get(f"{address}?token=abc").status_code == 404
        (span,) = spans.all()
        assert (span.name, span.kind) == ("GET /api/v1/products/<uuid:product_id>", SpanKind.SERVER)
        assert attributes(span) == {
            "http.request.method": "GET",
            "http.route": "/api/v1/products/<uuid:product_id>",
            "url.path": address,
            "http.response.status_code": 404,
        }
        assert span.status.is_unset

    def test_who_watches_over_the_process_makes_none(self, client: Client, spans: Kept) -> None:
        for path in ("/health", "/ready", "/accepting", "/metrics"):
            assert client.get(path).status_code == 200
        assert spans.all() == ()

    def test_a_fault_of_ours_is_an_error(self, client: Client, spans: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.pages.render", None)
        client.raise_request_exception = False
        assert client.get("/").status_code == 500
        assert spans.one("GET /").status.description == "server error"

    def test_a_stranger_does_not_choose_what_is_traced(self, client: Client, spans: Kept, settings: Settings) -> None:
        client.get("/api/v1/products", headers={"traceparent": THEIRS})
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
        client.get("/api/v1/products", headers={"traceparent": THEIRS})
        client.get("/api/v1/products", headers={"traceparent": THEIRS[:-1] + "0"})  # not to be recorded
        client.get("/api/v1/products", headers={"traceparent": "00-rubbish"})
        strange, ours, rubbish = spans.all()
        assert [ids(span)[0] == "a" * 32 for span in (strange, ours, rubbish)] == [False, True, False]
        assert [parent(span) for span in (strange, ours, rubbish)] == ["", "b" * 16, ""]

    def test_a_stream_is_a_span_until_it_ends(self, log_in: Callable[..., LoggedIn], spans: Kept) -> None:
        customer: Any = log_in(Role.USER)
        order = place(customer.user.pk, (make_product(), 1))
        spans.clear()
        stream = customer.get(f"/api/v1/orders/{order.id}/events")
        next(iter(stream.streaming_content))
        assert spans.all() == ()
        hang_up(stream)
        assert spans.one("GET /api/v1/orders/<uuid:order_id>/events").status.is_unset

    def test_log_lines_name_the_trace(self, client: Client, spans: Kept) -> None:
        with written() as lines:
            client.get("/api/v1/products")
        (line,) = lines.of("access")
        assert (line["trace_id"], line["span_id"]) == ids(spans.all()[0])
        assert line["request_id"] != line["trace_id"]


@pytest.mark.django_db(transaction=True)
class TestCalls:
    def test_both_sides_are_spans_and_the_request_keeps_its_id(self, transactional_db: None, spans: Kept) -> None:
        user = UserFactory()
        with serving(hosted(LocalUserService())) as address, written() as lines:
            users = RemoteUserService(peer("users", address))
            set_guid("cc42deb6-8290-4f0e-9a51-0242ac120002")
            with tracing.span("before", Kind.SERVER):
                assert users.get_user(user_id=user.pk).id == user.pk
            with pytest.raises(UserNotFound):
                users.get_user(user_id=new_id())
            clear_guid()
        first, second = lines.of("access")
        assert first["request_id"] == second["request_id"] == "cc42deb6-8290-4f0e-9a51-0242ac120002"
        before = spans.one("before")
        calls = [span for span in spans.all() if span.name == "user.UserService/GetUser"]
        server, client = calls[:2]
        assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
        assert {ids(span)[0] for span in (before, client, server)} == {ids(before)[0]}
        assert (parent(client), parent(server)) == (ids(before)[1], ids(client)[1])
        what = {"rpc.system": "grpc", "rpc.service": "user.UserService", "rpc.method": "GetUser"}
        assert attributes(client) == attributes(server) == {**what, "rpc.grpc.status_code": 0}

    def test_a_refusal_is_the_callers_error_and_not_the_servers(self, transactional_db: None, spans: Kept) -> None:
        with serving(hosted(LocalUserService())) as address:
            users = RemoteUserService(peer("users", address))
            with tracing.span("before", Kind.SERVER), pytest.raises(UserNotFound):
                users.get_user(user_id=new_id())
        server, client, _ = spans.all()
        assert [attributes(span)["rpc.grpc.status_code"] for span in (server, client)] == [5, 5]
        assert (server.status.is_unset, client.status.description) == (True, "UserNotFound")

    def test_a_call_that_belongs_to_nothing_is_in_no_trace(self, transactional_db: None, spans: Kept) -> None:
        user = UserFactory()
        with serving(hosted(LocalUserService())) as address:
            RemoteUserService(peer("users", address)).get_user(user_id=user.pk)
        assert spans.all() == ()


seen: list[str] = []


@subscriber("orders.test_spans", ordered=True)
def _take(event: Event) -> None:
    seen.append(tracing.traceparent())
    if event.data:
        raise RuntimeError(f"no way for {event.data['who']}")


@pytest.fixture
def _heard(settings: Settings) -> None:
    seen.clear()
    settings.EVENT_SUBSCRIBERS = {"test.spans": ["orders.test_spans"]}
    assert "orders.test_spans" in current_app.tasks


def tell(subject: UUID, data: Mapping[str, str] | None = None) -> OutboxEvent:
    with atomic("orders"):
        publish("orders", Fact(type="test.spans", subject=subject, sequence=1, data=data or {}))
    return OutboxEvent.objects.using(ALIAS).latest("id")


@pytest.mark.django_db
@pytest.mark.usefixtures("_heard")
class TestEvents:
    def test_an_event_is_in_the_trace_of_its_request_and_so_is_its_effect(self, spans: Kept) -> None:
        set_guid("cc42deb682904f0e9a510242ac120002")
        with tracing.span("request", Kind.SERVER) as request:
            row = tell(new_id())
        clear_guid()
        assert (row.traceparent, row.request_id) == (request.traceparent, "cc42deb682904f0e9a510242ac120002")
        assert relay_batch(ALIAS) == 1

        trace, request_id = ids(spans.one("request"))
        sent, done = spans.one("publish test.spans"), spans.one("process orders.test_spans")
        assert [ids(span)[0] for span in (sent, done)] == [trace, trace]
        assert (parent(sent), parent(done)) == (request_id, ids(sent)[1])
        assert (sent.kind, done.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
        about = {"messaging.message.id": str(row.pk)}
        assert attributes(sent) == about
        assert attributes(done) == {**about, "messaging.destination.name": "test.spans"}
        assert [context[:-3] for context in seen] == [f"00-{trace}-{ids(done)[1]}"]
        # The batch and the task have a trace of their own, to which the event's refer.
        batch, task = spans.one("relay events"), spans.one("run orders.test_spans")
        assert (parent(batch), parent(task)) == ("", ids(batch)[1])
        assert [link.context.span_id for link in sent.links] == [batch.context.span_id]
        assert [link.context.span_id for link in done.links] == [task.context.span_id]

    def test_events_of_a_batch_stay_in_their_own_traces(self, spans: Kept) -> None:
        for name in ("one", "two"):
            with tracing.span(name, Kind.SERVER):
                tell(new_id())
        assert relay_batch(ALIAS) == 2
        traces = [ids(spans.one(name))[0] for name in ("one", "two")]
        for kind in ("publish test.spans", "process orders.test_spans"):
            assert [ids(span)[0] for span in spans.all() if span.name == kind] == traces
        assert [context[3:35] for context in seen] == traces

    def test_what_was_not_to_be_recorded_is_not(self, spans: Kept) -> None:
        row = tell(new_id())
        assert row.traceparent.endswith("-00")
        assert relay_batch(ALIAS) == 1
        assert sorted(span.name for span in spans.all()) == ["relay events", "run orders.test_spans"]
        assert seen[0][:35] == row.traceparent[:35]

    def test_an_effect_that_failed_is_an_error_that_names_nobody(self, spans: Kept) -> None:
        with tracing.span("request", Kind.SERVER):
            tell(new_id(), {"who": "ada@example.com"})
        assert relay_batch(ALIAS) == 1
        failed, *_ = [span for span in spans.all() if span.name == "process orders.test_spans"]
        assert failed.status.description == "RuntimeError"
        (event,) = failed.events
        assert (event.attributes or {})["exception.message"] == "no way for ***"
        assert "ada@" not in str((event.attributes or {})["exception.stacktrace"])

    def test_without_traces_nothing_of_it_is_there(self) -> None:
        row = tell(new_id())
        assert relay_batch(ALIAS) == 1
        assert row.traceparent.endswith("-00")
        assert seen == [""]


@pytest.mark.django_db
def test_from_the_request_that_pays_to_the_stock_that_is_deducted(log_in: Callable[..., LoggedIn], spans: Kept) -> None:
    customer: Any = log_in(Role.USER)
    order = place(customer.user.pk, (make_product(), 1))
    deliver_events()
    spans.clear()
    answer = customer.post(f"/api/v1/orders/{order.id}/pay", {"method": "card", "token": "tok_visa"}, format="json")
    assert answer.status_code == 200
    deliver_events()
    request, sent = spans.one("POST /api/v1/orders/<uuid:order_id>/pay"), spans.one("publish order.paid")
    done = spans.one("process products.settle_reservation")
    changed = spans.one("publish stock.changed")
    assert {ids(span)[0] for span in (request, sent, done, changed)} == {ids(request)[0]}
    assert [parent(span) for span in (sent, done, changed)] == [ids(request)[1], ids(sent)[1], ids(done)[1]]


class Away(InMemorySpanExporter):
    """A collector that is away at times."""

    is_away = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE if self.is_away else super().export(spans)


@pytest.mark.once
def test_a_collector_that_is_away_is_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    collector = Away()
    discreet = Discreet(collector)
    for _ in range(3):
        discreet.export([])
    collector.is_away = False
    for _ in range(3):
        discreet.export([])
    gone, back = [record.getMessage() for record in caplog.records]
    assert gone == "The collector of traces does not answer (SpansLost: spans are lost until it does)"
    assert back.startswith("The collector of traces answers again, after ")


@pytest.mark.once
@pytest.mark.parametrize(("ratio", "recorded"), [(0.0, 0), (1.0, 1)])
def test_a_share_of_what_begins_here_is_recorded(ratio: float, recorded: int) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler(ratio), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OpenTelemetry(provider.get_tracer("tests"))
    for kind, parent_of in (
        (Kind.SERVER, ""),
        (Kind.CLIENT, ""),
        (Kind.SERVER, THEIRS),
        (Kind.SERVER, THEIRS[:-1] + "0"),
    ):
        tracer.start("any", kind, parent=parent_of).end()
    assert len(exporter.get_finished_spans()) == recorded + 1  # whoever was before us has decided on the third
