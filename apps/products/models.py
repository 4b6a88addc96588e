"""The catalogue's documents, and the inventory: levels, reservations, ledger.

The inventory refers to products by UUID only, so that the catalogue can live in a document store.
"""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from apps.common.ids import new_id
from apps.common.money import MAX_DIGITS, MAX_PLACES
from apps.common.validators import no_control_characters, single_line
from apps.events.models import FailedDelivery, OutboxEvent
from apps.products.interface import MovementKind, ReservationState
from apps.products.validators import known_currency, valid_attributes, valid_tags

MAX_STOCK = 1_000_000_000
_LINE = [no_control_characters, single_line]


class Category(models.Model):
    """A node of the category tree. `path` lists its ancestors and itself, so that a subtree is one prefix."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100, validators=_LINE)
    name_folded = models.CharField(max_length=300, editable=False)
    slug = models.SlugField(max_length=120, unique=True, allow_unicode=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    path = models.CharField(max_length=400, editable=False, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name", "id"]
        verbose_name_plural = "categories"
        indexes = [models.Index(fields=["name_folded"], name="category_by_name")]
        constraints = [
            models.UniqueConstraint(fields=["parent", "name_folded"], name="category_once_below_parent"),
            models.UniqueConstraint(fields=["name_folded"], condition=Q(parent=None), name="category_once_at_the_top"),
        ]

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """A product document. `revision` counts its changes: it is the ETag, and numbers its events."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    sku = models.CharField(max_length=64, validators=_LINE)
    sku_folded = models.CharField(max_length=192, unique=True, editable=False)
    name = models.CharField(max_length=200, validators=_LINE)
    description = models.TextField(max_length=10_000, blank=True, validators=[no_control_characters])
    price = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    currency = models.CharField(max_length=3, validators=[known_currency])
    category = models.ForeignKey(Category, null=True, blank=True, on_delete=models.PROTECT, related_name="products")
    tags = models.JSONField(default=list, blank=True, validators=[valid_tags])
    attributes = models.JSONField(default=dict, blank=True, validators=[valid_attributes])
    images = models.JSONField(default=list, blank=True, encoder=DjangoJSONEncoder, editable=False)
    active = models.BooleanField(default=True)
    deleted_at = models.DateTimeField(null=True, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["price", "id"], condition=Q(active=True, deleted_at=None), name="product_by_price"),
            models.Index(fields=["name", "id"], condition=Q(active=True, deleted_at=None), name="product_by_name"),
            models.Index(fields=["-created_at", "-id"], condition=Q(active=True, deleted_at=None), name="product_new"),
        ]
        constraints = [models.CheckConstraint(condition=Q(price__gte=0), name="product_price_not_negative")]

    def __str__(self) -> str:
        return self.name


class SearchEntry(models.Model):
    """A product's normalised text (see `search.py`). The database's own full-text index hangs on this table."""

    product_id = models.UUIDField(unique=True)
    title = models.TextField()
    body = models.TextField()

    def __str__(self) -> str:
        return self.title


class StockLevel(models.Model):
    """What is in the warehouse and what of it is promised. The database itself refuses to sell what is not there."""

    product_id = models.UUIDField(primary_key=True)
    on_hand = models.IntegerField(default=0)
    reserved = models.IntegerField(default=0)
    version = models.PositiveIntegerField(default=1, help_text="Counts the changes of what is on hand.")

    class Meta:
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

    order_id = models.UUIDField(primary_key=True)
    lines = models.JSONField(encoder=DjangoJSONEncoder)
    state = models.CharField(
        max_length=9, choices=[(state, state) for state in ReservationState], default=ReservationState.ACTIVE
    )
    change = models.PositiveIntegerField(
        default=0, help_text="The number of the last change of lines that was asked for."
    )
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
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
    """The ledger: a line for every change of what is on hand. An order deducts once and returns once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    product_id = models.UUIDField()
    delta = models.IntegerField()
    kind = models.CharField(max_length=10, choices=[(kind, kind) for kind in MovementKind])
    reason = models.CharField(max_length=200, blank=True)
    order_id = models.UUIDField(null=True)
    actor_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["product_id", "-id"], name="movement_of_product")]
        constraints = [
            models.UniqueConstraint(
                fields=["order_id", "product_id", "kind"], condition=Q(order_id__isnull=False), name="movement_once"
            ),
            models.CheckConstraint(condition=~Q(delta=0), name="movement_not_zero"),
        ]

    def __str__(self) -> str:
        return f"{self.delta:+d} of {self.product_id}"


class ProductsEvent(OutboxEvent):
    """The service's outbox, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = "event"


class ProductsFailedDelivery(FailedDelivery):
    """The service's failed deliveries, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = "failed delivery"
        verbose_name_plural = "failed deliveries"
