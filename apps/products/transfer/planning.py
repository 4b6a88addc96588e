"""What each row of a file would do: decided here and nowhere else, for a dry run and for a real one.

Deciding writes nothing. A real run does what was decided, through the service; a dry run does not: the two cannot
differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError

from apps.common.api.renderers import to_json
from apps.common.cells import bare
from apps.common.errors import DomainError, Problem
from apps.products.interface import NewProduct, ProductChange, SkuTaken, StockLevel
from apps.products.models import Category, ImportJob, ImportRow, Product
from apps.products.services.catalogue import check_price
from apps.products.services.categories import choose_category, find_categories, fold
from apps.products.services.checking import validate_fields
from apps.products.services.inventory import check_on_hand
from apps.products.services.levels import levels_of
from apps.products.transfer import columns
from apps.products.transfer.sheets import Line

MAX_NEW_CATEGORIES = 200
_KEY_LENGTH = 192
# Fields of a product that a cell fills as it is; the service knows the rules of the others.
_PLAIN = ("name", "description", "price", "currency", "group", "tags", "active")
# An empty cell leaves these as they are; it empties the others.
_NEVER_EMPTY = {"currency", "active", "stock", *columns.ADJUSTMENTS}

Outcome = ImportRow.Outcome


@dataclass(frozen=True)
class Plan:
    """What a row does: it makes a product, changes one, or does nothing."""

    line: Line
    sku: str
    outcome: str
    product_id: UUID | None = None
    new: NewProduct | None = None
    change: ProductChange | None = None
    revision: int | None = None
    adjustment: Mapping[str, int] | None = None
    problems: Sequence[Mapping[str, str | None]] = ()
    notes: Sequence[str] = ()
    new_category: str | None = None

    @property
    def writes(self) -> bool:
        return self.outcome in {Outcome.CREATED, Outcome.UPDATED}

    def refused(self, *problems: Mapping[str, str | None]) -> "Plan":
        """The same row, which has failed instead."""
        return Plan(self.line, self.sku, Outcome.FAILED, product_id=self.product_id, problems=problems)


class Planner:
    """Plans the rows of one part of a file. What they are about is read at once, in a few queries."""

    def __init__(self, job: ImportJob, lines: Sequence[Line]) -> None:
        self._names = columns.names_of(job.columns)
        skus = [key_of(self.sku_of(line)) for line in lines]
        rows = Product.objects.filter(sku_folded__in=skus).select_related("category")
        self._products = {row.sku_folded: row for row in rows}
        self._levels = levels_of([row.pk for row in self._products.values()])
        earlier = ImportRow.objects.filter(job=job, sku_folded__in=skus).exclude(number__in=[li.number for li in lines])
        self._seen = dict(earlier.order_by("-number").values_list("sku_folded", "number"))
        self._categories = self._read_categories(lines)
        self._made = {fold(name) for name in job.new_categories}

    def plan(self, line: Line) -> Plan:
        """What the row does; it is `failed` if it may not."""
        sku = self.sku_of(line)
        blank = Plan(line, sku, Outcome.FAILED)
        try:
            return self._plan(blank)
        except columns.Unreadable as error:
            return blank.refused(_problem("invalid", error.problem))
        except DomainError as error:
            return blank.refused(*problems_of(error))
        except ValidationError as error:
            return blank.refused(*_violations(error))

    def sku_of(self, line: Line) -> str:
        """The product that the row is about; nothing if it does not say."""
        index = self._names.index("sku")
        return bare(line.cells[index]) if index < len(line.cells) else ""

    def _plan(self, blank: Plan) -> Plan:
        line, sku = blank.line, blank.sku
        if len(line.cells) != len(self._names):
            raise columns.Unreadable("", f"The row has {len(line.cells)} cells, the header {len(self._names)}.")
        if not sku:
            raise columns.Unreadable("sku", "Which product is meant? The row has no SKU.")
        first = self._seen.setdefault(key_of(sku), line.number)
        if first != line.number:
            raise columns.Unreadable("sku", f"Row {first} is about this SKU already.")
        row = self._products.get(key_of(sku))
        if row is not None and row.deleted_at is not None:
            raise SkuTaken(Problem("The product with this SKU was deleted. Its SKU is not used again.", attr="sku"))
        cells = {name: bare(cell) for name, cell in zip(self._names, line.cells, strict=True)}
        cells.pop(columns.ERROR, None)
        return self._change(blank, row, cells) if row else self._create(blank, cells)

    def _create(self, blank: Plan, cells: Mapping[str, str]) -> Plan:
        given = {name: text for name, text in cells.items() if text}
        missing = [name for name in ("name", "price") if name not in given]
        if missing:
            return blank.refused(*(_required(name) for name in missing))
        fields = {name: columns.read_cell(name, given[name]) for name in _PLAIN if name in given}
        fields = {"currency": settings.CURRENCY, **fields, "attributes": columns.read_attributes(given, {})}
        first = _stock_of(given)
        stock = next(iter(first.values()), 0)
        if stock < 0:
            raise columns.Unreadable(next(iter(first)), "The first stock of a product is not negative.")
        check_on_hand(stock, reserved=0)
        _validate(Product(sku=blank.sku, **fields), {"sku", *fields})
        category, made = self._category(given.get("category", ""), None)
        new = NewProduct(sku=blank.sku, stock=stock, category=category, **fields)
        return _with_category(replace(blank, outcome=Outcome.CREATED, new=new), made)

    def _change(self, blank: Plan, row: Product, cells: Mapping[str, str]) -> Plan:
        level = self._levels.get(row.pk) or StockLevel(product_id=row.pk, on_hand=0, reserved=0)
        blank = replace(blank, product_id=row.pk, revision=row.revision)
        said = columns.changed(cells, row, stock=level.available)
        said = {name: text for name, text in said.items() if text or name not in _NEVER_EMPTY}
        emptied = [name for name in ("name", "price") if said.get(name) == ""]
        if emptied:
            return blank.refused(*(_required(name) for name in emptied))
        fields = _changed_fields(row, said)
        category, made = self._category(said.get("category", ""), row.category)
        if "category" in said and category != _id_of(row.category):
            fields["category"] = category or ""
        adjustment = _adjustment_of(said, level)
        plan = replace(
            blank,
            outcome=Outcome.UPDATED if fields or adjustment else Outcome.UNCHANGED,
            change=ProductChange(**fields) if fields else None,
            adjustment=adjustment,
            notes=_notes(said, level),
        )
        return _with_category(plan, made)

    def _category(self, reference: str, current: Category | None) -> tuple[str | None, str | None]:
        """What the service is to be told, and the name of a category that is to be made and was not thought of yet."""
        if not reference:
            return None, None
        chosen = choose_category(self._categories, reference, current=current)
        if chosen:
            return str(chosen.pk), None
        _validate(Category(name=reference), {"name"}, attr="category")
        if fold(reference) in self._made:
            return reference, None
        if len(self._made) >= MAX_NEW_CATEGORIES:
            raise columns.Unreadable("category", f"One file makes at most {MAX_NEW_CATEGORIES} new categories.")
        self._made.add(fold(reference))
        return reference, reference

    def _read_categories(self, lines: Sequence[Line]) -> Sequence[Category]:
        if "category" not in self._names:
            return []
        index = self._names.index("category")
        references = {bare(line.cells[index]) for line in lines if index < len(line.cells)} - {""}
        return list(find_categories(*references)) if references else []


def key_of(sku: str) -> str:
    """The form in which the SKUs of a file are compared."""
    return fold(sku)[:_KEY_LENGTH]


def problems_of(error: DomainError) -> list[Mapping[str, str | None]]:
    """What the service has refused."""
    return [_problem(error.code, problem) for problem in error.problems]


def _differ(value: object, other: object) -> bool:
    """To Python 1 and true are equal, in attributes they are not."""
    return to_json(value) != to_json(other) if isinstance(value, dict) else value != other


def _changed_fields(row: Product, said: Mapping[str, str]) -> dict[str, Any]:
    """The fields whose cells say something new, valid by the product's rules."""
    fields = {name: columns.read_cell(name, said[name]) for name in _PLAIN if name in said}
    fields["attributes"] = columns.read_attributes(said, row.attributes)
    changed = {name: value for name, value in fields.items() if _differ(value, getattr(row, name))}
    then = {name: changed.get(name, getattr(row, name)) for name in ("price", "currency")}
    _validate(Product(**{**changed, **then}), set(changed))
    return changed


def _validate(row: Product | Category, fields: set[str], attr: str | None = None) -> None:
    """
    Raises:
        ValidationError: a field breaks a rule of the model.
        InvalidPrice: the price does not fit its currency.
    """
    try:
        validate_fields(row, fields)
    except ValidationError as error:
        if attr is None:
            raise
        raise ValidationError({attr: error.error_dict.popitem()[1]}) from error
    if isinstance(row, Product) and fields & {"price", "currency"}:
        check_price(row)


def _stock_of(given: Mapping[str, str]) -> dict[str, int]:
    """What the row says of stock: at most one of the columns may."""
    said = {name: columns.read_cell(name, given[name]) for name in ("stock", *columns.ADJUSTMENTS) if given.get(name)}
    if len(said) > 1:
        raise columns.Unreadable([*said][-1], f"Give only one of {' and '.join(said)}.")
    return said


def _adjustment_of(said: Mapping[str, str], level: StockLevel) -> Mapping[str, int] | None:
    """What becomes of the stock of a product that is there; `stock` alone changes nothing."""
    if said.get("stock"):
        columns.read_cell("stock", said["stock"])
    wanted = _stock_of({name: said[name] for name in columns.ADJUSTMENTS if name in said})
    on_hand = wanted.get("on_hand", level.on_hand + wanted.get("stock_delta", 0))
    if on_hand < 0:
        raise columns.Unreadable(next(iter(wanted)), f"{level.on_hand} are on hand: fewer than none cannot be.")
    if on_hand == level.on_hand:
        return None
    check_on_hand(on_hand, reserved=level.reserved)
    return {name.removeprefix("stock_"): value for name, value in wanted.items()}


def _notes(said: Mapping[str, str], level: StockLevel) -> list[str]:
    if "stock" not in said:
        return []
    return [f"Stock stays at {level.available}. To change it, use a column on_hand (a count) or stock_delta (to add)."]


def _with_category(plan: Plan, name: str | None) -> Plan:
    if name is None:
        return plan
    return replace(plan, new_category=name, notes=[*plan.notes, f"There is no category “{name}” yet: it is made."])


def _id_of(category: Category | None) -> str | None:
    return str(category.pk) if category else None


def _required(name: str) -> Mapping[str, str | None]:
    return _problem("required", Problem(f"A product needs a {name}.", attr=name))


def _problem(code: str, problem: Problem) -> Mapping[str, str | None]:
    return {"code": code, "detail": problem.detail, "attr": problem.attr or None}


def _violations(error: ValidationError) -> list[Mapping[str, str | None]]:
    return [
        _problem(each.code or "invalid", Problem(" ".join(each.messages), attr=attr))
        for attr, found in error.error_dict.items()
        for each in found
    ]
