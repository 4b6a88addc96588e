"""The activity log as CSV, for people with a spreadsheet. Columns stay as they are; a new one comes last."""

from collections.abc import Iterator

from django.db.models import QuerySet

from apps.common.cells import BOM, guard, write
from apps.users.models import Activity

_COLUMNS = ("happened_at", "action", "details")
_BATCH = 500


def activity_to_csv(lines: QuerySet[Activity]) -> Iterator[str]:
    """The lines, newest first, a batch at a time, below the names of the columns."""
    # Without it, Excel takes UTF-8 for something older.
    yield BOM + write([_COLUMNS])
    lines = lines.order_by("-id")
    batch = list(lines[:_BATCH])
    while batch:
        yield write(map(_cells, batch))
        batch = list(lines.filter(pk__lt=batch[-1].pk)[:_BATCH])


def _cells(line: Activity) -> tuple[str, str, str]:
    return line.happened_at.isoformat().replace("+00:00", "Z"), line.action, guard(line.details)
