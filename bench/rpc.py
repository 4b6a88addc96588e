"""A client of gRPC: one channel for each thread that calls."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from bench.load import Call, Driver, threads
from grpc_api.gen import order_pb2, order_pb2_grpc, product_pb2, product_pb2_grpc

_SECONDS = 10


def calls(address: str, name: str, token: str, products: Sequence[UUID]) -> Driver:
    """Calls of one method by somebody who is logged in: `Check` (health), `GetProduct` or `CreateOrder`."""
    return threads(partial(_client, address, name, token, products))


@contextmanager
def _client(address: str, name: str, token: str, products: Sequence[UUID]) -> Iterator[Call]:
    with grpc.insecure_channel(address) as channel:
        call = partial(_asked(channel, name, products), timeout=_SECONDS)
        yield partial(call, metadata=[("authorization", f"Bearer {token}")])


def _asked(channel: grpc.Channel, name: str, products: Sequence[UUID]) -> Callable[..., object]:
    match name:
        case "Check":
            health: Any = HealthStub(channel)
            return partial(health.Check, HealthCheckRequest())
        case "GetProduct":
            get = product_pb2_grpc.ProductServiceStub(channel).GetProduct
            return lambda **how: get(product_pb2.GetProductRequest(id=str(random.choice(products))), **how)
        case "CreateOrder":
            create = order_pb2_grpc.OrderServiceStub(channel).CreateOrder
            return lambda **how: create(_new_order(random.choice(products)), **how)
        case _:
            raise ValueError(f"Nobody calls {name}.")


def _new_order(product_id: UUID) -> order_pb2.CreateOrderRequest:
    line = order_pb2.Line(product_id=str(product_id), quantity=1)
    return order_pb2.CreateOrderRequest(items=[line])
