"""A second factor for staff: one-time codes by the time (RFC 6238), and recovery codes for when the telephone is lost.

Of django-otp only the arithmetic is used: its devices keep recovery codes in the clear, and their tables could not tell
a service's database. A code is good once: the step of the last one is kept, and no code of it or before is taken.
"""

import base64
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote, urlencode
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django_otp.oath import hotp

from apps.common.databases import atomic
from apps.common.ids import readable
from apps.users import passwords
from apps.users.models import Activity, SecondFactor, User

logger = logging.getLogger(__name__)

_STEP = 30
_DIGITS = 6
# How many steps a telephone's clock may be off.
_TOLERANCE = 1
_RECOVERY_CODES = 10
_RECOVERY_LENGTH = 12


@dataclass(frozen=True)
class Enrolment:
    """What somebody puts into their authenticator app: by hand, or as the address that a QR code shows."""

    secret: str
    address: str


def is_on(user: User) -> bool:
    """Whether logging in takes a code."""
    return SecondFactor.objects.filter(user=user).exclude(confirmed_at=None).exists()


def recovery_codes_left(user: User) -> int:
    """How many recovery codes have not been used."""
    row = SecondFactor.objects.filter(user=user).first()
    return len(row.recovery_hashes) if row else 0


def begin(user: User) -> Enrolment:
    """Make a secret for the user, or show the one that waits for its first code. Nothing is asked for until then."""
    made = _box().encrypt(secrets.token_bytes(20)).decode()
    row, _ = SecondFactor.objects.get_or_create(user=user, defaults={"secret": made})
    try:
        secret = secret_of(row)
    except UnreadableSecret:
        row.secret = made
        row.save(update_fields=["secret"])
        secret = secret_of(row)
    label = quote(f"{settings.SHOP_NAME}:{user.username}")
    return Enrolment(secret, f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': settings.SHOP_NAME})}")


def secret_of(row: SecondFactor) -> str:
    """The secret as people type it."""
    return base64.b32encode(_secret(row)).decode()


def confirm(user: User, code: str) -> Sequence[str]:
    """Turn it on, for one whose app shows the right code; returns the recovery codes, which are not shown again. There
    are none if the code is wrong, or there is nothing to confirm.
    """
    with atomic("users"):
        row = SecondFactor.objects.select_for_update().filter(user=user, confirmed_at=None).first()
        if row is None or not _takes_code(row, code):
            return []
        codes = [_recovery_code() for _ in range(_RECOVERY_CODES)]
        row.confirmed_at, row.recovery_hashes = timezone.now(), [_hash(user.pk, each) for each in codes]
        row.save()
        _note(user, "user.second_factor_on", "Turned a second factor on.")
    return codes


def lets_in(user: User, code: str) -> bool:
    """Whether the user has no second factor, or the code is one of theirs, which is thereby used. Call it in a
    transaction.
    """
    row = SecondFactor.objects.select_for_update().filter(user=user).exclude(confirmed_at=None).first()
    if row is None:
        return True
    if not (_takes_code(row, code) or _takes_recovery_code(row, code)):
        return False
    row.save()
    return True


def turn_off(user: User) -> None:
    """Log-ins take the password alone again. The secret and the recovery codes are forgotten."""
    SecondFactor.objects.filter(user=user).delete()


def turn_off_by(user: User, password: str) -> None:
    """Turn it off, for its owner.

    Raises:
        WrongCredentials: the password is wrong, or was too often.
    """
    passwords.confirm(user, password, "password")
    with atomic("users"):
        turn_off(user)
        _note(user, "user.second_factor_off", "Turned the second factor off.")


def turn_off_for(user: User) -> None:
    """Turn it off, by an admin, for somebody who has lost what it takes."""
    with atomic("users"):
        if is_on(user):
            _note(user, "user.second_factor_off", "An admin has turned the second factor off.")
        turn_off(user)


def _note(user: User, action: str, details: str) -> None:
    Activity.objects.create(user=user, action=action, details=details)


def _takes_code(row: SecondFactor, code: str) -> bool:
    now = int(timezone.now().timestamp()) // _STEP
    try:
        secret = _secret(row)
    except UnreadableSecret as error:
        logger.error("%s Recovery codes are still taken.", error)  # noqa: TRY400 - the sentence says it all
        return False
    for step in range(now - _TOLERANCE, now + _TOLERANCE + 1):
        expected = f"{hotp(secret, step, _DIGITS):0{_DIGITS}}"
        if step > row.last_step and constant_time_compare(expected, code.replace(" ", "")):
            row.last_step = step
            return True
    return False


def _takes_recovery_code(row: SecondFactor, code: str) -> bool:
    hashed = _hash(row.user_id, code)
    left = [each for each in row.recovery_hashes if not constant_time_compare(each, hashed)]
    is_known = len(left) < len(row.recovery_hashes)
    row.recovery_hashes = left
    return is_known


def _recovery_code() -> str:
    letters = readable(secrets.randbits(5 * _RECOVERY_LENGTH), _RECOVERY_LENGTH)
    return "-".join(letters[place : place + 4] for place in range(0, _RECOVERY_LENGTH, 4))


def _hash(user_id: UUID, code: str) -> str:
    """What is kept of a recovery code: it has sixty random bits, so that a fast hash is good enough. No key is in it:
    the codes outlive a change of SECRET_KEY.
    """
    plain = code.upper().replace("-", "").replace(" ", "")
    return sha256(user_id.bytes + plain.encode()).hexdigest()


def _secret(row: SecondFactor) -> bytes:
    """
    Raises:
        UnreadableSecret: it was stored under another SECRET_KEY.
    """
    try:
        return _box().decrypt(row.secret)
    except InvalidToken as error:
        raise UnreadableSecret("The second factor was stored under another SECRET_KEY: turn it off.") from error


def reencrypt() -> int:
    """Encrypt every secret anew, under the present SECRET_KEY; returns how many. What cannot be read stays as it is."""
    done = 0
    for key in SecondFactor.objects.values_list("pk", flat=True):
        with atomic("users"):
            row = SecondFactor.objects.select_for_update().filter(pk=key).first()
            if row is None:
                continue
            try:
                row.secret = _box().rotate(row.secret).decode()
            except InvalidToken:
                logger.warning("A second factor was stored under a SECRET_KEY that is not known any more.")
                continue
            row.save(update_fields=["secret"])
            done += 1
    return done


class UnreadableSecret(Exception):
    """It was encrypted with another SECRET_KEY."""


def _box() -> MultiFernet:
    return MultiFernet([_key(text) for text in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(text: str | bytes) -> Fernet:
    known = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"cartwright second factors")
    return Fernet(base64.urlsafe_b64encode(known.derive(text.encode() if isinstance(text, str) else text)))
