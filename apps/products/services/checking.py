"""What the service takes, whoever asks for it: REST's serializers refuse the same, and say more about it."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import DecimalValidator, MaxLengthValidator

from apps.common.errors import InvalidInput, Problem
from apps.common.money import MAX_DIGITS, MAX_PLACES
from apps.common.validators import is_line
from apps.products.interface import MAX_LINES, ProductFilter, StockLine
from apps.products.models import Category, Product
from apps.products.validators import MAX_ALT_LENGTH, MAX_TAG_LENGTH, MAX_VALUE_LENGTH

MAX_ATTRIBUTE_FILTERS = 20
MAX_QUERY_LENGTH = 200
_MAX_NAME_LENGTH = 100
_MAX_GROUP_LENGTH = 64
_MAX_REASON_LENGTH = 200
_LONGEST_HOLD = timedelta(days=10 * 366)


def validate_fields(row: Product | Category, fields: Collection[str]) -> None:
    """
    Raises:
        ValidationError: one of these fields breaks a rule of the model.
    """
    row.clean_fields(exclude={field.name for field in row._meta.fields} - {*fields})
    if "description" in fields:
        _check_description(row)


def check_fields(row: Product | Category, fields: Collection[str]) -> None:
    """
    Raises:
        InvalidInput: one of these fields breaks a rule of the model. Names each that does.
    """
    try:
        validate_fields(row, fields)
    except ValidationError as error:
        raise InvalidInput(
            *(Problem(text, attr) for attr, texts in error.message_dict.items() for text in texts)
        ) from error
    for attr in {"name", "sku"} & {*fields}:
        if not getattr(row, attr).strip():
            raise InvalidInput(Problem("This field cannot be blank.", attr=attr))


def check_line(text: str, attr: str, *, most: int, least: int = 0) -> None:
    """
    Raises:
        InvalidInput: it is not one line of that many characters.
    """
    if not least <= len(text.strip()) <= len(text) <= most or not is_line(text):
        raise InvalidInput(Problem(f"This is one line of {least} to {most} characters.", attr=attr))


def check_alt(text: str) -> None:
    """
    Raises:
        InvalidInput: no picture is described like that.
    """
    check_line(text, "alt", most=MAX_ALT_LENGTH)


def check_adjustment(reason: str, delta: int | None, on_hand: int | None) -> None:
    """
    Raises:
        InvalidInput: it says both how much stock changes and what it is, or neither, or not why.
    """
    if (delta is None) == (on_hand is None):
        raise InvalidInput("Give either delta or on_hand.")
    if delta == 0:
        raise InvalidInput(Problem("A change of nothing is none.", attr="delta"))
    if on_hand is not None and on_hand < 0:
        raise InvalidInput(Problem("Ensure this value is greater than or equal to 0.", attr="on_hand"))
    check_line(reason, "reason", least=1, most=_MAX_REASON_LENGTH)


def check_lines(lines: Sequence[StockLine]) -> None:
    """
    Raises:
        InvalidInput: too many lines, or two of one product.
    """
    if len(lines) > MAX_LINES:
        raise InvalidInput(Problem(f"At most {MAX_LINES} products can be reserved at once.", attr="lines"))
    if len({line.product_id for line in lines}) < len(lines):
        raise InvalidInput(Problem("Each product has one line.", attr="lines"))


def check_hold(hold_for: timedelta) -> None:
    """
    Raises:
        InvalidInput: nothing is held for no time, or for longer than ten years.
    """
    if not timedelta(0) < hold_for <= _LONGEST_HOLD:
        raise InvalidInput(Problem("Stock is held for some time, and at most for ten years.", attr="hold_for"))


def check_query(text: str) -> None:
    """
    Raises:
        InvalidInput: nobody types so much.
    """
    if len(text) > MAX_QUERY_LENGTH:
        raise InvalidInput(Problem(f"Ensure this has at most {MAX_QUERY_LENGTH} characters.", attr="text"))


def check_filter(narrowed: ProductFilter) -> None:
    """
    Raises:
        InvalidInput: a condition that nothing could meet. Names it.
    """
    for attr, most in (("category", _MAX_NAME_LENGTH), ("tag", MAX_TAG_LENGTH), ("group", _MAX_GROUP_LENGTH)):
        if (text := getattr(narrowed, attr)) is not None:
            check_line(text, attr, most=most)
    for attr in ("min_price", "max_price"):
        _check_amount(getattr(narrowed, attr), attr)
    texts = [text for values in narrowed.attributes.values() for text in values]
    if len(texts) > MAX_ATTRIBUTE_FILTERS or len(narrowed.attributes) > MAX_ATTRIBUTE_FILTERS:
        raise InvalidInput(
            Problem(f"At most {MAX_ATTRIBUTE_FILTERS} values of attributes can be asked for.", attr="attributes")
        )
    for name in narrowed.attributes:
        check_line(name, "attributes", least=1, most=MAX_TAG_LENGTH)
    for text in texts:
        check_line(text, "attributes", most=MAX_VALUE_LENGTH)


def _check_amount(amount: Decimal | None, attr: str) -> None:
    if amount is None:
        return
    try:
        DecimalValidator(MAX_DIGITS, MAX_PLACES)(amount)
    except ValidationError as error:
        raise InvalidInput(Problem(error.messages[0], attr=attr)) from error
    if amount < 0:
        raise InvalidInput(Problem("Ensure this value is greater than or equal to 0.", attr=attr))


def _check_description(row: Product | Category) -> None:
    """Django leaves the length of a TextField to forms."""
    limit = Product._meta.get_field("description").max_length
    try:
        MaxLengthValidator(limit)(getattr(row, "description", ""))
    except ValidationError as error:
        raise ValidationError({"description": error}) from error
