"""Webhooks as REST and the staff pages see them. What can be done to them is in `endpoints.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.common.errors import Conflict, InvalidInput, NotFound
from apps.events.models import WebhookDelivery, WebhookEndpoint


@dataclass(frozen=True)
class Endpoint:
    """An address that wants to hear of events; `types` empty is all of them."""

    id: UUID
    url: str
    types: Sequence[str]
    description: str
    owner_email: str
    state: WebhookEndpoint.State
    reason: str
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class EndpointWithSecret(Endpoint):
    """The one answer in which the secret is seen."""

    secret: str


@dataclass(frozen=True)
class Delivery:
    """An event on its way to an endpoint. `body` is what is sent, `response` how the last answer begins."""

    id: UUID
    event_id: UUID
    type: str
    state: WebhookDelivery.State
    attempts: int
    next_attempt_at: datetime | None
    attempted_at: datetime | None
    status_code: int | None
    response: str
    error: str
    duration_ms: int | None
    body: str
    created_at: datetime


@dataclass(frozen=True)
class EndpointChange:
    """The parts of an endpoint that staff edit; None leaves a part as it is."""

    url: str | None = None
    types: Sequence[str] | None = None
    description: str | None = None
    owner_email: str | None = None
    active: bool | None = None


class EndpointNotFound(NotFound):
    code = "endpoint_not_found"


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"


class InvalidEndpoint(InvalidInput):
    code = "invalid_endpoint"


class EndpointStopped(Conflict):
    """It is paused or off, so that nothing would be sent."""

    code = "endpoint_stopped"


class TooManyEndpoints(Conflict):
    code = "too_many_endpoints"
