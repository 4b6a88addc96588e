"""Placing an order past REST framework, which costs more than the order does.

Only for a plain request that is in order: JSON in, JSON out, a bearer token, no Idempotency-Key. Everything else, and
whatever is wrong, goes the whole way, which knows what to say.
"""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from apps.common.api.errors import to_response
from apps.common.api.renderers import to_json
from apps.common.errors import DomainError
from apps.common.ids import new_id
from apps.orders.api.serializers import DetailsSerializer
from apps.orders.interface import NewOrder
from apps.products.interface import MAX_LINES, MAX_QUANTITY, StockLine
from apps.users.interface import InvalidToken, Principal
from config import services
from config.authentication import bearer_of

View = Callable[..., HttpResponseBase]

_HEADERS = {"Vary": "Accept", "Allow": "GET, POST, HEAD, OPTIONS"}


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    product_id: UUID
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)]


class _Body(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    items: Annotated[list[_Line], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    currency: Any = msgspec.UNSET
    shipping: Any = msgspec.UNSET
    note: Any = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Body)


def place(whole_way: View) -> View:
    """Placing an order."""

    @csrf_exempt
    @wraps(whole_way)
    def view(request: HttpRequest) -> HttpResponseBase:
        caller, new = (_caller(request), _new_order(request)) if _is_plain(request) else (None, None)
        if caller is None or new is None:
            return whole_way(request)
        try:
            order = services.orders().place_order(order_id=new_id(), user_id=caller.id, new=new)
        except DomainError as error:
            return to_response(error, headers=_HEADERS)
        headers = {**_HEADERS, "Location": f"{request.path}/{order.id}"}
        return HttpResponse(to_json(order), content_type="application/json", status=201, headers=headers)

    return view


def _is_plain(request: HttpRequest) -> bool:
    headers = request.headers
    return (
        request.method == "POST"
        and request.content_type == "application/json"
        and not request.META.get("QUERY_STRING")
        and headers.get("Accept", "*/*") in {"*/*", "application/json"}
        and "Idempotency-Key" not in headers
    )


def _caller(request: HttpRequest) -> Principal | None:
    try:
        bearer = bearer_of(request)
    except InvalidToken:
        return None
    return bearer[0] if bearer else None


def _new_order(request: HttpRequest) -> NewOrder | None:
    try:
        body = _decoder.decode(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    given = {"currency": body.currency, "shipping": body.shipping, "note": body.note}
    given = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    lines = [StockLine(product_id=line.product_id, quantity=line.quantity) for line in body.items]
    if not given:
        return NewOrder(lines=lines)
    details = DetailsSerializer(data=given)
    return NewOrder(lines=lines, **details.validated_data) if details.is_valid() else None
