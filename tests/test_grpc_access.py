"""Who may call what over gRPC, by the table in `tests/permissions`: each method, as everybody."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from apps.orders.interface import SYSTEM
from apps.orders.tests.factories import make_product, place
from apps.users.interface import Role, Scope
from config import grpc as composition
from config import services
from grpc_api.servers import events, orders, products, users
from grpc_api.tests.running import bearer, channel_to, person, serving, token_for
from tests.blackbox.table import rows as rest_rows
from tests.flow import everything_stored
from tests.permissions.grpc import ROLES, Row, rows

pytestmark = pytest.mark.django_db(transaction=True)
ROLE_OF = {
    "customer": Role.USER,
    "catalog": Role.CATALOG_STAFF,
    "orders": Role.ORDER_STAFF,
    "admin": Role.ADMIN,
}
POLICIES = {each.SERVICE: each.POLICY for each in (users, products, orders, events)}
OWN = [row for row in rows() if row.service != "product.ProductService" and "own" in row.roles.values()]


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    with serving(*composition._hosted()) as address, channel_to(address) as channel:
        yield channel


def described(row: Row) -> MethodDescriptor:
    method: MethodDescriptor = Default().FindMethodByName(f"{row.service}.{row.method}")
    return method


def outcome(channel: grpc.Channel, row: Row, request: Message, token: str | None) -> str:
    """The status that a call ends with; a stream is read to its end."""
    method = described(row)
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    call: Any = make(
        f"/{row.service}/{row.method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    try:
        answer = call(request, metadata=bearer(token) if token else None, timeout=10)
        if method.server_streaming:
            list(answer)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def empty(row: Row) -> Message:
    return GetMessageClass(described(row).input_type)()


def test_the_table_has_every_method() -> None:
    assert {(row.service, row.method) for row in rows()} == {
        (service, method) for service, policy in POLICIES.items() for method in policy
    }


def test_who_may_call_what(channel: grpc.Channel) -> None:
    people = {name: person(role)[1] for name, role in ROLE_OF.items()}
    tokens = {str(scope): token_for(scope) for scope in Scope}
    wrong = []
    for row in rows():
        expected: dict[str | None, bool] = {None: False}
        expected |= {name: row.roles[name] != "-" for name in ROLES}
        expected |= {scope: row.scope in {None, scope} for scope in tokens}
        for who, may in expected.items():
            token = None if who is None else {**people, **tokens}[who]
            said = outcome(channel, row, empty(row), token)
            refusal = "UNAUTHENTICATED" if who is None else "PERMISSION_DENIED"
            if (said == refusal) == may:
                wrong.append((row.method, who, said))
    assert wrong == []


@pytest.mark.parametrize("row", OWN, ids=lambda row: row.method)
def test_what_is_somebody_elses_is_not_found(channel: grpc.Channel, row: Row) -> None:
    strangers = {name: person(ROLE_OF[name])[1] for name in ROLES if row.roles[name] == "own"}
    owner, owners_token = person()
    lamp = make_product(stock=10)
    request = about(row, owner, place(owner, (lamp, 1)).id, str(lamp.id))
    before = everything_stored()
    said = {name: outcome(channel, row, request, token) for name, token in strangers.items()}
    # Whose an order is to be is no secret.
    hidden = "PERMISSION_DENIED" if row.method == "CreateOrder" else "NOT_FOUND"
    assert said == dict.fromkeys(strangers, hidden)
    assert everything_stored() == before
    assert outcome(channel, row, request, owners_token) == "OK"


@pytest.mark.parametrize("row", [row for row in OWN if "any" in row.roles.values()], ids=lambda row: row.method)
def test_staff_find_everybodys(channel: grpc.Channel, row: Row) -> None:
    owner, _ = person()
    lamp = make_product(stock=10)
    for name in (name for name in ROLES if row.roles[name] == "any"):
        request = about(row, owner, place(owner, (lamp, 1)).id, str(lamp.id))
        assert outcome(channel, row, request, person(ROLE_OF[name])[1]) == "OK"


def about(row: Row, owner: UUID, order_id: UUID, product_id: str) -> Message:
    """A request about what is the owner's."""
    request: Any = empty(row)
    match row.method:
        case "GetUser":
            request.id = str(owner)
        case "GetUserByEmail":
            request.email = services.users().get_user(user_id=owner).email
        case "ListOrders":
            request.user_id = str(owner)
        case "CreateOrder":
            request.user_id = str(owner)
            request.items.add(product_id=product_id, quantity=1)
        case _:
            request.order_id = str(order_id)
    if row.method == "WatchOrder":
        # Of an order that changes no more: the stream ends by itself.
        services.orders().cancel_order(order_id=order_id, actor=SYSTEM)
    if row.method == "PayOrder":
        request.method, request.token = "card", "tok_visa"
    if row.method == "ChangeOrder":
        request.note = "Ring twice."
    message: Message = request
    return message


@pytest.mark.once
def test_rest_allows_the_same_people_the_same() -> None:
    allowed: dict[str, dict[str, bool]] = {}
    for method, path, caller, status in rest_rows():
        allowed.setdefault(f"{method} {path}", {})[caller] = status < 400
    wrong = []
    for row in rows():
        if row.rest:
            rest = allowed[row.rest]
            grpc_says = {name: row.roles[name] == "any" for name in ("catalog", "orders", "admin")}
            if row.method != "CreateOrder" and grpc_says != {name: rest[name] for name in grpc_says}:
                wrong.append((row.method, row.rest))
            assert rest["owner"] == (row.roles["customer"] != "-"), row.method
    assert wrong == []
