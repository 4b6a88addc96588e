"""Showing who one is: by the old password, or by what was mailed to one's address."""

from uuid import UUID

from django.contrib.auth.hashers import make_password

from apps.common.databases import atomic
from apps.common.ids import new_id
from apps.events.outbox import publish
from apps.users import guard, models, passwords, proofs, sessions
from apps.users.events import UPDATED, reset_fact, verification_fact
from apps.users.interface import AlreadyVerified, User, UserNotFound
from apps.users.proofs import Proof, Purpose
from apps.users.services.rows import get, lock, note, save_and_publish


class Proving:
    """The part of the users service that verifies addresses and sets passwords."""

    def change_password(self, *, user_id: UUID, session_id: UUID | None, old: str, new: str) -> None:
        checked = get(pk=user_id)
        passwords.confirm(checked, old, "old_password")
        passwords.check_rules(new, checked)
        new_hash = make_password(new)
        with atomic("users"):
            user = lock(user_id)
            if user.password != checked.password:
                raise passwords.wrong_password("old_password")
            _set_password(user, new_hash)
            sessions.end(sessions.others(user_id, session_id))
            note(user_id, "user.password_changed", "Changed the password; all other sessions were ended.")

    def request_verification(self, *, user_id: UUID) -> None:
        user = get(pk=user_id)
        if user.email_verified:
            raise AlreadyVerified("The e-mail address is verified already.")
        with atomic("users"):
            publish("users", verification_fact(user_id, user.version))

    def verify_email(self, *, token: str) -> User:
        proof = proofs.read(Purpose.VERIFY, token)
        with atomic("users"):
            user = _locked(proof)
            user.email_verified = True
            note(user.pk, "user.email_verified", "Verified the e-mail address.")
            return save_and_publish(user, UPDATED, email_changed=False)

    def request_password_reset(self, *, email: str) -> None:
        with atomic("users"):
            publish("users", reset_fact(new_id(), email))

    def reset_password(self, *, token: str, password: str) -> None:
        proof = proofs.read(Purpose.RESET, token)
        checked = models.User.objects.filter(pk=proof.user_id).first()
        if checked is None or not proof.fits(checked):
            raise proofs.refused()
        passwords.check_rules(password, checked)
        new_hash = make_password(password)
        with atomic("users"):
            user = _locked(proof)
            _set_password(user, new_hash)
            sessions.end(models.Session.objects.filter(user=user))
            guard.forget(user.pk)
            note(user.pk, "user.password_reset", "Set a new password by mail; all sessions were ended.")


def set_password(user_id: UUID, password: str | None) -> None:
    """Set a password on a staff page, or none with which one could log in. Whoever knew the old one may be the reason:
    the user's sessions end.

    Raises:
        UserNotFound: there is no such account.
    """
    new_hash = make_password(password)
    with atomic("users"):
        user = lock(user_id)
        _set_password(user, new_hash)
        sessions.end(models.Session.objects.filter(user=user))
        guard.forget(user_id)
        note(user_id, "user.password_set", "A new password was set on the staff pages; all sessions were ended.")


def _locked(proof: Proof) -> models.User:
    """The user whose state the token names: of two that bring it at once, the second finds another state.

    Raises:
        InvalidLink: it was used, or the account has changed since.
    """
    try:
        user = lock(proof.user_id)
    except UserNotFound as error:
        raise proofs.refused() from error
    if not proof.fits(user):
        raise proofs.refused()
    return user


def _set_password(user: models.User, new_hash: str) -> None:
    user.password = new_hash
    user.save(update_fields=["password", "updated_at"])
