"""What a payment provider does for us."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from apps.orders.interface import NextAction

# Within this time each call has answered, or raised `NoAnswer`.
TIMEOUT_SECONDS = 20


class TransactionState(StrEnum):
    """How far a transaction has come. Only the step to `captured` moves money.

    `created`: nobody has been asked for money yet. `requires_action`: the customer must confirm. `voided`: nothing
    will ever be captured.
    """

    CREATED = "created"
    REQUIRES_ACTION = "requires_action"
    AUTHORISED = "authorised"
    CAPTURED = "captured"
    VOIDED = "voided"


@dataclass(frozen=True)
class Transaction:
    """A payment in the provider's books."""

    id: str
    state: TransactionState
    next_action: NextAction | None = None
    refunded: Decimal = Decimal(0)


@dataclass(frozen=True)
class RefundReceipt:
    """A refund in the provider's books. One that is pending may still be refused."""

    id: str
    is_pending: bool = False


@dataclass(frozen=True)
class Notice:
    """Which payment or refund a provider's message is about. It carries no state: the provider is asked for that."""

    payment_id: UUID | None = None
    refund_id: UUID | None = None


class Declined(Exception):
    """The provider said no: nothing was moved. `code` is its reason, `detail` a sentence for the customer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NoAnswer(Exception):
    """The provider did not answer within `TIMEOUT_SECONDS`, or does not know yet: something may have happened."""


class PaymentProvider(ABC):
    """A payment provider. A repeated call with one idempotency key has one effect and the same answer."""

    name: str
    methods: Collection[str]

    @abstractmethod
    def authorise(
        self, *, idempotency_key: str, amount: Decimal, currency: str, method: str, token: str
    ) -> Transaction:
        """Hold the amount for us, or say what the customer must do first. No money moves.

        Raises:
            Declined, NoAnswer.
        """

    @abstractmethod
    def capture(self, *, idempotency_key: str, transaction_id: str) -> Transaction:
        """Take what is held, once.

        Raises:
            Declined: nothing is held, or no longer.
            NoAnswer.
        """

    @abstractmethod
    def void(self, *, idempotency_key: str, transaction_id: str) -> None:
        """See to it that the transaction is never captured.

        Raises:
            Declined: it was captured.
            NoAnswer.
        """

    @abstractmethod
    def find(self, *, idempotency_key: str, transaction_id: str, amount: Decimal, currency: str) -> Transaction | None:
        """What became of a transaction; None when none was made under that key. `transaction_id` is empty if unknown.

        Raises:
            Declined: it was refused.
            NoAnswer.
        """

    @abstractmethod
    def refund(self, *, idempotency_key: str, transaction_id: str, amount: Decimal, currency: str) -> RefundReceipt:
        """Give back an amount of a captured transaction. The key is the refund's own.

        Raises:
            Declined, NoAnswer.
        """

    @abstractmethod
    def find_refund(self, *, idempotency_key: str, transaction_id: str) -> RefundReceipt | None:
        """What became of a refund of the transaction; None when none was made under that key.

        Raises:
            Declined: it was refused.
            NoAnswer.
        """

    @abstractmethod
    def parse_webhook(self, *, body: bytes, headers: Mapping[str, str]) -> Notice | None:
        """Whom a message concerns that the provider has sent; None when it is none of our business.

        Raises:
            InvalidSignature (apps.orders.interface): the provider did not sign it, or long ago.
        """
