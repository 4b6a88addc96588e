"""Staff pages for orders. Every action calls the service, so that stock, money and events follow."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.common.admin import ReadOnlyAdmin, ReadOnlyInline
from apps.common.errors import DomainError
from apps.events.admin import FailedDeliveryAdmin, OutboxAdmin
from apps.orders.interface import Actor
from apps.orders.models import (
    Order,
    OrderItem,
    OrdersEvent,
    OrdersFailedDelivery,
    OrderTransition,
    Payment,
    SandboxCharge,
)
from config import services


class ItemInline(ReadOnlyInline):
    model = OrderItem
    fields = ["sku", "product_name", "quantity", "price", "total"]


class TransitionInline(ReadOnlyInline):
    model = OrderTransition
    fields = ["at", "action", "status", "actor_id", "reason"]


class PaymentInline(ReadOnlyInline):
    model = Payment
    fields = ["created_at", "method", "amount", "currency", "status", "transaction_id", "failure_detail"]


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin[Order]):
    list_display = ["number", "status", "total", "currency", "created_at", "user_id"]
    list_filter = ["status", "currency"]
    search_fields = ["=number", "=user_id"]
    inlines = [ItemInline, TransitionInline, PaymentInline]
    actions = ["ship", "deliver", "cancel", "refund"]

    @admin.action(description="Ship the selected orders", permissions=["view"])
    def ship(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, "ship_order")

    @admin.action(description="Mark the selected orders as delivered", permissions=["view"])
    def deliver(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, "deliver_order")

    @admin.action(description="Cancel the selected orders; what was paid is refunded", permissions=["view"])
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, "cancel_order")

    @admin.action(description="Refund the selected orders", permissions=["view"])
    def refund(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        self._carry_out(request, orders, "refund_order")

    def _carry_out(self, request: HttpRequest, orders: QuerySet[Order], method: str) -> None:
        actor = Actor(user_id=request.user.id, is_staff=True)
        done = 0
        for order in orders:
            try:
                getattr(services.orders(), method)(order_id=order.pk, actor=actor, reason="by staff")
            except DomainError as error:
                self.message_user(request, f"{order.number}: {error}", messages.ERROR)
            else:
                done += 1
        if done:
            self.message_user(request, f"{done} orders: {method.replace('_', ' ')} done.", messages.SUCCESS)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin[Payment]):
    list_display = ["created_at", "order", "amount", "currency", "method", "status", "transaction_id"]
    list_filter = ["status", "provider", "method"]
    list_select_related = ["order"]
    search_fields = ["=order__number", "=transaction_id"]


@admin.register(SandboxCharge)
class SandboxChargeAdmin(ReadOnlyAdmin[SandboxCharge]):
    list_display = ["created_at", "transaction_id", "amount", "currency", "refunded"]


@admin.register(OrdersEvent)
class OrdersEventAdmin(OutboxAdmin):
    service = "orders"


@admin.register(OrdersFailedDelivery)
class OrdersFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "orders"
