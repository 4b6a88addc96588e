"""Imports: a file is taken in whole, and worked through in parts, each asked for by an event.

What a row writes, what became of it, and how far the import has come commit together, under the lock of the job's row:
however often a part is delivered, and whoever else works on it at the same time, each row is written once. (A document
store commits by itself: there, a process that dies leaves at most the row that it had in hand, which is then found
changed already.)
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.common.bulk import delete_in_batches
from apps.common.cells import BOM, guard, write
from apps.common.databases import atomic
from apps.common.errors import Conflict, DomainError, NotFound
from apps.events.consumer import LATER
from apps.events.outbox import publish
from apps.products.events import import_requested_fact
from apps.products.interface import ProductService, SkuTaken, StaleProduct
from apps.products.models import ImportChunk, ImportJob, ImportRow
from apps.products.transfer import sheets
from apps.products.transfer.columns import ERROR, names_of
from apps.products.transfer.planning import Plan, Planner, key_of, problems_of
from apps.products.transfer.sheets import Line

logger = logging.getLogger(__name__)

CHUNK = 100
KEPT_FOR = timedelta(days=30)
_ATTEMPTS = 3
_STORED_AT_ONCE = 20
_UNEXPECTED = {
    "code": "error",
    "detail": "The shop failed on this row. Its log says more; the other rows are not concerned.",
    "attr": None,
}

State = ImportJob.State
Outcome = ImportRow.Outcome


class ImportNotFound(NotFound):
    code = "import_not_found"


class NothingToImport(Conflict):
    code = "nothing_to_import"


class _Overtaken(Exception):
    """Somebody else has come further with this file meanwhile."""


def start(
    content: bytes, *, dry_run: bool, file_name: str = "", charset: str | None = None, actor_id: UUID | None = None
) -> ImportJob:
    """Take a file in, to be imported soon.

    Raises:
        UnreadableFile: it is no CSV, or has columns that are not known.
        TooLarge: too many bytes or rows.
    """
    sheet = sheets.read(content, charset)
    names_of(sheet.header)
    job = ImportJob(
        dry_run=dry_run,
        file_name="".join(character for character in file_name if character.isprintable())[:150],
        delimiter=sheet.delimiter,
        columns=list(sheet.header),
        requested_by=actor_id,
    )
    with atomic("products"):
        job.save(force_insert=True)
        job.total = _store(job, sheet.lines)
        if job.total:
            publish("products", import_requested_fact(job.pk, 0))
        else:
            job.state, job.finished_at = State.FINISHED, timezone.now()
        job.save(update_fields=["total", "state", "finished_at"])
    return job


def run_for_real(job: ImportJob, *, actor_id: UUID | None = None) -> ImportJob:
    """Import the file of a dry run. The file moves on, so that a second click finds nothing to import again.

    Raises:
        NothingToImport: it was no dry run, or its file was imported since.
    """
    real = ImportJob(
        dry_run=False,
        file_name=job.file_name,
        delimiter=job.delimiter,
        columns=job.columns,
        total=job.total,
        requested_by=actor_id,
    )
    with atomic("products"):
        real.save(force_insert=True)
        if not (is_tried(job) and ImportChunk.objects.filter(job=job).update(job=real)):
            raise NothingToImport("This file was imported already. Send it again if it is to be imported once more.")
        publish("products", import_requested_fact(real.pk, 0))
    return real


def is_tried(job: ImportJob) -> bool:
    """Whether the job was a dry run whose file can be imported now."""
    return job.dry_run and job.finished_at is not None and ImportChunk.objects.filter(job=job).exists()


def get(job_id: UUID) -> ImportJob:
    """
    Raises:
        ImportNotFound: unknown, or cleaned away.
    """
    job = ImportJob.objects.filter(pk=job_id).first()
    if job is None:
        raise ImportNotFound("There is no such import.")
    return job


def hasten(products: ProductService, job: ImportJob) -> ImportJob:
    """Import a small file at once, while somebody waits for it. Its event finds nothing left to do, or does it if this
    process dies.
    """
    if job.total > CHUNK:
        return job
    with suppress(*LATER):
        # It has been taken in: should a server be away just now, its event sees to it later.
        run_chunk(products, job.pk, 0)
        return get(job.pk)
    return job


def run_chunk(products: ProductService, job_id: UUID, number: int) -> None:
    """Import a part of a file, and ask for the next. Harmless when that was done before, or is being done."""
    job = ImportJob.objects.filter(pk=job_id).first()
    chunk = ImportChunk.objects.filter(job=job_id, number=number).first()
    if job is None or chunk is None:
        return
    # What is left unannounced would otherwise be announced inside of a row's transaction.
    while products.announce_products():
        pass
    try:
        _Worker(products, job, chunk).work()
    except LATER:
        raise
    except Exception:
        logger.exception("Import %s failed", job_id)
        unfinished = ImportJob.objects.filter(pk=job_id, finished_at=None)
        unfinished.update(state=State.FAILED, finished_at=timezone.now())


def failed_rows(job: ImportJob) -> Iterator[str]:
    """The rows that failed, as CSV with the reasons in a last column: to be mended and sent again."""
    kept = [index for index, name in enumerate(names_of(job.columns)) if name != ERROR]
    yield BOM + write([[*(job.columns[index] for index in kept), ERROR]], job.delimiter)
    rows = job.rows.filter(outcome=Outcome.FAILED).order_by("number")
    for row in rows.iterator(chunk_size=CHUNK):
        cells = dict(enumerate(row.cells or ()))
        reasons = "; ".join(problem["detail"] for problem in row.problems)
        texts = (cells.get(index, "") for index in kept)
        # What was guarded when it came in is guarded already.
        shown = [text if text.startswith("'") else guard(text) for text in texts]
        yield write([[*shown, guard(reasons)]], job.delimiter)


def clean() -> None:
    """Forget imports that ended long ago, a batch at a time."""
    old = ImportJob.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    delete_in_batches(ImportRow.objects.filter(job__in=old).order_by())
    delete_in_batches(ImportChunk.objects.filter(job__in=old).order_by(), size=_STORED_AT_ONCE)
    delete_in_batches(old.order_by())


def _store(job: ImportJob, lines: Iterator[Line]) -> int:
    """Keep the file's rows in parts; returns how many rows there are."""
    parts = iter(lambda: list(islice(lines, CHUNK)), [])
    chunks = (
        ImportChunk(job=job, number=number, lines=[[line.number, list(line.cells)] for line in part])
        for number, part in enumerate(parts)
    )
    total = 0
    while batch := list(islice(chunks, _STORED_AT_ONCE)):
        ImportChunk.objects.bulk_create(batch)
        total += sum(len(chunk.lines) for chunk in batch)
    return total


class _Worker:
    """Works through a part of a file."""

    def __init__(self, products: ProductService, job: ImportJob, chunk: ImportChunk) -> None:
        self._products = products
        self._job = job
        self._first = chunk.number * CHUNK
        self._lines = [Line(number, cells) for number, cells in chunk.lines]
        self._pending: list[Plan] = []
        self._conflicts: Counter[int] = Counter()

    def work(self) -> None:
        """Come to the end of the part, beginning where the job is: again after each time that somebody was faster."""
        while self._job.finished_at is None:
            left = self._lines[max(0, self._job.done - self._first) :]
            if not left:
                return
            self._pending = []
            try:
                self._work_on(left)
            except (_Overtaken, StaleProduct, SkuTaken):
                self._job.refresh_from_db()

    def _work_on(self, lines: Sequence[Line]) -> None:
        planner = Planner(self._job, lines)
        for line in lines:
            plan = self._plan(planner, line)
            if plan.writes and not self._job.dry_run:
                self._carry_out(plan)
            else:
                self._pending.append(plan)
        self._note([])

    def _plan(self, planner: Planner, line: Line) -> Plan:
        try:
            return planner.plan(line)
        except LATER:
            raise
        except Exception:
            logger.exception("Import %s could not plan row %d", self._job.pk, line.number)
            return Plan(line, planner.sku_of(line), Outcome.FAILED).refused(_UNEXPECTED)

    def _carry_out(self, plan: Plan) -> None:
        """Write what the row asks for; if it may not, that is what became of it."""
        try:
            self._note([plan])
        except (_Overtaken, *LATER):
            raise
        except (StaleProduct, SkuTaken) as error:
            # Changed since it was read: what the row does is decided anew.
            self._conflicts[plan.line.number] += 1
            if self._conflicts[plan.line.number] < _ATTEMPTS:
                self._note([])
                raise
            self._pending.append(plan.refused(*problems_of(error)))
        except DomainError as error:
            self._pending.append(plan.refused(*problems_of(error)))
        except Exception:
            logger.exception("Import %s could not write row %d", self._job.pk, plan.line.number)
            self._pending.append(plan.refused(_UNEXPECTED))

    def _note(self, writing: Sequence[Plan]) -> None:
        """Write the row in hand, what became of it and of the rows before, and how far the job is: one transaction.

        Raises:
            _Overtaken: the job is further than we know.
            DomainError: the service refused the row. Nothing was noted.
        """
        plans = [*self._pending, *writing]
        if not plans:
            return
        ahead = self._ahead(plans)
        with atomic("products"):
            # The job's row is the lock: taken first, and only where we believe to be.
            here = ImportJob.objects.filter(pk=self._job.pk, done=self._job.done, finished_at=None)
            if not here.update(**ahead):
                raise _Overtaken
            ids = [*(plan.product_id for plan in self._pending), *map(self._write, writing)]
            rows = (_row(self._job, plan, product_id) for plan, product_id in zip(plans, ids, strict=True))
            ImportRow.objects.bulk_create(rows)
            if ahead["done"] % CHUNK == 0 and ahead["finished_at"] is None:
                publish("products", import_requested_fact(self._job.pk, ahead["done"] // CHUNK))
        for name, value in ahead.items():
            setattr(self._job, name, value)
        self._pending = []

    def _ahead(self, plans: Sequence[Plan]) -> dict[str, Any]:
        """The job as it is when these rows are done."""
        now = timezone.now()
        done = self._job.done + len(plans)
        is_end = done == self._job.total
        counts = Counter(str(plan.outcome) for plan in plans)
        return {
            **{name: getattr(self._job, name) + count for name, count in counts.items()},
            "done": done,
            "new_categories": self._job.new_categories + [plan.new_category for plan in plans if plan.new_category],
            "state": State.FINISHED if is_end else State.RUNNING,
            "started_at": self._job.started_at or now,
            "finished_at": now if is_end else None,
        }

    def _write(self, plan: Plan) -> UUID | None:
        """Do what was planned. Stock first: a document store does not roll back with the rest."""
        actor_id, revision = self._job.requested_by, plan.revision
        if plan.new is not None:
            return self._products.create_product(new=plan.new, actor_id=actor_id).id
        if plan.product_id is not None and plan.adjustment is not None:
            reason = f"import of {self._job.file_name or self._job.pk}"
            self._products.adjust_stock(product_id=plan.product_id, reason=reason, actor_id=actor_id, **plan.adjustment)
        if plan.product_id is not None and plan.change is not None:
            self._products.update_product(product_id=plan.product_id, change=plan.change, if_revision=revision)
        return plan.product_id


def _row(job: ImportJob, plan: Plan, product_id: UUID | None) -> ImportRow:
    is_failed = plan.outcome == Outcome.FAILED
    return ImportRow(
        job=job,
        number=plan.line.number,
        sku=plan.sku[:64],
        sku_folded=key_of(plan.sku),
        outcome=plan.outcome,
        product_id=product_id,
        problems=list(plan.problems),
        notes=list(plan.notes),
        cells=list(plan.line.cells) if is_failed else None,
    )
