"""The columns of a file, and how a product's fields are written in their cells and read from them.

A cell that says what the export would write now says nothing new. So a file that was exported and sent back changes
nothing, however its values are formed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from apps.common.cells import bare, guard
from apps.common.errors import Problem
from apps.common.money import quantize
from apps.products.models import Product
from apps.products.transfer.sheets import UnreadableFile

EXPORTED = ("sku", "name", "description", "price", "currency", "category", "group", "tags", "active", "stock")
# Only read: they change what is on hand, and a file that was exported must not.
ADJUSTMENTS = ("on_hand", "stock_delta")
# Our own remark in a file of failed rows.
ERROR = "error"
ATTRIBUTE = "attribute:"

_KNOWN = (*EXPORTED, *ADJUSTMENTS, ERROR)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}
_YES_AND_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_AMOUNT = re.compile(r"[+-]?\d{1,20}(\.\d{0,20})?")
_COUNT = re.compile(r"[+-]?\d{1,15}")


class Unreadable(Exception):
    """A cell holds nothing that its column may hold."""

    def __init__(self, attr: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(detail, attr=attr)


class UnknownColumn(UnreadableFile):
    """A column of that name is not known: perhaps it is misspelt."""

    code = "unknown_column"


class DuplicateColumn(UnreadableFile):
    code = "duplicate_column"


class MissingColumn(UnreadableFile):
    code = "missing_column"


def names_of(header: Sequence[str]) -> list[str]:
    """The columns that a header means, without regard to case and spaces.

    Raises:
        UnknownColumn, DuplicateColumn, MissingColumn: names each that is wrong.
    """
    names = [_name_of(title) for title in header]
    unknown = [_unknown(title, name) for title, name in zip(header, names, strict=True) if not _is_known(name)]
    if unknown:
        raise UnknownColumn(*unknown)
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    if twice:
        raise DuplicateColumn(*(Problem(f"The column “{name}” is there more than once.", attr=name) for name in twice))
    if "sku" not in names:
        raise MissingColumn(Problem("A column “sku” is needed: it says which product is meant.", attr="sku"))
    return names


def title_of(attribute: str) -> str:
    """The column of an attribute."""
    is_plain = attribute == attribute.strip() and not attribute.startswith('"')
    return ATTRIBUTE + (attribute if is_plain else json.dumps(attribute, ensure_ascii=False))


def cells_of(row: Product, *, stock: int) -> dict[str, str]:
    """What the export writes of a product: column → cell. Attributes that it does not have are empty."""
    texts = {
        "sku": row.sku,
        "name": row.name,
        "description": row.description,
        "currency": row.currency,
        "category": row.category.slug if row.category else "",
        "group": row.group,
        "tags": "|".join(re.sub(r"([\\|])", r"\\\1", tag) for tag in row.tags),
    }
    return {
        **{name: guard(text) for name, text in texts.items()},
        "price": str(quantize(row.price, row.currency)),
        "active": "true" if row.active else "false",
        "stock": str(stock),
        **{title_of(name): _write_attribute(value) for name, value in row.attributes.items()},
    }


def changed(cells: Mapping[str, str], row: Product, *, stock: int) -> dict[str, str]:
    """The cells, bare, that say something else than the product now is."""
    now = cells_of(row, stock=stock)
    return {name: text for name, text in cells.items() if text != bare(now.get(name, ""))}


def read_cell(name: str, text: str) -> Any:  # noqa: ANN401 - what the column holds
    """The value of a bare cell.

    Raises:
        Unreadable: it is none.
    """
    if name == "price":
        return _read_amount(text)
    if name == "active":
        return _read_flag(text)
    if name in {"stock", *ADJUSTMENTS}:
        return _read_count(name, text)
    if name == "tags":
        tags = (re.sub(r"\\(.)", r"\1", tag).strip() for tag in re.findall(r"(?:\\.|[^|\\])+", text))
        return [tag for tag in tags if tag]
    return text.upper() if name == "currency" else text


def read_attributes(cells: Mapping[str, str], current: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes when those in the cells are set, and those whose cell is empty removed. Others stay."""
    merged = dict(current)
    for title, text in cells.items():
        if title.startswith(ATTRIBUTE):
            merged.pop(attribute_of(title), None)
            if text:
                merged[attribute_of(title)] = _read_attribute(text)
    return merged


def attribute_of(title: str) -> str:
    """The attribute that a column is for."""
    return _unquoted(title.removeprefix(ATTRIBUTE))


def _name_of(title: str) -> str:
    text = bare(title)
    prefix, colon, name = text.partition(":")
    if colon and prefix.strip().casefold() == "attribute":
        return title_of(_unquoted(name))
    return re.sub(r"[\s_-]+", "_", text).casefold()


def _unquoted(name: str) -> str:
    name = name.strip()
    try:
        quoted = json.loads(name) if name.startswith('"') else name
    except ValueError:
        return name
    return quoted if isinstance(quoted, str) else name


def _is_known(name: str) -> bool:
    return name in _KNOWN or (name.startswith(ATTRIBUTE) and name != ATTRIBUTE)


def _unknown(title: str, name: str) -> Problem:
    if not name:
        return Problem("A column has no name.")
    near = get_close_matches(name, _KNOWN, n=1)
    hint = f" Did you mean “{near[0]}”?" if near else f" An attribute's column is called “{ATTRIBUTE}{title.strip()}”."
    return Problem(f"There is no column “{title.strip()[:100]}”.{hint[:200]}", attr=title.strip()[:100])


def _write_attribute(value: object) -> str:
    """A text as it is, unless it would be read as something else: then, and for all else, as JSON."""
    if isinstance(value, str) and value and value == value.strip() and _read_attribute(value) == value:
        return guard(value)
    return json.dumps(value, ensure_ascii=False)


def _read_attribute(text: str) -> Any:  # noqa: ANN401 - a JSON scalar
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    if _NUMBER.fullmatch(text) or (text.startswith('"') and text.endswith('"')):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _read_amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        hint = " Write a point before the cents, and nothing between thousands." if "," in text else ""
        raise Unreadable("price", f"“{text[:50]}” is not an amount such as 9.99.{hint}")
    return Decimal(text)


def _read_flag(text: str) -> bool:
    try:
        return _YES_AND_NO[text.casefold()]
    except KeyError:
        raise Unreadable("active", f"“{text[:50]}” is neither true nor false.") from None


def _read_count(name: str, text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise Unreadable(name, f"“{text[:50]}” is not a whole number.")
    return int(text)
