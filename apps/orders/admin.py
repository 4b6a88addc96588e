"""Staff pages for orders. Every action calls the service, so that stock, money and events follow."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from apps.common.admin import ReadOnlyAdmin, ReadOnlyInline, amount_column
from apps.common.errors import DomainError
from apps.events.admin import FailedDeliveryAdmin, OutboxAdmin, WebhookDeliveryAdmin, WebhookEndpointAdmin
from apps.orders.interface import OrderAction
from apps.orders.models import (
    Order,
    OrderItem,
    OrdersEvent,
    OrdersFailedDelivery,
    OrderTransition,
    Payment,
    Refund,
    SandboxCharge,
    ShopWebhookDelivery,
    ShopWebhookEndpoint,
)
from apps.orders.refunds_admin import RefundableAdmin, staff_of
from config import services


class ItemInline(ReadOnlyInline):
    model = OrderItem

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderItem]:
        return OrderItem.objects.select_related("order")

    fields = readonly_fields = ("sku", "product_name", "quantity", "price_", "total_")
    price_ = staticmethod(amount_column("price", "order.currency"))
    total_ = staticmethod(amount_column("total", "order.currency"))


class TransitionInline(ReadOnlyInline):
    model = OrderTransition
    fields = ["at", "action", "status", "actor_id", "reason"]


class PaymentInline(ReadOnlyInline):
    model = Payment
    fields = readonly_fields = (
        *("created_at", "method", "amount_", "refunded_amount_", "status"),
        *("transaction_id", "failure_code", "failure_detail"),
    )
    amount_ = staticmethod(amount_column("amount"))
    refunded_amount_ = staticmethod(amount_column("refunded_amount"))


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = readonly_fields = (
        *("created_at", "amount_", "status", "lines", "restock"),
        *("reason", "transaction_id", "failure_detail"),
    )
    amount_ = staticmethod(amount_column("amount"))


@admin.register(Order)
class OrderAdmin(RefundableAdmin):
    list_display = ["number", "status", "total_", "recipient", "created_at"]
    list_filter = ["status", "currency"]
    search_fields = ["=number", "=user_id"]
    fields = readonly_fields = (
        *("number", "status", "user_id", "subtotal_", "shipping_cost_", "total_"),
        *("address", "note", "created_at", "updated_at", "expires_at"),
    )
    subtotal_ = staticmethod(amount_column("subtotal"))
    shipping_cost_ = staticmethod(amount_column("shipping_cost"))
    total_ = staticmethod(amount_column("total"))
    inlines = [ItemInline, TransitionInline, PaymentInline, RefundInline]
    actions = ["ship", "deliver", "cancel", "refund"]

    @admin.display(description="ship to")
    def recipient(self, order: Order) -> str:
        return str((order.shipping or {}).get("name", ""))

    @admin.display(description="ship to")
    def address(self, order: Order) -> str:
        parts = ((name.replace("_", " "), text) for name, text in (order.shipping or {}).items() if text)
        return format_html_join(mark_safe("<br>"), "{}: {}", parts) or "-"

    @admin.action(description="Ship the selected orders", permissions=["view"])
    def ship(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, services.orders().ship_order, "shipped")

    @admin.action(description="Mark the selected orders as delivered", permissions=["view"])
    def deliver(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, services.orders().deliver_order, "delivered")

    @admin.action(description="Cancel the selected orders; what was paid is refunded", permissions=["view"])
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, services.orders().cancel_order, "cancelled")

    @admin.action(description="Refund all that is left of the selected orders", permissions=["view"])
    def refund(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, services.orders().refund_order, "refunded")

    def _carry_out(self, request: HttpRequest, orders: QuerySet[Order], act: OrderAction, done: str) -> None:
        actor = staff_of(request)
        count = 0
        for order in orders:
            try:
                act(order_id=order.pk, actor=actor, reason="by staff")
            except DomainError as error:
                self.message_user(request, f"{order.number}: {error}", messages.ERROR)
            else:
                count += 1
        if count:
            self.message_user(request, f"{count} order{'s' * (count > 1)} {done}.", messages.SUCCESS)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin[Payment]):
    list_display = ["created_at", "order", "amount_", "refunded_amount_", "method", "status", "failure_code"]
    exclude = ["amount", "refunded_amount", "currency"]
    readonly_fields = ["amount_", "refunded_amount_"]
    amount_ = staticmethod(amount_column("amount"))
    refunded_amount_ = staticmethod(amount_column("refunded_amount"))
    inlines = [RefundInline]
    list_filter = ["status", "provider", "method"]
    list_select_related = ["order"]
    search_fields = ["=order__number", "=transaction_id"]


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin[Refund]):
    list_display = ["created_at", "order", "amount_", "status", "restock", "reason", "failure_code"]
    exclude = ["amount", "currency"]
    readonly_fields = ["amount_"]
    amount_ = staticmethod(amount_column("amount"))
    list_filter = ["status", "restock"]
    list_select_related = ["order"]
    search_fields = ["=order__number", "=transaction_id"]


@admin.register(SandboxCharge)
class SandboxChargeAdmin(ReadOnlyAdmin[SandboxCharge]):
    list_display = ["created_at", "transaction_id", "amount_", "refunded_amount_", "state"]
    exclude = ["amount", "refunded_amount", "currency"]
    readonly_fields = ["amount_", "refunded_amount_"]
    amount_ = staticmethod(amount_column("amount"))
    refunded_amount_ = staticmethod(amount_column("refunded_amount"))


@admin.register(OrdersEvent)
class OrdersEventAdmin(OutboxAdmin):
    service = "orders"


@admin.register(OrdersFailedDelivery)
class OrdersFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "orders"


@admin.register(ShopWebhookEndpoint)
class ShopWebhookEndpointAdmin(WebhookEndpointAdmin):
    pass


@admin.register(ShopWebhookDelivery)
class ShopWebhookDeliveryAdmin(WebhookDeliveryAdmin):
    pass
