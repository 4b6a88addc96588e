"""Orders, their lines, timeline, payments and refunds, and what is counted for reports. Users and products are UUIDs:
they belong to other services.
"""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Upper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.common.ids import new_id
from apps.common.money import MAX_DIGITS, MAX_PLACES, quantize
from apps.events.models import FailedDelivery, InboxEntry, OutboxEvent, WebhookDelivery, WebhookEndpoint
from apps.orders.interface import OrderStatus, PaymentStatus, RefundStatus
from apps.orders.spans import Span

# Failures after which money may still be held at the provider: one that it knew nothing of when it was asked, and one
# that the customer left unconfirmed for another.
NEVER_ARRIVED, ABANDONED = "never_arrived", "abandoned"
# The provider has been asked, and its answer is not on record.
OPEN_PAYMENTS = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)
# Those, and what a customer may be confirming: the provider is asked about it from time to time.
UNSETTLED_PAYMENTS = (*OPEN_PAYMENTS, PaymentStatus.REQUIRES_ACTION)
OPEN_REFUNDS = (RefundStatus.PROCESSING, RefundStatus.UNKNOWN)


class Order(models.Model):
    """An order. `sequence` counts its changes and numbers its events; `change` is a change of lines under way."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    number = models.CharField(max_length=20, unique=True)
    user_id = models.UUIDField()
    status = models.CharField(
        max_length=9, choices=[(status, status) for status in OrderStatus], default=OrderStatus.PENDING
    )
    currency = models.CharField(max_length=3)
    subtotal = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    shipping_cost = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES, default=0)
    total = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    shipping = models.JSONField(null=True, blank=True)
    note = models.TextField(max_length=1000, blank=True)
    sequence = models.PositiveIntegerField(default=1)
    changes = models.PositiveIntegerField(default=0, editable=False, help_text="Counts the changes of lines begun.")
    change = models.JSONField(null=True, encoder=DjangoJSONEncoder, editable=False)
    change_began_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["user_id", "-id"], name="order_of_user"),
            models.Index(fields=["status", "-id"], name="order_by_status"),
            models.Index(fields=["created_at"], name="order_by_time"),
            models.Index(fields=["currency", "-id"], name="order_by_currency"),
            models.Index(fields=["status", "created_at"], name="order_by_status_and_time"),
            models.Index(fields=["expires_at"], condition=Q(status="pending"), name="order_to_expire"),
            models.Index(fields=["change_began_at"], condition=Q(change_began_at__isnull=False), name="order_changing"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=[s.value for s in OrderStatus]), name="order_status_known"),
            models.CheckConstraint(
                condition=Q(subtotal__gte=0, shipping_cost__gte=0, total__gte=0), name="order_amounts_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return self.number


class OrderItem(models.Model):
    """A line of an order: a snapshot of the product as it was when ordered."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items", db_index=False)
    product_id = models.UUIDField()
    product_name = models.CharField(max_length=200)
    sku = models.CharField(max_length=64)
    quantity = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    total = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)

    class Meta:
        ordering = ["id"]
        # What a product was called when it was last ordered.
        indexes = [
            models.Index(fields=["product_id", "-id"], name="order_item_of_product"),
            models.Index(Upper("sku"), name="order_item_by_sku"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["order", "product_id"], name="order_item_once"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="order_item_quantity_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.sku}"


class OrderTransition(models.Model):
    """A change of an order after it was placed. One row for each sequence number."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="transitions", db_index=False)
    sequence = models.PositiveIntegerField()
    status = models.CharField(max_length=9, choices=[(status, status) for status in OrderStatus])
    action = models.CharField(max_length=32)
    actor_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["sequence"]
        constraints = [models.UniqueConstraint(fields=["order", "sequence"], name="order_transition_once")]

    def __str__(self) -> str:
        return f"{self.action} → {self.status}"


class Payment(models.Model):
    """An attempt to pay an order. At most one attempt of an order is open or has succeeded: the database says so.

    Its id is the idempotency key under which the provider knows it. `refunded_amount` is what its refunds, finished or
    under way, have been promised: the database refuses to promise more than was paid.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="payments")
    provider = models.CharField(max_length=20)
    method = models.CharField(max_length=32)
    amount = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    refunded_amount = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES, default=0)
    currency = models.CharField(max_length=3)
    status = models.CharField(
        max_length=18, choices=[(status, status) for status in PaymentStatus], default=PaymentStatus.PROCESSING
    )
    transaction_id = models.CharField(max_length=100, blank=True)
    failure_code = models.CharField(max_length=64, blank=True)
    failure_detail = models.CharField(max_length=300, blank=True)
    asked_at = models.DateTimeField(null=True, help_text="When reconciliation last asked the provider about it.")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(db_default=Now(), help_text="By the database's clock: settling waits for it.")
    paid_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["asked_at"], condition=Q(status__in=UNSETTLED_PAYMENTS), name="payment_open"),
            models.Index(
                fields=["asked_at"], condition=Q(failure_code__in=[NEVER_ARRIVED, ABANDONED]), name="payment_given_up"
            ),
            models.Index(fields=["paid_at"], condition=Q(paid_at__isnull=False), name="payment_by_time"),
            models.Index(fields=["status", "-id"], name="payment_by_status"),
            models.Index(fields=["transaction_id"], condition=~Q(transaction_id=""), name="payment_by_transaction"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["order"], condition=~Q(status="failed"), name="payment_once"),
            models.CheckConstraint(
                condition=Q(status__in=[s.value for s in PaymentStatus]), name="payment_status_known"
            ),
            models.CheckConstraint(
                condition=Q(amount__gte=0, refunded_amount__gte=0, refunded_amount__lte=F("amount")),
                name="payment_refunded_within_amount",
            ),
        ]

    def __str__(self) -> str:
        return f"{quantize(self.amount, self.currency)} {self.currency} by {self.method}: {self.status}"


class Refund(models.Model):
    """An attempt to pay back some or all of a payment. At most one of a payment is open: the database says so.

    Its id is the idempotency key under which the provider knows it. `lines` are what it pays for, if it was asked for
    by lines: `[{"product_id", "quantity"}]`; `ends_as` is the order's status once it is through, if it ends the order.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="refunds")
    amount = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    currency = models.CharField(max_length=3)
    status = models.CharField(
        max_length=10, choices=[(status, status) for status in RefundStatus], default=RefundStatus.PROCESSING
    )
    lines = models.JSONField(default=list)
    restock = models.BooleanField(help_text="Whether the goods go back on the shelves.")
    ends_as = models.CharField(max_length=9, blank=True, choices=[(status, status) for status in OrderStatus])
    actor_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=300, blank=True)
    transaction_id = models.CharField(max_length=100, blank=True)
    failure_code = models.CharField(max_length=64, blank=True)
    failure_detail = models.CharField(max_length=300, blank=True)
    asked_at = models.DateTimeField(null=True, help_text="When reconciliation last asked the provider about it.")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(db_default=Now(), help_text="By the database's clock: settling waits for it.")
    refunded_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["asked_at"], condition=Q(status__in=OPEN_REFUNDS), name="refund_open"),
            models.Index(fields=["refunded_at"], condition=Q(refunded_at__isnull=False), name="refund_by_time"),
            models.Index(fields=["status", "-id"], name="refund_by_status"),
            models.Index(fields=["transaction_id"], condition=~Q(transaction_id=""), name="refund_by_transaction"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["payment"], condition=Q(status__in=OPEN_REFUNDS), name="refund_one_at_a_time"
            ),
            models.CheckConstraint(condition=Q(status__in=[s.value for s in RefundStatus]), name="refund_status_known"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="refund_amount_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{quantize(self.amount, self.currency)} {self.currency}: {self.status}"


class SandboxCharge(models.Model):
    """The sandbox provider's own books, apart from ours: what it would say if asked about an idempotency key."""

    class State(models.TextChoices):
        REQUIRES_ACTION = "requires_action"
        AUTHORISED = "authorised"
        CAPTURED = "captured"
        VOIDED = "voided"

    idempotency_key = models.CharField(max_length=64, primary_key=True)
    amount = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    refunded_amount = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES, default=0)
    currency = models.CharField(max_length=3)
    transaction_id = models.CharField(max_length=100, unique=True)
    state = models.CharField(max_length=15, choices=State, default=State.AUTHORISED)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(refunded_amount__gte=0, refunded_amount__lte=F("amount")), name="sandbox_refunded_in_bounds"
            )
        ]

    def __str__(self) -> str:
        return self.transaction_id


class SandboxRefund(models.Model):
    """A refund in the sandbox provider's own books."""

    idempotency_key = models.CharField(max_length=64, primary_key=True)
    charge = models.ForeignKey(SandboxCharge, on_delete=models.CASCADE, related_name="refunds")
    amount = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=MAX_PLACES)
    transaction_id = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.transaction_id


class CountedOrder(models.Model):
    """What the reports have counted of one order; null: nothing yet. What an order is now, less this, is what the
    reports lack. The row's lock lets one worker at a time count the order.
    """

    order_id = models.UUIDField(primary_key=True)
    counted = models.JSONField(null=True)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.order_id)


class SalesBucket(models.Model):
    """Sales of a quarter of an hour in one currency: short enough to be added up to days of any time zone."""

    starts_at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    orders = models.IntegerField(default=0, help_text="Orders that were paid then.")
    units = models.IntegerField(default=0)
    amount = models.DecimalField(max_digits=MAX_DIGITS + 6, decimal_places=MAX_PLACES, default=0)
    refunds = models.IntegerField(default=0, help_text="Refunds that were made then, whenever the order was paid.")
    refunded_amount = models.DecimalField(max_digits=MAX_DIGITS + 6, decimal_places=MAX_PLACES, default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["starts_at", "currency"], name="sales_bucket_once")]

    def __str__(self) -> str:
        return f"{self.starts_at} {self.currency}"


class StatusBucket(models.Model):
    """Orders that were placed on a day (UTC), by where they stand now."""

    starts_on = models.DateField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=9, choices=[(status, status) for status in OrderStatus])
    orders = models.IntegerField(default=0)
    amount = models.DecimalField(max_digits=MAX_DIGITS + 6, decimal_places=MAX_PLACES, default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["starts_on", "currency", "status"], name="status_bucket_once")]

    def __str__(self) -> str:
        return f"{self.starts_on} {self.currency} {self.status}"


class ProductSales(models.Model):
    """Sales of one product in a day, a month or a quarter of a year (UTC), so that a year is read from few rows."""

    span = models.CharField(max_length=7, choices=[(span, span) for span in Span])
    starts_on = models.DateField()
    product_id = models.UUIDField()
    currency = models.CharField(max_length=3)
    orders = models.IntegerField(default=0)
    units = models.IntegerField(default=0)
    amount = models.DecimalField(max_digits=MAX_DIGITS + 6, decimal_places=MAX_PLACES, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["span", "starts_on", "product_id", "currency"], name="product_sales_once")
        ]

    def __str__(self) -> str:
        return f"{self.span} {self.starts_on} {self.product_id}"


class ForgottenCustomer(models.Model):
    """A customer whose account was erased: their orders are to say nothing about them."""

    user_id = models.UUIDField(primary_key=True)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.user_id)


class OrdersEvent(OutboxEvent):
    """The service's outbox, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = _("event")
        verbose_name_plural = _("events")


class OrdersInboxEntry(InboxEntry):
    """The service's inbox, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = _("inbox entry")
        verbose_name_plural = _("inbox")


class OrdersFailedDelivery(FailedDelivery):
    """The service's failed deliveries, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = _("failed delivery")
        verbose_name_plural = _("failed deliveries")


class ShopWebhookEndpoint(WebhookEndpoint):
    """The shop's webhook endpoints, for their staff page."""

    class Meta:
        proxy = True
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")


class ShopWebhookDelivery(WebhookDelivery):
    """The shop's webhook deliveries, for their staff page."""

    class Meta:
        proxy = True
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
