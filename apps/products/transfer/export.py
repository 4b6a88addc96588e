"""Products as CSV, a batch at a time: however many there are, a few hundred of them are in memory."""

from collections.abc import Iterator

from django.db.models import QuerySet

from apps.common.cells import BOM, write
from apps.products.models import Product
from apps.products.services.levels import levels_of
from apps.products.transfer.columns import EXPORTED, cells_of, title_of

BATCH = 500


def export(products: QuerySet[Product]) -> Iterator[str]:
    """The products as CSV for people with a spreadsheet, newest first. Each attribute that occurs has a column."""
    attributes = products.order_by().values_list("attributes", flat=True).iterator(chunk_size=BATCH)
    columns = [*EXPORTED, *map(title_of, sorted({name for each in attributes for name in each}))]
    # Without it, Excel takes UTF-8 for something older.
    yield BOM + write([columns])
    for rows in _batches(products):
        levels = levels_of([row.pk for row in rows])
        stocks = {key: level.available for key, level in levels.items()}
        cells = (cells_of(row, stock=stocks.get(row.pk, 0)) for row in rows)
        yield write([each.get(column, "") for column in columns] for each in cells)


def _batches(products: QuerySet[Product]) -> Iterator[list[Product]]:
    """Each batch is asked for by the key at which the last one ended, so that none costs more than the first."""
    in_order = products.select_related("category").order_by("-pk")
    rows = list(in_order[:BATCH])
    while rows:
        yield rows
        rows = list(in_order.filter(pk__lt=rows[-1].pk)[:BATCH])
