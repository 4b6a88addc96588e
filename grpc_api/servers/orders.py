"""`order.OrderService`: a message in, one call of the interface, a message out."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import RFC_4122, UUID

import grpc
from django.utils.datastructures import CaseInsensitiveMapping
from google.protobuf.empty_pb2 import Empty

from apps.common.errors import Forbidden, InvalidInput, Problem
from apps.common.ids import new_id
from apps.common.paging import PAGE_SIZE
from apps.orders.interface import (
    SYSTEM,
    Actor,
    NewOrder,
    OrderAction,
    OrderChange,
    OrderService,
    OrderStatus,
    ShippingAddress,
)
from apps.products.interface import MAX_LINES, MAX_QUANTITY, StockLine
from apps.users.interface import Role, Scope
from grpc_api.convert import (
    from_message,
    from_messages,
    read_choice,
    read_id,
    read_optional_id,
    read_time,
    to_message,
    to_messages,
)
from grpc_api.gen import order_pb2 as pb
from grpc_api.gen.order_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from grpc_api.servers import bounds, calls
from grpc_api.servers.bounds import Bounds, line, number
from grpc_api.servers.interceptors import EVERYONE, Access, Policy
from grpc_api.servers.server import Hosted

SERVICE = "order.OrderService"

_STAFF = frozenset({Role.ORDER_STAFF, Role.ADMIN})
_READ = Access(Scope.ORDERS_READ, EVERYONE)
_WRITE = Access(Scope.ORDERS_WRITE, EVERYONE)
_STAFF_WRITE = Access(Scope.ORDERS_WRITE, _STAFF)
_SHOP = Access(Scope.ORDERS_WRITE)

POLICY: Policy = {
    "CreateOrder": _WRITE,
    "GetOrder": _READ,
    "ListOrders": _READ,
    "GetOrderStatus": _READ,
    "GetTimeline": _READ,
    "WatchOrder": _READ,
    "ChangeOrder": _WRITE,
    "PayOrder": _WRITE,
    "CancelOrder": _WRITE,
    "RefundOrder": _STAFF_WRITE,
    "ListRefunds": _READ,
    "ShipOrder": _STAFF_WRITE,
    "DeliverOrder": _STAFF_WRITE,
    "HandleProviderMessage": _SHOP,
    "ExpireOrders": _SHOP,
    "SettleOpenOrders": _SHOP,
}

_LINES = bounds.count(1, MAX_LINES)
_REASON = {"reason": line(300)}

# The serializers of REST say the same of the same fields. They are the app's own, and cannot be asked from here:
# tests/test_grpc_orders.py compares the two.
BOUNDS: Bounds = {
    "order.Line": {"product_id": bounds.identifier, "quantity": number(1, MAX_QUANTITY)},
    "order.Lines": {"lines": _LINES},
    "order.ShippingAddress": {
        "name": line(200),
        "address": bounds.text(500),
        "city": line(100),
        "state": line(100),
        "country": line(100),
        "zip_code": line(20),
        "method": line(32, least=1),
    },
    "order.CreateOrderRequest": {"items": _LINES, "currency": bounds.currency, "note": bounds.text(1000)},
    "order.ChangeOrderRequest": {"note": bounds.text(1000)},
    "order.ListOrdersRequest": {"page_size": number(0, 2**31 - 1)},
    "order.GetTimelineRequest": {"after": number(0, 2**31 - 1)},
    "order.WatchOrderRequest": {"after": number(0, 2**31 - 1)},
    "order.PayOrderRequest": {"method": line(32, least=1), "token": line(200, least=1)},
    "order.CancelOrderRequest": _REASON,
    "order.RefundOrderRequest": {**_REASON, "amount": bounds.amount},
    "order.ShipOrderRequest": _REASON,
    "order.DeliverOrderRequest": _REASON,
}

# How far the time in an id that a person has chosen may be from ours.
_PRESENT = timedelta(days=1)


class OrderServicer(OrderServiceServicer):
    def __init__(self, orders: OrderService) -> None:
        self._orders = orders

    def CreateOrder(self, request: pb.CreateOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        order = self._orders.place_order(
            order_id=_new_order_id(request),
            user_id=_buyer(request),
            new=NewOrder(
                lines=_lines(request.items),
                shipping=_address(request),
                currency=request.currency if request.HasField("currency") else None,
                note=request.note,
            ),
        )
        return to_message(pb.Order, order)

    def GetOrder(self, request: pb.GetOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        return to_message(pb.Order, self._orders.get_order(order_id=_order_id(request), actor=_anyone(request)))

    def ListOrders(self, request: pb.ListOrdersRequest, context: grpc.ServicerContext) -> pb.ListOrdersResponse:
        page = self._orders.list_orders(
            actor=_anyone(request),
            user_id=read_optional_id(request, "user_id"),
            status=read_choice(OrderStatus, request.status, "status") if request.HasField("status") else None,
            created_from=read_time(request, "created_from"),
            created_to=read_time(request, "created_to"),
            cursor=read_id(request.page_token, "page_token") if request.page_token else None,
            page_size=request.page_size or PAGE_SIZE,
        )
        return pb.ListOrdersResponse(
            orders=to_messages(pb.Order, page.orders),
            next_page_token=str(page.next_cursor) if page.next_cursor else "",
        )

    def GetOrderStatus(
        self, request: pb.GetOrderStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetOrderStatusResponse:
        order_id = _order_id(request)
        status = self._orders.get_status(order_id=order_id, actor=_anyone(request))
        return pb.GetOrderStatusResponse(order_id=str(order_id), status=status)

    def GetTimeline(self, request: pb.GetTimelineRequest, context: grpc.ServicerContext) -> pb.GetTimelineResponse:
        entries = self._orders.get_timeline(order_id=_order_id(request), actor=_anyone(request), after=request.after)
        return pb.GetTimelineResponse(entries=to_messages(pb.TimelineEntry, entries))

    def WatchOrder(self, request: pb.WatchOrderRequest, context: grpc.ServicerContext) -> Iterator[pb.TimelineEntry]:
        watch = self._orders.watch_order(
            order_id=_order_id(request),
            actor=_anyone(request),
            after=request.after if request.HasField("after") else None,
        )
        if watch is None:
            return
        try:
            calls.open_stream(context)
            for entry in watch:
                if not context.is_active():
                    return
                calls.check_again()
                if entry is not None:
                    yield to_message(pb.TimelineEntry, entry)
        finally:
            watch.close()

    def ChangeOrder(self, request: pb.ChangeOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        change = OrderChange(
            lines=_lines(request.items.lines) if request.HasField("items") else None,
            shipping=_address(request),
            note=request.note if request.HasField("note") else None,
        )
        order = self._orders.change_order(order_id=_order_id(request), actor=_customer(request), change=change)
        return to_message(pb.Order, order)

    def PayOrder(self, request: pb.PayOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        order = self._orders.pay_order(
            order_id=_order_id(request),
            payment_id=read_optional_id(request, "payment_id") or new_id(),
            actor=_customer(request),
            method=request.method,
            token=request.token,
        )
        return to_message(pb.Order, order)

    def CancelOrder(self, request: pb.CancelOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        return _carry_out(self._orders.cancel_order, request)

    def RefundOrder(self, request: pb.RefundOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        order = self._orders.refund_order(
            order_id=_order_id(request),
            actor=_anyone(request),
            reason=request.reason,
            refund_id=read_optional_id(request, "refund_id"),
            amount=Decimal(request.amount) if request.HasField("amount") else None,
            lines=_lines(request.items.lines) if request.HasField("items") else None,
            restock=request.restock if request.HasField("restock") else None,
        )
        return to_message(pb.Order, order)

    def ListRefunds(self, request: pb.ListRefundsRequest, context: grpc.ServicerContext) -> pb.ListRefundsResponse:
        refunds = self._orders.list_refunds(order_id=_order_id(request), actor=_anyone(request))
        return pb.ListRefundsResponse(refunds=to_messages(pb.Refund, refunds))

    def ShipOrder(self, request: pb.ShipOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        return _carry_out(self._orders.ship_order, request)

    def DeliverOrder(self, request: pb.DeliverOrderRequest, context: grpc.ServicerContext) -> pb.Order:
        return _carry_out(self._orders.deliver_order, request)

    def HandleProviderMessage(self, request: pb.HandleProviderMessageRequest, context: grpc.ServicerContext) -> Empty:
        headers = CaseInsensitiveMapping(dict(request.headers))
        self._orders.handle_provider_message(provider=request.provider, body=request.body, headers=headers)
        return Empty()

    def ExpireOrders(self, request: Empty, context: grpc.ServicerContext) -> pb.ExpireOrdersResponse:
        return pb.ExpireOrdersResponse(expired=self._orders.expire_orders())

    def SettleOpenOrders(self, request: Empty, context: grpc.ServicerContext) -> pb.SettleOpenOrdersResponse:
        return pb.SettleOpenOrdersResponse(settled=self._orders.settle_open_orders())


_OfOrder = (
    pb.GetOrderRequest
    | pb.GetOrderStatusRequest
    | pb.GetTimelineRequest
    | pb.WatchOrderRequest
    | pb.ChangeOrderRequest
    | pb.PayOrderRequest
    | pb.CancelOrderRequest
    | pb.RefundOrderRequest
    | pb.ListRefundsRequest
    | pb.ShipOrderRequest
    | pb.DeliverOrderRequest
)
_Acting = _OfOrder | pb.ListOrdersRequest


def _carry_out(
    action: OrderAction, request: pb.CancelOrderRequest | pb.ShipOrderRequest | pb.DeliverOrderRequest
) -> pb.Order:
    order = action(order_id=_order_id(request), actor=_anyone(request), reason=request.reason)
    return to_message(pb.Order, order)


def _customer(request: _Acting) -> Actor:
    """Whom the caller acts as where an order is its customer's own matter."""
    who = calls.person()
    return Actor(user_id=who.id) if who else _named(request)


def _anyone(request: _Acting) -> Actor:
    """Whom the caller acts as: order staff see every order."""
    who = calls.person()
    return Actor(user_id=who.id, is_staff=who.role in _STAFF) if who else _named(request)


def _named(request: _Acting) -> Actor:
    """Whom a service token acts for."""
    return from_message(Actor, request.actor) if request.HasField("actor") else SYSTEM


def _order_id(request: _OfOrder) -> UUID:
    return read_id(request.order_id, "order_id")


def _buyer(request: pb.CreateOrderRequest) -> UUID:
    """Whose the new order is.

    Raises:
        Forbidden: a person orders for somebody else.
    """
    who = calls.person()
    if who is None:
        return read_id(request.user_id, "user_id")
    if read_optional_id(request, "user_id") not in {None, who.id}:
        raise Forbidden("An order is placed for oneself.")
    return who.id


def _new_order_id(request: pb.CreateOrderRequest) -> UUID:
    """The id that was chosen, or a new one.

    Raises:
        InvalidInput: orders are sorted by their ids, and the one that a person has chosen has no place there.
    """
    chosen = read_optional_id(request, "order_id")
    if chosen is None:
        return new_id()
    if calls.person() and not _is_of_now(chosen):
        raise InvalidInput(Problem("This must be a UUIDv7 that was made just now.", "order_id"))
    return chosen


def _is_of_now(chosen: UUID) -> bool:
    if chosen.variant != RFC_4122 or chosen.version != 7:  # noqa: PLR2004 - UUIDv7
        return False
    age = datetime.now(UTC).timestamp() - (chosen.int >> 80) / 1000
    return abs(age) < _PRESENT.total_seconds()


def _lines(lines: Iterable[pb.Line]) -> list[StockLine]:
    return from_messages(StockLine, lines)


def _address(request: pb.CreateOrderRequest | pb.ChangeOrderRequest) -> ShippingAddress | None:
    return from_message(ShippingAddress, request.shipping) if request.HasField("shipping") else None


def hosted(orders: OrderService) -> Hosted:
    """The service, for a server."""
    servicer = OrderServicer(orders)
    return Hosted(SERVICE, POLICY, lambda server: add_OrderServiceServicer_to_server(servicer, server), BOUNDS)
