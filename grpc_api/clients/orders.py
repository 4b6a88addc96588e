"""The orders service, elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from queue import Empty as NothingYet
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from apps.common import stopping
from apps.common.databases import let_go
from apps.common.errors import ServiceUnavailable
from apps.common.ids import new_id
from apps.common.paging import PAGE_SIZE
from apps.orders import interface as orders_interface
from apps.orders.interface import (
    Actor,
    NewOrder,
    Order,
    OrderChange,
    OrderPage,
    OrderService,
    OrderStatus,
    OrderWatch,
    Refund,
    ShippingAddress,
    TimelineEntry,
)
from apps.products import interface as products_interface
from apps.products.interface import StockLine
from grpc_api.clients.remote import Peer, Remote
from grpc_api.convert import from_message, from_messages, to_message, to_messages, to_timestamp
from grpc_api.errors import registry
from grpc_api.gen import order_pb2 as pb
from grpc_api.gen.order_pb2_grpc import OrderServiceStub
from grpc_api.metadata import REQUEST_ID_KEY

# Those that come to the same when they are made twice: they look, or carry an id.
# Not what asks a payment provider: one that is silent would be asked again at once, where it is to be left in peace.
_REPEATABLE = ("CreateOrder", "GetOrder", "ListOrders", "GetOrderStatus", "GetTimeline", "ListRefunds")
# A payment provider is asked up to three times in one call, and given 20 seconds each time.
PROVIDER_SECONDS = 70.0
# To settle or expire a batch takes as long as it takes; what is not done by then is done next time.
BATCH_SECONDS = 600.0
# A little longer than the service lets anybody watch.
WATCH_SECONDS = 330.0
# The orders service asks the products service in turn, twice at most, with the same deadline for each call.
_CALLS_DEEP = 3
_TICK_SECONDS = 1.0


class RemoteOrderService(OrderService):
    """Speaks to the orders service over gRPC."""

    def __init__(self, peer: Peer) -> None:
        errors = registry(orders_interface, products_interface)
        self._remote = Remote(peer, OrderServiceStub, "order.OrderService", errors, _REPEATABLE)
        self._deadline = peer.deadline
        self._deep_deadline = _CALLS_DEEP * peer.deadline

    def place_order(self, *, order_id: UUID, user_id: UUID, new: NewOrder) -> Order:
        request = pb.CreateOrderRequest(
            order_id=str(order_id),
            user_id=str(user_id),
            items=to_messages(pb.Line, new.lines),
            shipping=_address(new.shipping),
            currency=new.currency,
            note=new.note,
        )
        return self._order("CreateOrder", request, self._deep_deadline)

    def get_order(self, *, order_id: UUID, actor: Actor) -> Order:
        return self._order("GetOrder", pb.GetOrderRequest(order_id=str(order_id), actor=_actor(actor)))

    def list_orders(
        self,
        *,
        actor: Actor,
        user_id: UUID | None = None,
        status: OrderStatus | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        cursor: UUID | None = None,
        page_size: int = PAGE_SIZE,
    ) -> OrderPage:
        request = pb.ListOrdersRequest(
            actor=_actor(actor),
            user_id=str(user_id) if user_id else None,
            status=status,
            created_from=to_timestamp(created_from) if created_from else None,
            created_to=to_timestamp(created_to) if created_to else None,
            page_token=str(cursor) if cursor else "",
            page_size=max(1, page_size),
        )
        answer = self._remote.call("ListOrders", request)
        return OrderPage(
            orders=from_messages(Order, answer.orders),
            next_cursor=UUID(answer.next_page_token) if answer.next_page_token else None,
        )

    def get_status(self, *, order_id: UUID, actor: Actor) -> OrderStatus:
        request = pb.GetOrderStatusRequest(order_id=str(order_id), actor=_actor(actor))
        return OrderStatus(self._remote.call("GetOrderStatus", request).status)

    def get_timeline(self, *, order_id: UUID, actor: Actor, after: int = 0) -> Sequence[TimelineEntry]:
        request = pb.GetTimelineRequest(order_id=str(order_id), actor=_actor(actor), after=after)
        return from_messages(TimelineEntry, self._remote.call("GetTimeline", request).entries)

    def watch_order(self, *, order_id: UUID, actor: Actor, after: int | None = None) -> OrderWatch | None:
        request = pb.WatchOrderRequest(order_id=str(order_id), actor=_actor(actor), after=after)
        return self._remote.breaker.call(lambda: self._watch(request))

    def change_order(self, *, order_id: UUID, actor: Actor, change: OrderChange) -> Order:
        request = pb.ChangeOrderRequest(
            order_id=str(order_id),
            actor=_actor(actor),
            items=_lines(change.lines),
            shipping=_address(change.shipping),
            note=change.note,
        )
        return self._order("ChangeOrder", request, self._deep_deadline)

    def pay_order(self, *, order_id: UUID, payment_id: UUID, actor: Actor, method: str, token: str) -> Order:
        request = pb.PayOrderRequest(
            order_id=str(order_id), payment_id=str(payment_id), actor=_actor(actor), method=method, token=token
        )
        return self._order("PayOrder", request, PROVIDER_SECONDS)

    def handle_provider_message(self, *, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        request = pb.HandleProviderMessageRequest(provider=provider, body=body, headers=dict(headers))
        self._remote.call("HandleProviderMessage", request, deadline=PROVIDER_SECONDS)

    def cancel_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        request = pb.CancelOrderRequest(order_id=str(order_id), actor=_actor(actor), reason=reason)
        return self._order("CancelOrder", request, PROVIDER_SECONDS)

    def refund_order(
        self,
        *,
        order_id: UUID,
        actor: Actor,
        reason: str = "",
        refund_id: UUID | None = None,
        amount: Decimal | None = None,
        lines: Sequence[StockLine] | None = None,
        restock: bool | None = None,
    ) -> Order:
        request = pb.RefundOrderRequest(
            order_id=str(order_id),
            actor=_actor(actor),
            reason=reason,
            # Chosen here if nobody has: the call may be repeated on the way.
            refund_id=str(refund_id or new_id()),
            amount=f"{amount:f}" if amount is not None else None,
            items=_lines(lines),
            restock=restock,
        )
        return self._order("RefundOrder", request, PROVIDER_SECONDS)

    def list_refunds(self, *, order_id: UUID, actor: Actor) -> Sequence[Refund]:
        request = pb.ListRefundsRequest(order_id=str(order_id), actor=_actor(actor))
        return from_messages(Refund, self._remote.call("ListRefunds", request).refunds)

    def ship_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        request = pb.ShipOrderRequest(order_id=str(order_id), actor=_actor(actor), reason=reason)
        return self._order("ShipOrder", request)

    def deliver_order(self, *, order_id: UUID, actor: Actor, reason: str = "") -> Order:
        request = pb.DeliverOrderRequest(order_id=str(order_id), actor=_actor(actor), reason=reason)
        return self._order("DeliverOrder", request)

    def expire_orders(self) -> int:
        expired: int = self._remote.call("ExpireOrders", Empty(), deadline=BATCH_SECONDS).expired
        return expired

    def settle_open_orders(self) -> int:
        settled: int = self._remote.call("SettleOpenOrders", Empty(), deadline=BATCH_SECONDS).settled
        return settled

    def _order(self, method: str, request: Message, deadline: float | None = None) -> Order:
        return from_message(Order, self._remote.call(method, request, deadline=deadline))

    def _watch(self, request: pb.WatchOrderRequest) -> "_Watch | None":
        """A stream that is open; None if the service has closed it without a word.

        Raises:
            DomainError: what the service raised.
            ServiceUnavailable: it is away, or says nothing.
        """
        watch = _Watch(self._remote, self._remote.stream("WatchOrder", request, seconds=WATCH_SECONDS))
        if not watch.began.wait(self._deadline):
            watch.close()
            raise ServiceUnavailable("orders")
        if watch.is_open:
            return watch
        if watch.failure is not None:
            raise self._remote.error_of(watch.failure, "WatchOrder")
        return None


class _Watch(OrderWatch):
    """A stream of changes. A thread of its own reads it: gRPC waits for a message without end, and we must not.

    However it breaks off, that is the end of it: whoever watches again misses nothing.
    """

    def __init__(self, remote: Remote, call: Any) -> None:  # noqa: ANN401 - a call that yields messages
        self.began = Event()
        self.is_open = False
        self.failure: grpc.RpcError | None = None
        self._remote = remote
        self._call = call
        self._news: SimpleQueue[TimelineEntry | None] = SimpleQueue()
        self._is_over = False
        Thread(target=self._read, name="watched-order", daemon=True).start()

    def __next__(self) -> TimelineEntry | None:
        let_go()
        if self._is_over or stopping.is_on():
            raise StopIteration
        try:
            entry = self._news.get(timeout=_TICK_SECONDS)
        except NothingYet:
            return None
        if entry is None:
            self._is_over = True
            raise StopIteration
        return entry

    def close(self) -> None:
        self._is_over = True
        self._call.cancel()

    def _read(self) -> None:
        try:
            # What an open stream says first.
            if any(key == REQUEST_ID_KEY for key, _ in self._call.initial_metadata()):
                self.is_open = True
                self.began.set()
            for message in self._call:
                self._news.put(from_message(TimelineEntry, message))
        except grpc.RpcError as failure:
            self.failure = failure
            if self.is_open and not self._is_over:
                self._remote.error_of(failure, "WatchOrder")
        finally:
            self.began.set()
            self._news.put(None)


def _actor(actor: Actor) -> pb.Actor:
    return to_message(pb.Actor, actor)


def _address(address: ShippingAddress | None) -> pb.ShippingAddress | None:
    return to_message(pb.ShippingAddress, address) if address else None


def _lines(lines: Sequence[StockLine] | None) -> pb.Lines | None:
    return pb.Lines(lines=to_messages(pb.Line, lines)) if lines is not None else None
