"""Tokens that are mailed: whoever brings one back reads the account's mail.

They are not kept. Each is signed, expires, and names the state of the account for which it was written: what it lets
its bearer do changes that state, and so it works once.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from apps.common.errors import Problem
from apps.users.interface import InvalidLink
from apps.users.models import User

MAX_LENGTH = 300


class Purpose(StrEnum):
    """What a token lets its bearer do."""

    VERIFY = "verify"
    RESET = "reset"


@dataclass(frozen=True)
class Proof:
    """What a token says whose signature and age are good. Whether it still `fits` is for the account to say."""

    purpose: Purpose
    user_id: UUID
    state: str

    def fits(self, user: User) -> bool:
        """Whether the account is as it was when the token was written."""
        is_for_them = user.pk == self.user_id and user.active and user.erased_at is None
        return is_for_them and constant_time_compare(self.state, _state(self.purpose, user))


def lifetime(purpose: Purpose) -> timedelta:
    lifetimes = {Purpose.VERIFY: settings.EMAIL_VERIFY_WITHIN, Purpose.RESET: settings.PASSWORD_RESET_WITHIN}
    return lifetimes[purpose]


def write(purpose: Purpose, user: User) -> str:
    """A token for the account as it is."""
    return signing.dumps([user.pk.hex, _state(purpose, user)], salt=_salt(purpose))


def read(purpose: Purpose, token: str) -> Proof:
    """What a token of ours says.

    Raises:
        InvalidLink: it is none, is for something else, or has expired.
    """
    try:
        user_id, state = signing.loads(token[:MAX_LENGTH], salt=_salt(purpose), max_age=lifetime(purpose))
        return Proof(purpose, UUID(user_id), state)
    except (signing.BadSignature, ValueError) as error:
        raise refused() from error


def refused() -> InvalidLink:
    """The refusal of a token, whatever is wrong with it."""
    return InvalidLink(Problem("The link is not valid, has expired or was used before. Ask for a new one.", "token"))


def _salt(purpose: Purpose) -> str:
    return f"apps.users.proofs.{purpose}"


def _state(purpose: Purpose, user: User) -> str:
    """What changes when the token is used, and whenever it is to be worth nothing any more."""
    used = user.password if purpose is Purpose.RESET else str(user.email_verified)
    return salted_hmac(_salt(purpose), f"{user.email_key}{used}", algorithm="sha256").hexdigest()[:32]
