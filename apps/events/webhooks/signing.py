"""Signatures by the Standard Webhooks scheme, and the secrets behind them."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes
from standardwebhooks import Webhook

_PREFIX = "whsec_"
# The scheme allows 24 to 64.
_BYTES = 32


class UnreadableSecret(Exception):
    """It was encrypted with another SECRET_KEY."""


def new_secret() -> str:
    """A secret as its owner gets it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def encrypt(secret: str) -> str:
    """The form in which a secret is stored: a copy of the database is of no use without SECRET_KEY."""
    return _box().encrypt(secret.encode()).decode()


def reencrypt(stored: str) -> str:
    """A stored secret as it is stored under the present SECRET_KEY.

    Raises:
        UnreadableSecret: SECRET_KEY has changed since it was stored.
    """
    return encrypt(_decrypt(stored))


def headers(*, message_id: str, at: datetime, body: str, stored_secrets: Sequence[str]) -> Mapping[str, str]:
    """The three headers of the scheme, with a signature by each of the secrets.

    Raises:
        UnreadableSecret: SECRET_KEY has changed since they were stored.
    """
    signatures = [Webhook(_decrypt(stored)).sign(message_id, at, body) for stored in stored_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _decrypt(stored: str) -> str:
    try:
        return _box().decrypt(stored.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret("The secret was stored under another SECRET_KEY: rotate it.") from error


def _box() -> MultiFernet:
    return MultiFernet([_key(text) for text in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(text: str | bytes) -> Fernet:
    known = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"cartwright webhook secrets")
    derived = known.derive(force_bytes(text))
    return Fernet(base64.urlsafe_b64encode(derived))
