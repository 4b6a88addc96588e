"""Orders over REST: parse, one call of the service, answer."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.common.api.idempotency import answer_once
from apps.common.api.paging import NewestFirst
from apps.common.api.permissions import IsOrderStaff, caller_id
from apps.common.api.schema import IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, LINK, LOCATION, refusal
from apps.orders.api.actors import anyone, customer
from apps.orders.api.serializers import (
    ChangedOrderSerializer,
    NewOrderSerializer,
    OrderFilterSerializer,
    OrderSerializer,
    PaymentSerializer,
    ReasonSerializer,
    RefundRequestSerializer,
    RefundSerializer,
    ReplacedOrderSerializer,
    StatusSerializer,
    TimelineFilterSerializer,
    TimelineSerializer,
)
from apps.orders.interface import (
    TIMELINE_PAGE,
    NewOrder,
    Order,
    OrderAction,
    OrderChange,
    OrderStatus,
    PaymentStatus,
)
from apps.orders.services.reading import select
from apps.orders.services.rows import to_order
from config import services

_ONCE = [IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED]
_MOVED = refusal("invalid_transition", "order_busy")
_FILTERS = [
    OpenApiParameter("status", str, enum=[each.value for each in OrderStatus]),
    OpenApiParameter("from", OpenApiTypes.DATETIME, description="RFC 3339 time, included."),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="RFC 3339 time, excluded."),
]
_NEW_ORDER = OpenApiExample(
    "Two lamps by express",
    request_only=True,
    value={
        "items": [{"product_id": "01938d5e-7b1a-7c3e-9a51-0242ac120002", "quantity": 2}],
        "shipping": {"name": "Ada Lovelace", "address": "12 St James's Square", "city": "London", "method": "express"},
    },
)

_OTHER_LINES = OpenApiExample(
    "One lamp instead",
    request_only=True,
    value={"items": [{"product_id": "01938d5e-7b1a-7c3e-9a51-0242ac120002", "quantity": 1}]},
)
_REASON = OpenApiExample("Why", request_only=True, value={"reason": "Asked for by telephone."})


_CHANGED = {200: OrderSerializer, 409: refusal("out_of_stock", "invalid_transition", "order_busy")}


def _answer(order: Order, code: int = status.HTTP_200_OK) -> Response:
    # The interface's dataclasses are written as they are: `OrderSerializer` only describes them.
    return Response(order, status=code)


def _awaits_customer(answer: Response) -> bool:
    payment = getattr(answer.data, "payment", None)
    return payment is not None and payment.status == PaymentStatus.REQUIRES_ACTION


@extend_schema(tags=["orders"])
class OrderListView(APIView):
    pagination_class = NewestFirst

    @extend_schema(
        summary="List orders, newest first",
        description="Customers see their own, order staff all.",
        parameters=_FILTERS,
        responses=OrderSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        return _page(self, request)

    @extend_schema(
        summary="Place an order",
        description="Reserves the stock of every line, or of none: `out_of_stock` names each line that is short.",
        parameters=[*_ONCE, LOCATION],
        request=NewOrderSerializer,
        responses={201: OrderSerializer, 409: refusal("out_of_stock", "reservation_closed", "idempotency_in_progress")},
        examples=[_NEW_ORDER],
    )
    def post(self, request: Request) -> Response:
        return answer_once(self, request, "orders", lambda order_id: self._place(request, order_id))

    def _place(self, request: Request, order_id: UUID) -> Response:
        data = NewOrderSerializer.read(request)
        data["lines"] = data.pop("items")
        order = services.orders().place_order(order_id=order_id, user_id=caller_id(request), new=NewOrder(**data))
        response = _answer(order, status.HTTP_201_CREATED)
        response["Location"] = f"{request.path}/{order.id}"
        return response


@extend_schema(tags=["orders"])
class UserOrdersView(APIView):
    pagination_class = NewestFirst

    @extend_schema(summary="List the orders of one user", parameters=_FILTERS, responses=OrderSerializer(many=True))
    def get(self, request: Request, user_id: UUID) -> Response:
        return _page(self, request, user_id)


@extend_schema(tags=["orders"])
class OrderView(APIView):
    @extend_schema(summary="Read an order", responses=OrderSerializer)
    def get(self, request: Request, order_id: UUID) -> Response:
        return _answer(services.orders().get_order(order_id=order_id, actor=anyone(request)))

    @extend_schema(
        summary="Replace a pending order's lines",
        description="`items` are all its lines from then on. What else is not given stays as it is.",
        request=ReplacedOrderSerializer,
        responses=_CHANGED,
        examples=[_OTHER_LINES],
    )
    def put(self, request: Request, order_id: UUID) -> Response:
        return self._change(request, order_id, ReplacedOrderSerializer.read(request))

    @extend_schema(
        summary="Change a pending order",
        description="What is not given stays as it is; `items`, if given, are all its lines from then on.",
        request=ChangedOrderSerializer,
        responses=_CHANGED,
        examples=[_OTHER_LINES],
    )
    def patch(self, request: Request, order_id: UUID) -> Response:
        return self._change(request, order_id, ChangedOrderSerializer.read(request))

    @extend_schema(summary="Cancel an order", request=None, responses={200: OrderSerializer, 409: _MOVED})
    def delete(self, request: Request, order_id: UUID) -> Response:
        return _answer(services.orders().cancel_order(order_id=order_id, actor=anyone(request)))

    def _change(self, request: Request, order_id: UUID, data: dict[str, Any]) -> Response:
        data["lines"] = data.pop("items", None)
        change = OrderChange(**data)
        return _answer(services.orders().change_order(order_id=order_id, actor=customer(request), change=change))


@extend_schema(tags=["orders"])
class StatusView(APIView):
    @extend_schema(summary="Where an order stands", responses=StatusSerializer)
    def get(self, request: Request, order_id: UUID) -> Response:
        found = services.orders().get_status(order_id=order_id, actor=anyone(request))
        return Response({"id": order_id, "status": found.value})


@extend_schema(tags=["orders"])
class TimelineView(APIView):
    @extend_schema(
        summary="The changes of an order, oldest first",
        description=f"{TIMELINE_PAGE} at most; where there are more, the header `Link` has the address of the next.",
        parameters=[
            OpenApiParameter("after", int, description="Only changes after the one with this `sequence`."),
            LINK,
        ],
        responses=TimelineSerializer(many=True),
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        after = TimelineFilterSerializer.read(request)["after"]
        entries = services.orders().get_timeline(order_id=order_id, actor=anyone(request), after=after)
        response = Response(entries)
        if len(entries) == TIMELINE_PAGE:
            # RFC 8288. The next page may be empty: whether it is, is not worth another look.
            response["Link"] = f'<{request.build_absolute_uri(request.path)}?after={entries[-1].sequence}>; rel="next"'
        return response


@extend_schema(tags=["orders"])
class PayView(APIView):
    @extend_schema(
        summary="Pay an order",
        description="The sandbox takes `tok_visa`, and declines `tok_declined` and `tok_insufficient_funds`. A payment "
        "that its customer must confirm, such as `tok_3ds`, is answered with `requires_action` and what is to be done "
        "in `payment.next_action`; asked again with the same `Idempotency-Key`, the answer is what became of it.",
        parameters=_ONCE,
        request=PaymentSerializer,
        responses={
            200: OrderSerializer,
            402: refusal("payment_declined", "insufficient_funds"),
            409: refusal("invalid_transition", "order_busy", "idempotency_in_progress"),
        },
        examples=[OpenApiExample("A card", request_only=True, value={"method": "card", "token": "tok_visa"})],
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        def pay(payment_id: UUID) -> Response:
            return self._pay(request, order_id, payment_id)

        # A payment that waits for its customer is not decided, and what the customer needs for it is not to be kept.
        return answer_once(self, request, "orders", pay, is_final=lambda answer: not _awaits_customer(answer))

    def _pay(self, request: Request, order_id: UUID, payment_id: UUID) -> Response:
        data = PaymentSerializer.read(request)
        return _answer(
            services.orders().pay_order(order_id=order_id, payment_id=payment_id, actor=customer(request), **data)
        )


class ActionView(APIView):
    """Something that is done to an order, with a reason."""

    permission_classes: list[type[BasePermission]] = [IsOrderStaff]

    def act(self, request: Request, order_id: UUID, carry_out: OrderAction) -> Response:
        reason = ReasonSerializer.read(request)["reason"]
        return _answer(carry_out(order_id=order_id, actor=anyone(request), reason=reason))


@extend_schema(tags=["orders"])
class CancelView(ActionView):
    permission_classes = [IsAuthenticated]

    @extend_schema(
        summary="Cancel an order; a paid one is refunded",
        request=ReasonSerializer,
        responses={200: OrderSerializer, 409: _MOVED},
        examples=[_REASON],
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        return self.act(request, order_id, services.orders().cancel_order)


@extend_schema(tags=["orders"])
class ShipView(ActionView):
    @extend_schema(
        summary="Mark a paid order as shipped",
        request=ReasonSerializer,
        responses={200: OrderSerializer, 409: _MOVED},
        examples=[_REASON],
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        return self.act(request, order_id, services.orders().ship_order)


@extend_schema(tags=["orders"])
class DeliverView(ActionView):
    @extend_schema(
        summary="Mark a shipped order as delivered",
        request=ReasonSerializer,
        responses={200: OrderSerializer, 409: _MOVED},
        examples=[_REASON],
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        return self.act(request, order_id, services.orders().deliver_order)


@extend_schema(tags=["orders"])
class RefundView(APIView):
    permission_classes = [IsOrderStaff]

    @extend_schema(
        summary="Refund an order, in full or in part",
        description="By lines, by an amount, or all that is left. `restock` puts the goods back on the shelves; by "
        "default that is done as long as they have not been shipped.",
        parameters=_ONCE,
        request=RefundRequestSerializer,
        responses={
            200: OrderSerializer,
            402: refusal("payment_declined"),
            409: refusal("refund_too_large", "invalid_transition", "order_busy", "idempotency_in_progress"),
        },
        examples=[
            OpenApiExample(
                "One of two lamps",
                request_only=True,
                value={
                    "reason": "arrived broken",
                    "items": [{"product_id": "01938d5e-7b1a-7c3e-9a51-0242ac120002", "quantity": 1}],
                    "restock": False,
                },
            )
        ],
    )
    def post(self, request: Request, order_id: UUID) -> Response:
        return answer_once(self, request, "orders", lambda refund_id: self._refund(request, order_id, refund_id))

    def _refund(self, request: Request, order_id: UUID, refund_id: UUID) -> Response:
        data = RefundRequestSerializer.read(request)
        data["lines"] = data.pop("items", None)
        return _answer(
            services.orders().refund_order(order_id=order_id, refund_id=refund_id, actor=anyone(request), **data)
        )


@extend_schema(tags=["orders"])
class RefundListView(APIView):
    @extend_schema(summary="The refunds of an order, oldest first", responses=RefundSerializer(many=True))
    def get(self, request: Request, order_id: UUID) -> Response:
        return Response(services.orders().list_refunds(order_id=order_id, actor=anyone(request)))


@extend_schema(tags=["payments"])
class WebhookView(APIView):
    """Where the payment provider tells us that something has happened. Its signature is all the log-in there is."""

    authentication_classes: list[type[BaseAuthentication]] = []
    permission_classes = [AllowAny]

    @extend_schema(
        summary="Take notice of a payment",
        description="For the payment provider. What the message says is not believed: the provider is asked.",
        request=OpenApiTypes.OBJECT,
        responses={200: None, 400: refusal("invalid_signature"), 404: refusal("unknown_provider")},
    )
    def post(self, request: Request, provider: str) -> Response:
        # The signature is of the very bytes, so nobody parses them before.
        body = request._request.body  # noqa: SLF001 - REST framework's own way to Django's request
        services.orders().handle_provider_message(provider=provider, body=body, headers=request.headers)
        return Response()


def _page(view: APIView, request: Request, user_id: UUID | None = None) -> Response:
    wanted = OrderFilterSerializer.read(request)
    rows = select(
        anyone(request),
        user_id=user_id,
        status=wanted.get("status"),
        created_from=wanted.get("from"),
        created_to=wanted.get("to"),
    )
    # Links lead back as well as on, which the interface's own pages do not.
    paginator = NewestFirst()
    page = paginator.paginate_queryset(rows, request, view=view)
    return paginator.get_paginated_response([to_order(row) for row in page or []])
