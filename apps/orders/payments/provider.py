"""What a payment provider does for us."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Charge:
    """Money that was taken."""

    transaction_id: str
    refunded: bool = False


class Declined(Exception):
    """The provider said no: nothing was moved. `code` is its reason, `detail` a sentence for the customer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NoAnswer(Exception):
    """The provider did not answer within `TIMEOUT_SECONDS`: money may or may not have moved."""


class PaymentProvider(ABC):
    """A payment provider. A repeated call with one idempotency key has one effect and the same answer."""

    name: str
    methods: Collection[str]

    @abstractmethod
    def charge(self, *, idempotency_key: str, amount: Decimal, currency: str, method: str, token: str) -> Charge:
        """Take the amount from the customer behind the token.

        Raises:
            Declined, NoAnswer.
        """

    @abstractmethod
    def find(self, *, idempotency_key: str) -> Charge | None:
        """What became of a charge; None when none was made under that key.

        Raises:
            NoAnswer.
        """

    @abstractmethod
    def refund(self, *, idempotency_key: str, transaction_id: str) -> None:
        """Give the whole charge back.

        Raises:
            Declined, NoAnswer.
        """
