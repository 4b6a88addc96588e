"""Moving the catalogue between its stores, while the shop goes on with the first.

A copy needs no memory of how far it came: it compares what both stores have, a batch at a time, and writes what
differs. So it can be cut off and run again, and once more when the shop has stopped, until nothing differs.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import models

from apps.common.api.renderers import to_json
from apps.common.money import MAX_PLACES
from apps.products.models import Category, Product

_BATCH = 500
_PLACES = Decimal(1).scaleb(-MAX_PLACES)
# Parents before children: a relational store checks that they are there. With each, what is unique.
_MODELS: dict[type[models.Model], Sequence[str]] = {Category: ("slug", "sibling_key"), Product: ("sku_folded",)}


class Unannounced(Exception):
    """Something of the source is still to be announced; the target's flags are its own."""


@dataclass(frozen=True)
class Contents:
    """What a store holds: how many documents, and a checksum (SHA-256) over all their fields, document by document."""

    count: int
    checksum: str


def copy(source: str, target: str) -> Iterator[int]:
    """Make the target's documents those of the source, by the aliases of their databases. Yields how many each batch
    has written. Deletes nothing but categories, as nothing else is ever deleted.

    Raises:
        Unannounced: of a change in the source the event, the stock or what follows in the tree is still to come.
    """
    unannounced = Product.objects.using(source).filter(unannounced=True)
    if unannounced.exists() or Category.objects.using(source).filter(unsettled=True).exists():
        raise Unannounced
    for model in _MODELS:
        for batch in _batches(model, source):
            yield _write(model, batch, target)
    yield _delete_categories(source, target)


def contents(model: type[models.Model], alias: str) -> Contents:
    """What the store has of a model."""
    digest, count = hashlib.sha256(), 0
    for batch in _batches(model, alias):
        for row in batch:
            digest.update(_bytes(row))
            count += 1
    return Contents(count, digest.hexdigest())


def _batches(model: type[models.Model], alias: str) -> Iterator[list[models.Model]]:
    """All documents: by id or, categories, from the top of the tree down."""
    rows = _all(model).using(alias)
    if model is Category:
        deepest_last = sorted(rows.order_by("pk"), key=lambda row: row.path.count("/"))
        yield from (deepest_last[start : start + _BATCH] for start in range(0, len(deepest_last), _BATCH))
        return
    last = UUID(int=0)
    while batch := list(rows.filter(pk__gt=last).order_by("pk")[:_BATCH]):
        last = batch[-1].pk
        yield batch


def _all(model: type[models.Model]) -> models.Manager[Any]:
    """Everything, with every field."""
    return model._base_manager  # noqa: SLF001 - the manager that hides nothing


def _write(model: type[models.Model], batch: list[models.Model], target: str) -> int:
    there = {row.pk: _bytes(row) for row in _all(model).using(target).filter(pk__in=[row.pk for row in batch])}
    _make_way(model, batch, target)
    written = 0
    for row in batch:
        fields = _fields(row)
        if row.pk not in there:
            model(**fields).save(using=target, force_insert=True)
            written += 1
        elif there[row.pk] != _bytes(row):
            _all(model).using(target).filter(pk=row.pk).update(**fields)
            written += 1
    return written


def _make_way(model: type[models.Model], batch: list[models.Model], target: str) -> None:
    """Take unique values away from documents of the target that gave them up in the source: they get theirs later."""
    rows = _all(model).using(target)
    for name in _MODELS[model]:
        owners = {getattr(row, name): row.pk for row in batch}
        for row in rows.filter(**{f"{name}__in": list(owners)}):
            if owners[getattr(row, name)] != row.pk:
                rows.filter(pk=row.pk).update(**{name: f"~{row.pk}"})


def _delete_categories(source: str, target: str) -> int:
    """Forget categories that the source has no more, the lowest first."""
    known = set(Category.objects.using(source).values_list("pk", flat=True))
    gone = [row for row in Category.objects.using(target) if row.pk not in known]
    for row in sorted(gone, key=lambda row: -row.path.count("/")):
        Category.objects.using(target).filter(pk=row.pk).delete()
    return len(gone)


def _bytes(row: models.Model) -> bytes:
    """What two stores are compared by: to Python 1 and true are equal, in JSON they are not."""
    return to_json(_fields(row), orjson.OPT_SORT_KEYS)


def _fields(row: models.Model) -> Mapping[str, Any]:
    """Every column but the flags, which belong to the store. One store fills a price's places up, another does not."""
    values = {field.attname: field.value_from_object(row) for field in row._meta.concrete_fields}
    for flag in ("unannounced", "unsettled"):
        values.pop(flag, None)
    if "price" in values:
        values["price"] = values["price"].quantize(_PLACES)
    return values
