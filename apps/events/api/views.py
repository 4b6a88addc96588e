"""Webhooks over REST, for admins: parse, one call, answer."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.common.api.paging import NewestFirst
from apps.common.api.permissions import IsAdmin
from apps.common.api.schema import refusal
from apps.events.api.serializers import (
    DeliverySerializer,
    EndpointInput,
    EndpointSerializer,
    EndpointWithSecretSerializer,
    StateFilter,
)
from apps.events.models import WebhookDelivery, WebhookEndpoint
from apps.events.webhooks import endpoints, rows
from apps.events.webhooks.interface import EndpointChange

_TAGS = ["webhooks"]
_ENDPOINT = OpenApiExample(
    "Paid orders",
    request_only=True,
    value={"url": "https://erp.example.com/hooks", "types": ["order.paid"], "owner_email": "erp@example.com"},
)
_STOPPED = refusal("endpoint_stopped")


class EndpointsView(generics.GenericAPIView[WebhookEndpoint]):
    """Every endpoint, and the way to another."""

    permission_classes = (IsAdmin,)
    serializer_class = EndpointSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        return rows.endpoints()

    @extend_schema(tags=_TAGS, summary="List endpoints", responses=EndpointSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        return self.get_paginated_response(EndpointSerializer([rows.to_endpoint(row) for row in page], many=True).data)

    @extend_schema(
        tags=_TAGS,
        summary="Register an endpoint; the answer shows its secret, once",
        request=EndpointInput,
        responses={201: EndpointWithSecretSerializer, 409: refusal("too_many_endpoints")},
        examples=[_ENDPOINT],
    )
    def post(self, request: Request) -> Response:
        made = endpoints.create_endpoint(**EndpointInput.read(request))
        return Response(EndpointWithSecretSerializer(made).data, status=status.HTTP_201_CREATED)


class EndpointView(APIView):
    """One endpoint."""

    permission_classes = (IsAdmin,)

    @extend_schema(tags=_TAGS, summary="Read an endpoint", responses=EndpointSerializer)
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        return Response(EndpointSerializer(endpoints.get_endpoint(endpoint_id=endpoint_id)).data)

    @extend_schema(
        tags=_TAGS,
        summary="Change, resume or turn off an endpoint",
        description="`active: true` resumes one that is paused: it gets what it has missed. "
        "`active: false` gives up what waits for it.",
        request=EndpointInput,
        responses=EndpointSerializer,
    )
    def patch(self, request: Request, endpoint_id: UUID) -> Response:
        change = EndpointChange(**EndpointInput.read(request, partial=True))
        changed = endpoints.change_endpoint(endpoint_id=endpoint_id, change=change)
        return Response(EndpointSerializer(changed).data)

    @extend_schema(tags=_TAGS, summary="Delete an endpoint and its deliveries", responses={204: None})
    def delete(self, request: Request, endpoint_id: UUID) -> Response:
        endpoints.delete_endpoint(endpoint_id=endpoint_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateView(APIView):
    """A new secret."""

    permission_classes = (IsAdmin,)

    @extend_schema(
        tags=_TAGS,
        summary="Replace the secret; the answer shows the new one, once",
        description="For 24 hours messages carry a signature by each of the two.",
        request=None,
        responses=EndpointWithSecretSerializer,
    )
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        return Response(EndpointWithSecretSerializer(endpoints.rotate_secret(endpoint_id=endpoint_id)).data)


class SendTestView(APIView):
    """A message that says nothing."""

    permission_classes = (IsAdmin,)

    @extend_schema(
        tags=_TAGS,
        summary="Send a `webhook.ping`",
        request=None,
        responses={202: DeliverySerializer, 409: _STOPPED},
    )
    def post(self, request: Request, endpoint_id: UUID) -> Response:
        delivery = endpoints.send_test(endpoint_id=endpoint_id)
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


class DeliveriesView(generics.GenericAPIView[WebhookDelivery]):
    """What an endpoint was sent, and what it answered."""

    permission_classes = (IsAdmin,)
    serializer_class = DeliverySerializer
    pagination_class = NewestFirst
    filter_backends = ()

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        return rows.deliveries().filter(endpoint=self.kwargs["endpoint_id"])

    @extend_schema(
        tags=_TAGS,
        summary="List an endpoint's deliveries of the last 30 days, newest first",
        parameters=[OpenApiParameter("state", str, enum=WebhookDelivery.State.values)],
        responses=DeliverySerializer(many=True),
    )
    def get(self, request: Request, endpoint_id: UUID) -> Response:
        endpoints.get_endpoint(endpoint_id=endpoint_id)
        page = self.paginate_queryset(self.get_queryset().filter(**StateFilter.read(request))) or []
        return self.get_paginated_response(DeliverySerializer([rows.to_delivery(row) for row in page], many=True).data)


class ReplayView(APIView):
    """A delivery once more."""

    permission_classes = (IsAdmin,)

    @extend_schema(
        tags=_TAGS,
        summary="Send a delivery again, with the same `webhook-id`",
        request=None,
        responses={202: DeliverySerializer, 409: _STOPPED},
    )
    def post(self, request: Request, endpoint_id: UUID, delivery_id: UUID) -> Response:
        delivery = endpoints.replay_delivery(endpoint_id=endpoint_id, delivery_id=delivery_id)
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)
