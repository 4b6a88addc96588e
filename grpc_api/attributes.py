"""Free attributes of products on the wire: 60 stays an integer, 60.0 a number, and null null."""

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE

from apps.common.errors import InvalidInput, Problem
from apps.products.interface import AttributeValue
from grpc_api.convert import READERS, WRITERS
from grpc_api.gen import product_pb2 as pb

_INT64 = range(-(2**63), 2**63)


def _read(message: pb.AttributeValue) -> AttributeValue:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise ValueError("An attribute has a value, though it may be null.")
    value: AttributeValue = getattr(message, kind)
    return None if kind == "null" else value


def _write(message: Message, value: AttributeValue) -> None:
    message.MergeFrom(_to_message(value))


def _to_message(value: AttributeValue) -> pb.AttributeValue:
    if value is None:
        return pb.AttributeValue(null=NULL_VALUE)
    if isinstance(value, bool):
        return pb.AttributeValue(truth=value)
    if isinstance(value, float):
        return pb.AttributeValue(number=value)
    if isinstance(value, str):
        return pb.AttributeValue(text=value)
    if value not in _INT64:
        raise InvalidInput(Problem("A number of the attributes is too large.", attr="attributes"))
    return pb.AttributeValue(integer=value)


def register() -> None:
    """Have `convert` read and write them."""
    READERS[AttributeValue] = _read
    WRITERS[pb.AttributeValue.DESCRIPTOR.full_name] = _write
