"""Payments by card through Stripe.

A PaymentIntent is made without a payment method: nobody can be charged by it, so making it again under the same key is
how a payment is looked up. Then it is confirmed with the customer's token, which authorises it, and then captured.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import orjson
import stripe
from django.conf import settings

from apps.common.ids import new_id
from apps.common.money import MAX_PLACES, places_of
from apps.orders.interface import InvalidSignature, NextAction
from apps.orders.payments.provider import (
    TIMEOUT_SECONDS,
    Declined,
    NoAnswer,
    Notice,
    PaymentProvider,
    RefundReceipt,
    Transaction,
    TransactionState,
)

if TYPE_CHECKING:
    from stripe._v1_services import V1Services
    from stripe.params import PaymentIntentConfirmParams

logger = logging.getLogger(__name__)

# https://docs.stripe.com/currencies: what has no smaller unit there, and what has thousandths, of which the last digit
# must be 0. ISK and UGX have no smaller unit either, but are still counted in hundredths, of which there are no single
# ones. Everything else is counted in hundredths.
_WHOLE = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THOUSANDTHS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_CONNECT_WITHIN = 5
_STATES = {
    "requires_payment_method": TransactionState.CREATED,
    "requires_confirmation": TransactionState.CREATED,
    "requires_action": TransactionState.REQUIRES_ACTION,
    "requires_capture": TransactionState.AUTHORISED,
    "succeeded": TransactionState.CAPTURED,
    "canceled": TransactionState.VOIDED,
}


class StripeProvider(PaymentProvider):
    """Stripe, by its own library. A token is a payment method (`pm_…`) or a card's token (`tok_…`) of Stripe's."""

    name = "stripe"
    methods = frozenset({"card"})

    def authorise(
        self, *, idempotency_key: str, amount: Decimal, currency: str, method: str, token: str
    ) -> Transaction:
        del method  # cards, also those in a wallet
        chosen = _payment_method(token)
        with _asking() as api:
            intent_id = _create(api, idempotency_key, amount, currency)
            intent = api.payment_intents.confirm(
                intent_id,
                params=cast("PaymentIntentConfirmParams", {**chosen, "use_stripe_sdk": True}),
                options={"idempotency_key": f"{idempotency_key}-confirm"},
            )
        return _to_transaction(intent)

    def capture(self, *, idempotency_key: str, transaction_id: str) -> Transaction:
        key = f"{idempotency_key}-capture"
        with _asking() as api:
            try:
                return _to_transaction(api.payment_intents.capture(transaction_id, options={"idempotency_key": key}))
            except stripe.InvalidRequestError:
                # It may have been captured long ago, when the key was another day's.
                if api.payment_intents.retrieve(transaction_id).status != "succeeded":
                    raise
            except stripe.APIError as fault:
                # Stripe repeats its own faults for a day. An intent is captured once, whatever the key.
                if not _is_replayed(fault):
                    raise
                key = f"{key}-{new_id()}"
                return _to_transaction(api.payment_intents.capture(transaction_id, options={"idempotency_key": key}))
        return Transaction(id=transaction_id, state=TransactionState.CAPTURED)

    def void(self, *, idempotency_key: str, transaction_id: str) -> None:
        del idempotency_key  # an intent is cancelled once, whatever the key
        with _asking() as api:
            try:
                api.payment_intents.cancel(transaction_id)
            except stripe.InvalidRequestError as refusal:
                status = api.payment_intents.retrieve(transaction_id).status
                if status == "succeeded":
                    raise Declined("already_captured", "The payment was captured before.") from refusal
                if status != "canceled":
                    raise NoAnswer from refusal

    def find(self, *, idempotency_key: str, transaction_id: str, amount: Decimal, currency: str) -> Transaction | None:
        with _asking() as api:
            try:
                intent_id = transaction_id or _create(api, idempotency_key, amount, currency)
            except stripe.APIError as fault:
                if _is_replayed(fault):
                    # Whoever made it had this answer, too, and went no further.
                    return None
                raise
            try:
                intent = api.payment_intents.retrieve(intent_id, params={"expand": ["latest_charge"]})
                refusal = intent.last_payment_error
                if intent.status == "requires_payment_method" and refusal:
                    # The customer may have what it takes to try another card, of which we would not know.
                    api.payment_intents.cancel(intent_id)
                    raise _declined(refusal)
            except stripe.InvalidRequestError as unclear:
                raise NoAnswer from unclear
        return _to_transaction(intent)

    def refund(self, *, idempotency_key: str, transaction_id: str, amount: Decimal, currency: str) -> RefundReceipt:
        with _asking() as api:
            try:
                refund = api.refunds.create(
                    params={
                        "payment_intent": transaction_id,
                        "amount": to_units(amount, currency),
                        "metadata": {"refund_id": idempotency_key},
                    },
                    options={"idempotency_key": idempotency_key},
                )
            except stripe.APIError as fault:
                # Stripe repeats its own faults for a day; before, `find_refund` has seen that nothing came of it.
                if _is_replayed(fault):
                    raise Declined("provider_fault", "The payment provider could not make the refund.") from fault
                raise
        return _to_receipt(refund)

    def find_refund(self, *, idempotency_key: str, transaction_id: str) -> RefundReceipt | None:
        with _asking() as api:
            try:
                refunds = api.refunds.list(params={"payment_intent": transaction_id, "limit": 100})
                ours = (
                    each
                    for each in refunds.auto_paging_iter()
                    if getattr(each.metadata, "refund_id", None) == idempotency_key
                )
                refund = next(ours, None)
            except stripe.InvalidRequestError as unclear:
                raise NoAnswer from unclear
        return _to_receipt(refund) if refund else None

    def parse_webhook(self, *, body: bytes, headers: Mapping[str, str]) -> Notice | None:
        try:
            stripe.WebhookSignature.verify_header(
                body,
                headers.get("Stripe-Signature"),
                settings.STRIPE_WEBHOOK_SECRET,
                stripe.Webhook.DEFAULT_TOLERANCE,
            )
            event = orjson.loads(body)
        except (stripe.SignatureVerificationError, ValueError, TypeError) as error:
            raise InvalidSignature("The message is not signed by Stripe, or long ago.") from error
        return _to_notice(event)


def to_units(amount: Decimal, currency: str) -> int:
    """The amount as Stripe counts the currency.

    Raises:
        Declined: Stripe cannot take it.
    """
    if currency in _WHOLE:
        factor, step = 1, 1
    elif currency in _THOUSANDTHS:
        factor, step = 1000, 10
    else:
        # What ISO 4217 gives no smaller unit (ISK, UGX) is still counted in hundredths.
        factor, step = 100, 100 if places_of(currency) == 0 else 1
    units = amount * factor
    is_known = currency in _THOUSANDTHS or places_of(currency) < MAX_PLACES
    if not is_known or units % step:
        raise Declined("amount_not_possible", f"{amount} {currency} cannot be paid by card.")
    return int(units)


def from_units(units: int, currency: str) -> Decimal:
    """What Stripe has counted, as an amount."""
    code = currency.upper()
    return Decimal(units).scaleb(0 if code in _WHOLE else -3 if code in _THOUSANDTHS else -2)


class _HastyClient(stripe.RequestsClient):
    """Gives all requests of one call together `TIMEOUT_SECONDS`."""

    def __init__(self) -> None:
        super().__init__(timeout=TIMEOUT_SECONDS)
        self._until = monotonic() + TIMEOUT_SECONDS

    def request(  # type: ignore[override] # as RequestsClient has it
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: object = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        left = max(self._until - monotonic(), 0.01)
        connecting = min(_CONNECT_WITHIN, left / 2)
        self._timeout = (connecting, left - connecting)
        return super().request(method, url, headers, post_data)


@contextmanager
def _asking() -> Iterator["V1Services"]:
    """Stripe's API for one call of ours, with its errors as ours. Nothing is tried again: reconciliation does that."""
    http = _HastyClient()
    client = stripe.StripeClient(
        settings.STRIPE_SECRET_KEY,
        http_client=http,
        max_network_retries=0,
        base_addresses={"api": settings.STRIPE_API_BASE.rstrip("/") or stripe.DEFAULT_API_BASE},
    )
    try:
        yield client.v1
    except stripe.CardError as refusal:
        raise _declined(refusal.error) from refusal
    except stripe.InvalidRequestError as refusal:
        logger.warning("Stripe refused a request: %s", refusal)
        raise Declined(refusal.code or "invalid_request", "The payment provider refused the request.") from refusal
    except (stripe.AuthenticationError, stripe.PermissionError) as refusal:
        logger.error("Stripe does not accept STRIPE_SECRET_KEY")  # noqa: TRY400 - its message may hold part of the key
        raise NoAnswer from refusal
    except stripe.StripeError as silence:
        logger.warning("Stripe did not answer: %s", type(silence).__name__)
        raise NoAnswer from silence
    finally:
        http.close()  # type: ignore[no-untyped-call]


def _create(api: "V1Services", key: str, amount: Decimal, currency: str) -> str:
    """The payment's intent, made unless it was made before. The answer may be an old one: only its id is of use."""
    intent = api.payment_intents.create(
        params={
            "amount": to_units(amount, currency),
            "currency": currency.lower(),
            "capture_method": "manual",
            "allowed_payment_method_types": ["card"],
            "metadata": {"payment_id": key},
        },
        options={"idempotency_key": key},
    )
    return intent.id


def _payment_method(token: str) -> dict[str, Any]:
    if token.startswith("pm_"):
        return {"payment_method": token}
    if token.startswith("tok_"):
        return {"payment_method_data": {"type": "card", "card": {"token": token}}}
    raise Declined("unknown_token", "The payment token is unknown.")


def _to_transaction(intent: stripe.PaymentIntent) -> Transaction:
    state = _STATES.get(intent.status)
    if state is None:
        # `processing`: the bank takes its time.
        raise NoAnswer
    charge = intent.latest_charge
    refunded = charge.amount_refunded if isinstance(charge, stripe.Charge) else 0
    return Transaction(
        id=intent.id,
        state=state,
        next_action=_to_next_action(intent) if state == TransactionState.REQUIRES_ACTION else None,
        refunded=from_units(refunded, intent.currency),
    )


def _to_next_action(intent: stripe.PaymentIntent) -> NextAction:
    """What Stripe.js does with the customer; no payment of ours is sent to an address."""
    action = intent.next_action
    return NextAction(type=action.type if action else "use_stripe_sdk", client_secret=intent.client_secret)


def _to_receipt(refund: stripe.Refund) -> RefundReceipt:
    if refund.status in ("failed", "canceled"):
        raise Declined(refund.failure_reason or refund.status, "The payment provider could not make the refund.")
    return RefundReceipt(id=refund.id, is_pending=refund.status != "succeeded")


def _to_notice(event: Mapping[str, Any]) -> Notice | None:
    """Whom an event is about: what we have made carries our ids."""
    thing = event.get("data", {}).get("object", {})
    named = thing.get("metadata") or {}
    try:
        if thing.get("object") == "payment_intent":
            return Notice(payment_id=UUID(named["payment_id"]))
        if thing.get("object") == "refund":
            return Notice(refund_id=UUID(named["refund_id"]))
    except (KeyError, ValueError):
        # Made by somebody else with the same account.
        pass
    return None


def _declined(refusal: stripe.StripeObject | None) -> Declined:
    """The bank's reason, or else Stripe's, and Stripe's sentence for the customer."""
    code = getattr(refusal, "decline_code", None) or getattr(refusal, "code", None)
    return Declined(code or "card_declined", getattr(refusal, "message", None) or "The card was declined.")


def _is_replayed(fault: stripe.StripeError) -> bool:
    """Whether this is the answer to an earlier request with the same key."""
    return {name.lower(): text for name, text in (fault.headers or {}).items()}.get("idempotent-replayed") == "true"
