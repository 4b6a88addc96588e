"""What the dashboard of the staff pages shows of the catalogue: what runs out, and what has just moved."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.core.cache import cache
from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from apps.common.staff_cards import MOST, Cards, Cell, Figure, Rows, address, as_text
from apps.products.models import ImportJob, Product, StockMovement
from apps.products.services.levels import levels_of
from apps.products.services.supply import Supply, in_supply, supply_of

_LINES = 6
_KEY = "staff:scarce"
_REMEMBERED = timedelta(minutes=1)
_TONES = {Supply.SOLD_OUT: "danger", Supply.LOW: "warning", Supply.IN_STOCK: "success"}
_IMPORT_TONES = {ImportJob.State.FINISHED: "success", ImportJob.State.FAILED: "danger"}


def cards(request: HttpRequest) -> Cards:
    """For catalogue staff and admins."""
    if not request.user.has_module_perms("products"):
        return Cards()
    scarce = _scarce()
    return Cards(figures=_figures(scarce), tables=[_running_out(scarce), _movements(), _imports()])


def _scarce() -> dict[Supply, list[UUID]]:
    """Products for sale that are low or sold out, `MOST` of each at most. No index tells: it would be written with
    every order. So this is looked up once a minute, for all of the staff.
    """
    known: dict[Supply, list[UUID]] | None = cache.get(_KEY)
    if known is None:
        # What is deleted is inactive.
        sold = Product.objects.filter(active=True).order_by()
        known = {
            supply: list(in_supply(sold, supply).values_list("pk", flat=True)[:MOST])
            for supply in (Supply.SOLD_OUT, Supply.LOW)
        }
        cache.set(_KEY, known, _REMEMBERED.total_seconds())
    return known


def _figures(scarce: dict[Supply, list[UUID]]) -> list[Figure]:
    low, out = len(scarce[Supply.LOW]), len(scarce[Supply.SOLD_OUT])
    return [
        Figure(
            _("Sold out"),
            as_text(out),
            address("products_product", supply=Supply.SOLD_OUT, active__exact="1"),
            "production_quantity_limits",
            "danger" if out else "",
            _("products for sale of which none is left"),
        ),
        Figure(
            _("Low stock"),
            as_text(low),
            address("products_product", supply=Supply.LOW, active__exact="1"),
            "inventory",
            "warning" if low else "",
            _("products to be ordered again"),
        ),
    ]


def _running_out(scarce: dict[Supply, list[UUID]]) -> Rows:
    """Those with the least, of what was found."""
    levels = levels_of([*scarce[Supply.SOLD_OUT], *scarce[Supply.LOW]])
    ids = sorted(levels, key=lambda each: (levels[each].available, each))[:_LINES]
    names = _names(ids)
    return Rows(
        title=_("Running out"),
        headers=[_("product"), _("for sale")],
        rows=[
            [
                _product(each, names),
                Cell(levels[each].available, tone=_TONES[supply_of(levels[each].available)]),
            ]
            for each in ids
            if each in names
        ],
        link=address("products_product", supply=Supply.LOW),
        empty=_("There is enough of everything."),
    )


def _movements() -> Rows:
    rows = list(StockMovement.objects.order_by("-id")[:_LINES])
    names = _names([row.product_id for row in rows])
    return Rows(
        title=_("Last movements of stock"),
        headers=[_("when"), _("product"), _("change"), _("reason")],
        rows=[
            [
                Cell(date_format(localtime(row.created_at), _("M j, H:i")).replace(" ", "\N{NO-BREAK SPACE}")),
                _product(row.product_id, names),
                Cell(f"{row.delta:+d}", tone="success" if row.delta > 0 else "warning"),
                Cell(row.reason or _(row.kind)),
            ]
            for row in rows
        ],
        link=address("products_stockmovement"),
        empty=_("Nothing has moved yet."),
    )


def _imports() -> Rows:
    return Rows(
        title=_("Last imports"),
        headers=[_("file"), _("state"), _("rows"), _("failed")],
        rows=[
            [
                Cell(str(job), reverse("admin:products_importjob_change", args=[job.pk])),
                Cell(_(job.state), tone=_IMPORT_TONES.get(ImportJob.State(job.state), "info")),
                Cell(job.total),
                Cell(job.failed, tone="danger" if job.failed else ""),
            ]
            for job in ImportJob.objects.defer("columns", "new_categories").order_by("-id")[:_LINES]
        ],
        link=address("products_importjob"),
        empty=_("No file was imported yet."),
    )


def _names(ids: Sequence[UUID]) -> dict[UUID, str]:
    return dict(Product.objects.filter(pk__in=set(ids)).order_by().values_list("pk", "name"))


def _product(product_id: UUID, names: dict[UUID, str]) -> Cell:
    return Cell(names.get(product_id, "-"), reverse("admin:products_product_change", args=[product_id]))
