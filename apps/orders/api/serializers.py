"""What the orders API reads and writes."""

from typing import Any

from rest_framework import serializers
from rest_framework_dataclasses.serializers import DataclassSerializer

from apps.common.api.fields import AmountField, CurrencyField, LineField, TextField, from_to
from apps.common.api.serializers import InputSerializer, QueryInput
from apps.orders.interface import Order, OrderStatus, Refund, ShippingAddress, TimelineEntry
from apps.products.interface import MAX_LINES, MAX_QUANTITY, StockLine


class OrderSerializer(DataclassSerializer[Order]):
    """An order."""

    class Meta:
        dataclass = Order


class RefundSerializer(DataclassSerializer[Refund]):
    """An attempt to pay back some or all of what was paid."""

    class Meta:
        dataclass = Refund


class TimelineSerializer(DataclassSerializer[TimelineEntry]):
    """A change of an order."""

    class Meta:
        dataclass = TimelineEntry


class StatusSerializer(serializers.Serializer[Any]):
    """Where an order stands."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=[(status.value, status.name) for status in OrderStatus])


class LineSerializer(InputSerializer):
    product_id = serializers.UUIDField()
    quantity = serializers.IntegerField(min_value=1, max_value=MAX_QUANTITY)


class ShippingSerializer(InputSerializer):
    name = LineField(max_length=200, required=False, allow_blank=True)
    address = TextField(max_length=500, required=False, allow_blank=True)
    city = LineField(max_length=100, required=False, allow_blank=True)
    state = LineField(max_length=100, required=False, allow_blank=True)
    country = LineField(max_length=100, required=False, allow_blank=True)
    zip_code = LineField(max_length=20, required=False, allow_blank=True)
    method = LineField(max_length=32, required=False)
    # The shop says what shipping costs and how far it has come.
    cost = AmountField(read_only=True)
    status = serializers.CharField(read_only=True)


class ItemsField(serializers.ListField):
    """The lines of an order, as `StockLine`s."""

    child = LineSerializer()

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - REST framework's own arguments
        super().__init__(**{"min_length": 1, "max_length": MAX_LINES, "allow_empty": False, **kwargs})

    def to_internal_value(self, data: list[object]) -> list[StockLine]:
        return [StockLine(**line) for line in super().to_internal_value(data)]


class _ChangesSerializer(InputSerializer):
    shipping = ShippingSerializer(required=False)
    note = TextField(max_length=1000, required=False, allow_blank=True)

    def validate_shipping(self, value: dict[str, Any] | None) -> ShippingAddress | None:
        return ShippingAddress(**value) if value is not None else None


class DetailsSerializer(_ChangesSerializer):
    # A new order may say that nothing is sent. Of a change, `null` could mean that or nothing at all.
    shipping = ShippingSerializer(required=False, allow_null=True)
    currency = CurrencyField(required=False)


class NewOrderSerializer(DetailsSerializer):
    items = ItemsField()


class ReplacedOrderSerializer(_ChangesSerializer):
    items = ItemsField()


class ChangedOrderSerializer(_ChangesSerializer):
    items = ItemsField(required=False)


class PaymentSerializer(InputSerializer):
    method = LineField(max_length=32)
    token = LineField(max_length=200, write_only=True)


class ReasonSerializer(InputSerializer):
    reason = LineField(max_length=300, required=False, allow_blank=True, default="")


class RefundRequestSerializer(ReasonSerializer):
    amount = AmountField(required=False)
    items = ItemsField(required=False)
    restock = serializers.BooleanField(required=False, allow_null=True, default=None)


class TimelineFilterSerializer(QueryInput):
    """`?after=`"""

    after = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)


class OrderFilterSerializer(QueryInput):
    """`?status=&from=&to=`; the times are RFC 3339."""

    status = serializers.ChoiceField(choices=[status.value for status in OrderStatus], required=False)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **from_to(serializers.DateTimeField, required=False)}
