"""Each service is whole over gRPC: nothing of its interface is missing on the way, and nothing is open to everybody."""

from collections.abc import Mapping
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apps.orders.interface import OrderService
from apps.products.interface import ProductService
from apps.users.interface import UserService
from grpc_api.clients import orders as orders_client
from grpc_api.clients import products as products_client
from grpc_api.clients import users as users_client
from grpc_api.gen import order_pb2, product_pb2, user_pb2
from grpc_api.servers import orders as orders_server
from grpc_api.servers import products as products_server
from grpc_api.servers import users as users_server
from grpc_api.servers.interceptors import Policy

_ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.once


class Service(NamedTuple):
    name: str
    interface: type
    client: type
    servicer: type
    policy: Policy
    descriptor: Any
    # Methods that have no RPC of their own, and RPCs that are no method.
    without_rpc: frozenset[str] = frozenset()
    without_method: frozenset[str] = frozenset()
    # RPCs that the field calls otherwise than we do.
    renamed: Mapping[str, str] = {}


SERVICES = [
    Service(
        "users",
        UserService,
        users_client.RemoteUserService,
        users_server.UserServicer,
        users_server.POLICY,
        user_pb2.DESCRIPTOR.services_by_name["UserService"],
        without_rpc=frozenset({"authenticate"}),
        without_method=frozenset({"validate_token"}),
    ),
    Service(
        "products",
        ProductService,
        products_client.RemoteProductService,
        products_server.ProductServicer,
        products_server.POLICY,
        product_pb2.DESCRIPTOR.services_by_name["ProductService"],
    ),
    Service(
        "orders",
        OrderService,
        orders_client.RemoteOrderService,
        orders_server.OrderServicer,
        orders_server.POLICY,
        order_pb2.DESCRIPTOR.services_by_name["OrderService"],
        renamed={"create_order": "place_order", "get_order_status": "get_status"},
    ),
]
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def methods_of(interface: type) -> set[str]:
    return set(interface.__abstractmethods__)  # type: ignore[attr-defined]


def rpcs_of(service: Service) -> set[str]:
    return {method.name for method in service.descriptor.methods}


def own(kind: type) -> set[str]:
    """The names of the functions that the class defines itself."""
    return {name for name, _ in getmembers(kind, isfunction) if name in vars(kind)}


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")


@each_service
def test_the_client_has_every_method_of_the_interface(service: Service) -> None:
    assert methods_of(service.interface) <= own(service.client)


@each_service
def test_every_method_has_an_rpc_of_its_name(service: Service) -> None:
    named = {snake(name) for name in rpcs_of(service)}
    named = {service.renamed.get(name, name) for name in named}
    assert named - service.without_method == methods_of(service.interface) - service.without_rpc


@each_service
def test_every_rpc_is_answered_and_says_who_may_call_it(service: Service) -> None:
    assert rpcs_of(service) == service.policy.keys()
    assert rpcs_of(service) <= own(service.servicer)


@each_service
def test_the_contract_suite_calls_every_method(service: Service) -> None:
    suite = (_ROOT / f"apps/{service.name}/tests/test_contract.py").read_text(encoding="utf-8")
    assert [name for name in sorted(methods_of(service.interface)) if f"{service.name}.{name}" not in suite] == []
