"""The catalogue's documents, and the inventory: levels, reservations, ledger.

The inventory refers to products by UUID only: with a MONGODB_URL the documents are in MongoDB, whose own key is `_id`.
"""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.common.ids import new_id
from apps.common.money import MAX_DIGITS, MAX_PLACES
from apps.common.validators import no_control_characters, single_line
from apps.events.models import FailedDelivery, OutboxEvent
from apps.products.interface import MovementKind, ReservationState
from apps.products.store.clock import now
from apps.products.store.fields import WordsField
from apps.products.validators import known_currency, valid_attributes, valid_tags

MAX_STOCK = 1_000_000_000
_LINE = [no_control_characters, single_line]


class Category(models.Model):
    """A node of the category tree. `path` lists its ancestors and itself, so that a subtree is one prefix."""

    id = models.UUIDField(primary_key=True, db_column="_id", default=new_id, editable=False)
    name = models.CharField(_("name"), max_length=100, validators=_LINE)
    name_folded = models.CharField(max_length=300, editable=False)
    sibling_key = models.CharField(
        max_length=400, unique=True, editable=False, help_text="Its parent and its folded name: siblings differ."
    )
    slug = models.SlugField(_("slug"), max_length=120, unique=True, allow_unicode=True)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children", verbose_name=_("parent")
    )
    path = models.CharField(max_length=400, editable=False, db_index=True)
    unsettled = models.BooleanField(
        default=False, editable=False, help_text="In a document store: what follows from its change may be to come."
    )
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")
        ordering = ["name_folded", "id"]
        indexes = [models.Index(fields=["name_folded", "id"], name="category_by_name")]

    def __str__(self) -> str:
        return self.name


class TreeLock(models.Model):
    """One row: whoever changes the tree, or puts a product into it while products are elsewhere, locks it first."""

    id = models.PositiveSmallIntegerField(primary_key=True)

    def __str__(self) -> str:
        return "the category tree"


class ProductManager(models.Manager["Product"]):
    """Leaves out the texts that only searching needs."""

    def get_queryset(self) -> models.QuerySet["Product"]:
        return super().get_queryset().defer("search_title", "search_body")


class Product(models.Model):
    """A product document. `revision` counts its changes: it is the ETag, and numbers its events."""

    id = models.UUIDField(primary_key=True, db_column="_id", default=new_id, editable=False)
    sku = models.CharField(max_length=64, validators=_LINE)
    sku_folded = models.CharField(max_length=192, unique=True, editable=False)
    name = models.CharField(max_length=200, validators=_LINE)
    name_key = models.CharField(max_length=600, editable=False, help_text="Lists are in its order, on every database.")
    description = models.TextField(max_length=10_000, blank=True, validators=[no_control_characters])
    price = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    currency = models.CharField(max_length=3, validators=[known_currency])
    category = models.ForeignKey(Category, null=True, blank=True, on_delete=models.PROTECT, related_name="products")
    group = models.CharField(
        max_length=64, blank=True, db_index=True, validators=_LINE, help_text="Variants of one thing share it."
    )
    tags = models.JSONField(default=list, blank=True, validators=[valid_tags])
    attributes = models.JSONField(default=dict, blank=True, validators=[valid_attributes])
    images = models.JSONField(default=list, blank=True, encoder=DjangoJSONEncoder, editable=False)
    active = models.BooleanField(default=True)
    deleted_at = models.DateTimeField(null=True, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)
    unannounced = models.BooleanField(
        default=False, editable=False, help_text="In a document store: the event of this revision may not be out yet."
    )
    opening_stock = models.PositiveIntegerField(
        default=0, editable=False, help_text="In a document store: the level may not have been opened with it yet."
    )
    search_title = WordsField(default="", editable=False)
    search_body = WordsField(default="", editable=False)
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(default=now, editable=False)

    objects = ProductManager()

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["price", "id"], condition=Q(active=True), name="product_by_price"),
            models.Index(fields=["name_key", "id"], condition=Q(active=True), name="product_by_name"),
            models.Index(fields=["-id"], condition=Q(active=True), name="product_new"),
            models.Index(fields=["category", "-id"], condition=Q(active=True), name="product_of_category"),
            models.Index(
                fields=["category", "price", "id"], condition=Q(active=True), name="product_of_category_by_price"
            ),
            models.Index(fields=["id"], condition=Q(unannounced=True), name="product_unannounced"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(price__gte=0), name="product_price_not_negative"),
            models.CheckConstraint(condition=Q(deleted_at=None) | Q(active=False), name="product_deleted_is_inactive"),
        ]

    def __str__(self) -> str:
        return self.name


class StockLevel(models.Model):
    """What is in the warehouse and what of it is promised. The database itself refuses to sell what is not there."""

    product_id = models.UUIDField(primary_key=True)
    on_hand = models.IntegerField(_("on hand"), default=0)
    reserved = models.IntegerField(_("reserved"), default=0)
    version = models.PositiveIntegerField(default=1, help_text="Counts the changes of what is on hand.")

    class Meta:
        verbose_name = _("stock level")
        verbose_name_plural = _("stock levels")
        constraints = [
            models.CheckConstraint(
                condition=Q(reserved__gte=0, reserved__lte=F("on_hand"), on_hand__lte=MAX_STOCK),
                name="stock_reserved_within_on_hand",
            )
        ]

    def __str__(self) -> str:
        return f"{self.product_id}: {self.on_hand} on hand, {self.reserved} reserved"


class Reservation(models.Model):
    """What is held for one order. Its row is the lock under which everything that becomes of the order's stock is done.

    `lines` are kept whole, with what the order must remember of each product: `services/reserved.py` reads and writes
    them.
    """

    order_id = models.UUIDField(_("order"), primary_key=True)
    lines = models.JSONField(encoder=DjangoJSONEncoder)
    returns = models.JSONField(default=list, help_text="What came back after it was deducted, and for which return.")
    state = models.CharField(
        max_length=9, choices=[(state, state) for state in ReservationState], default=ReservationState.ACTIVE
    )
    change = models.PositiveIntegerField(
        default=0, help_text="The number of the last change of lines that was asked for."
    )
    expires_at = models.DateTimeField(_("expires at"))
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("reservation")
        verbose_name_plural = _("reservations")
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state="active"), name="reservation_to_expire"),
            models.Index(fields=["order_id"], condition=Q(state="active"), name="reservation_active"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in ReservationState]), name="reservation_state_known"
            )
        ]

    def __str__(self) -> str:
        return f"order {self.order_id}: {self.state}"


class StockMovement(models.Model):
    """The ledger: a line for every change of what is on hand. An order deducts once, and each return of it once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    product_id = models.UUIDField()
    delta = models.IntegerField()
    kind = models.CharField(_("kind"), max_length=10, choices=[(kind, kind) for kind in MovementKind])
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    order_id = models.UUIDField(_("order"), null=True)
    return_id = models.UUIDField(null=True, help_text="Which of the order's returns.")
    actor_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(_("when"), default=timezone.now)

    class Meta:
        verbose_name = _("stock movement")
        verbose_name_plural = _("stock movements")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["product_id", "-id"], name="movement_of_product"),
            # What staff filter by. Most movements are sales, and those need no index to be found.
            models.Index(fields=["-id"], condition=~Q(kind=MovementKind.SALE), name="movement_by_hand"),
        ]
        constraints = [
            models.UniqueConstraint(
                *("order_id", "product_id", "kind", Coalesce("return_id", "order_id")),
                condition=Q(order_id__isnull=False),
                name="movement_once",
            ),
            models.CheckConstraint(condition=~Q(delta=0), name="movement_not_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.delta:+d} of {self.product_id}"


class ImportJob(models.Model):
    """A CSV file that was handed in, and how far it has come. Its row is the lock under which its rows are written."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        FINISHED = "finished"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    dry_run = models.BooleanField(_("dry run"), help_text="Says what the file would do, and changes nothing.")
    file_name = models.CharField(max_length=150, blank=True)
    delimiter = models.CharField(max_length=1)
    columns = models.JSONField(help_text="The header, as it stands in the file.")
    total = models.PositiveIntegerField(_("rows"), default=0)
    done = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(_("created"), default=0)
    updated = models.PositiveIntegerField(_("updated"), default=0)
    unchanged = models.PositiveIntegerField(_("unchanged"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    new_categories = models.JSONField(default=list)
    requested_by = models.UUIDField(null=True)
    created_at = models.DateTimeField(_("when"), default=timezone.now, db_index=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.file_name or "a file without a name"


class ImportChunk(models.Model):
    """A part of the file: `lines` of the number of a row and its cells."""

    job = models.ForeignKey(ImportJob, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    lines = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="import_chunk_once")]

    def __str__(self) -> str:
        return f"part {self.number} of {self.job_id}"


class ImportRow(models.Model):
    """What became of a row. A failed one keeps its cells, so that it can be mended and sent again."""

    class Outcome(models.TextChoices):
        CREATED = "created"
        UPDATED = "updated"
        UNCHANGED = "unchanged"
        FAILED = "failed"

    job = models.ForeignKey(ImportJob, on_delete=models.CASCADE, related_name="rows")
    number = models.PositiveIntegerField(help_text="As a spreadsheet counts: the header is row 1.")
    sku = models.CharField(max_length=64)
    sku_folded = models.CharField(max_length=192)
    outcome = models.CharField(max_length=9, choices=Outcome)
    product_id = models.UUIDField(null=True)
    problems = models.JSONField(default=list)
    notes = models.JSONField(default=list)
    cells = models.JSONField(null=True)

    class Meta:
        ordering = ["number"]
        indexes = [
            models.Index(fields=["job", "sku_folded"], name="import_row_by_sku"),
            models.Index(fields=["job", "outcome", "number"], name="import_row_by_outcome"),
        ]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="import_row_once")]

    def __str__(self) -> str:
        return f"row {self.number}: {self.outcome}"


class ProductsEvent(OutboxEvent):
    """The service's outbox, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = _("event")
        verbose_name_plural = _("events")


class ProductsFailedDelivery(FailedDelivery):
    """The service's failed deliveries, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = _("failed delivery")
        verbose_name_plural = _("failed deliveries")
