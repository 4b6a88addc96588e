"""Dataclasses ↔ messages, field by field, by name.

UUIDs and decimals travel as text, times as `Timestamp`, spans of time as `Duration`. An optional field that is not set
is None. A list or mapping that may be missing, or is inside of a mapping, is a message with the one field `values`.
What is worked out for a class is remembered, so that converting costs no more than the assignments.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from apps.common.errors import InvalidInput, Problem

_Message = TypeVar("_Message", bound=Message)
_Class = TypeVar("_Class")
_Choice = TypeVar("_Choice", bound=StrEnum)
_Read = Callable[[Any], Any]
_Write = Callable[[Message, Any], None]

_AMOUNT = re.compile(r"[+-]?[0-9]{1,2000}(\.[0-9]{1,2000})?")
# Classes that are no dataclass, and their messages: those who need one add it here.
READERS: dict[Any, _Read] = {}
WRITERS: dict[str, _Write] = {}


def to_message(kind: type[_Message], value: object) -> _Message:
    """The message of that kind with what `value` has under the names of its fields."""
    message = kind()
    _fill(message, value)
    return message


def to_messages(kind: type[_Message], values: Iterable[object]) -> list[_Message]:
    return [to_message(kind, value) for value in values]


def from_message(kind: type[_Class], message: Message) -> _Class:
    """The dataclass that the message describes.

    Raises:
        InvalidInput: a text is not what its field is to hold, which it names; or the dataclass refuses its fields.
    """
    values = given(kind, message)
    try:
        return kind(**values)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def from_messages(kind: type[_Class], messages: Iterable[Message]) -> list[_Class]:
    """
    Raises:
        InvalidInput: as for a single one.
    """
    return [from_message(kind, message) for message in messages]


def given(kind: Any, message: Message) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """What the message says of a dataclass's fields; a field that is not set, and has a default, is left out."""
    values: dict[str, Any] = {}
    for name, read, may_be_missing, has_default in _plan(kind, message.DESCRIPTOR):
        if may_be_missing and not message.HasField(name):
            if not has_default:
                values[name] = None
            continue
        try:
            values[name] = read(getattr(message, name))
        except (ValueError, ArithmeticError) as error:
            raise InvalidInput(Problem(str(error) or "Not a valid value.", name)) from error
    return values


def read_id(text: str, attr: str = "id") -> UUID:
    """
    Raises:
        InvalidInput: it is no UUID. Names `attr`.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput(Problem(f"{text[:50]!r} is not a UUID.", attr)) from error


def read_ids(texts: Iterable[str], attr: str) -> Sequence[UUID]:
    """
    Raises:
        InvalidInput: one of them is no UUID. Names `attr`.
    """
    return [read_id(text, attr) for text in texts]


def read_optional_id(message: Message, attr: str) -> UUID | None:
    """
    Raises:
        InvalidInput: it is set, and no UUID.
    """
    return read_id(getattr(message, attr), attr) if message.HasField(attr) else None


def read_choice(kind: type[_Choice], text: str, attr: str) -> _Choice:
    """
    Raises:
        InvalidInput: it is none of them.
    """
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidInput(Problem(f"{text[:50]!r} is none of {', '.join(kind)}.", attr)) from error


def read_time(message: Message, attr: str) -> datetime | None:
    """
    Raises:
        InvalidInput: it is set, and no time that we can count.
    """
    if not message.HasField(attr):
        return None
    try:
        return from_timestamp(getattr(message, attr))
    except ValueError as error:
        raise InvalidInput(Problem("Times are from the year 1 to the year 9999.", attr)) from error


def to_timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def from_timestamp(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def read_span(duration: Duration, attr: str) -> timedelta:
    """
    Raises:
        InvalidInput: it is longer than any span.
    """
    try:
        return duration.ToTimedelta()
    except (ValueError, ArithmeticError) as error:
        raise InvalidInput(Problem("This is no span of time.", attr)) from error


def to_duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def _fill(message: Message, value: object) -> None:
    special = WRITERS.get(message.DESCRIPTOR.full_name)
    if special is not None:
        special(message, value)
        return
    fields = _fields(message.DESCRIPTOR)
    if _is_wrapper(message.DESCRIPTOR):
        fields[0][1](message, value)
        return
    for name, write in fields:
        content = getattr(value, name)
        if content is not None:
            write(message, content)


@cache
def _is_wrapper(described: Descriptor) -> bool:
    """Whether the message stands for a list or a mapping, which by itself could neither be missing nor be in a map."""
    return [(field.name, field.is_repeated) for field in described.fields] == [("values", True)]


@cache
def _fields(described: Descriptor) -> Sequence[tuple[str, _Write]]:
    return [(field.name, _writer(field)) for field in described.fields]


def _writer(field: FieldDescriptor) -> _Write:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_writer(field)
    if field.is_repeated:
        return _list_writer(field)
    return _scalar_writer(field.name) if field.message_type is None else _message_writer(field)


def _scalar_writer(name: str) -> _Write:
    return lambda message, content: setattr(message, name, _plain(content))


def _message_writer(field: FieldDescriptor) -> _Write:
    name, kind = field.name, field.message_type
    assert kind is not None  # noqa: S101 - that is why we are here
    if kind.full_name == Timestamp.DESCRIPTOR.full_name:
        return lambda message, content: getattr(message, name).FromDatetime(content)
    if kind.full_name == Duration.DESCRIPTOR.full_name:
        return lambda message, content: getattr(message, name).FromTimedelta(content)

    def write(message: Message, content: object) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        _fill(inner, content)

    return write


def _list_writer(field: FieldDescriptor) -> _Write:
    name = field.name

    def write(message: Message, contents: Iterable[object]) -> None:
        for content in contents:
            _fill(getattr(message, name).add(), content)

    if field.message_type is not None:
        return write
    return lambda message, contents: getattr(message, name).extend(map(_plain, contents))


def _map_writer(field: FieldDescriptor) -> _Write:
    name, entry = field.name, field.message_type
    holds_messages = entry is not None and entry.fields_by_name["value"].message_type is not None

    def write(message: Message, contents: Mapping[object, object]) -> None:
        table = getattr(message, name)
        for key, content in contents.items():
            if holds_messages:
                _fill(table[_plain(key)], content)
            else:
                table[_plain(key)] = _plain(content)

    return write


def _plain(value: object) -> Any:  # noqa: ANN401 - what a scalar field takes
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value


@cache
def _plan(kind: Any, described: Descriptor) -> Sequence[tuple[str, _Read, bool, bool]]:  # noqa: ANN401 - a dataclass
    """Of each field of a dataclass: its name, how it is read, whether it may be missing, whether it has a default."""
    hints = get_type_hints(kind)
    plan = []
    for field in dataclasses.fields(kind):
        read, is_optional = _reader(hints[field.name])
        has_default = _has_default(field)
        may_be_missing = described.fields_by_name[field.name].has_presence and (is_optional or has_default)
        plan.append((field.name, read, may_be_missing, has_default))
    return plan


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _reader(hint: Any) -> tuple[_Read, bool]:  # noqa: ANN401 - a type, or what stands for one
    """How a field of that type is read, and whether it may be missing."""
    if hint in READERS:
        return READERS[hint], False
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        (inner,) = (each for each in arguments if each is not NoneType)
        return _single_reader(inner), True
    if isinstance(origin, type) and issubclass(origin, Mapping):
        read_key, read_value = (_single_reader(each) for each in arguments)
        return lambda table: {read_key(key): read_value(value) for key, value in table.items()}, False
    if origin is frozenset:
        read = _reader(arguments[0])[0]
        return lambda contents: frozenset(map(read, contents)), False
    if isinstance(origin, type) and issubclass(origin, Sequence):
        read = _reader(arguments[0])[0]
        return lambda contents: [read(each) for each in contents], False
    return _scalar_reader(hint), dataclasses.is_dataclass(hint)


def _single_reader(hint: Any) -> _Read:  # noqa: ANN401 - as above
    """How that type is read where no list or mapping can be, but a message of its own that holds one."""
    read, _ = _reader(hint)
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping | Sequence | frozenset):
        return lambda wrapper: read(wrapper.values)
    return read


def _scalar_reader(kind: type[Any]) -> _Read:
    if dataclasses.is_dataclass(kind):
        return lambda message: from_message(kind, message)
    if kind is datetime:
        return from_timestamp
    if kind is timedelta:
        return lambda duration: duration.ToTimedelta()
    if kind is Decimal:
        return _decimal
    if kind is UUID or issubclass(kind, StrEnum):
        return kind
    return lambda value: value


def _decimal(text: str) -> Decimal:
    # Python would take digits of every script, and underscores between them.
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is not an amount. Write it as 12.50.")
    number = Decimal(text)
    return number or abs(number)  # a zero has no sign
