"""What comes in and what goes out."""

from rest_framework import serializers
from rest_framework_dataclasses.serializers import DataclassSerializer

from apps.common.api.fields import LineField
from apps.common.api.serializers import InputSerializer, QueryInput
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks.interface import Delivery, Endpoint, EndpointWithSecret

_MOST_TYPES = 100


class EndpointInput(InputSerializer):
    """What staff say of an endpoint."""

    url = LineField(max_length=2000, help_text="https://, without credentials; its host must be public.")
    types = serializers.ListField(
        child=LineField(max_length=64), max_length=_MOST_TYPES, required=False, help_text="None means all events."
    )
    description = LineField(max_length=200, allow_blank=True, required=False)
    owner_email = serializers.EmailField(max_length=254, help_text="Who is told when it fails for too long.")
    active = serializers.BooleanField(required=False, help_text="Turn it on, or resume it; or turn it off.")


class StateFilter(QueryInput):
    """Which deliveries to list."""

    state = serializers.ChoiceField(choices=WebhookDelivery.State.choices, required=False)


class EndpointSerializer(DataclassSerializer[Endpoint]):
    """An address that wants to hear of events."""

    state = serializers.ChoiceField(choices=WebhookEndpoint.State.choices)

    class Meta:
        dataclass = Endpoint


class EndpointWithSecretSerializer(DataclassSerializer[EndpointWithSecret]):
    """An endpoint with its secret, which is shown this once."""

    state = serializers.ChoiceField(choices=WebhookEndpoint.State.choices)

    class Meta:
        dataclass = EndpointWithSecret


class DeliverySerializer(DataclassSerializer[Delivery]):
    """An event on its way to an endpoint, with its last attempt."""

    state = serializers.ChoiceField(choices=WebhookDelivery.State.choices)

    class Meta:
        dataclass = Delivery
