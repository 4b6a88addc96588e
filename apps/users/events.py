"""The facts that the users service publishes."""

from uuid import UUID

from apps.events.envelope import Fact
from apps.users.interface import User

REGISTERED = "user.registered"
UPDATED = "user.updated"
DEACTIVATED = "user.deactivated"
DELETED = "user.deleted"
# For this service's own mail; nobody outside hears of them.
VERIFICATION_REQUESTED = "verification.requested"
RESET_REQUESTED = "password_reset.requested"


def user_fact(kind: str, user: User, sequence: int, **more: object) -> Fact:
    """What the service tells of a user: `user_id`, `username`, `email`; of a change also whether the address is new,
    `email_changed`.
    """
    return Fact(
        type=kind,
        subject=user.id,
        sequence=sequence,
        data={"user_id": str(user.id), "username": user.username, "email": user.email, **more},
    )


def deleted_fact(user_id: UUID, sequence: int) -> Fact:
    """An account was erased: only its id is told."""
    return Fact(type=DELETED, subject=user_id, sequence=sequence, data={"user_id": str(user_id)})


def verification_fact(user_id: UUID, sequence: int) -> Fact:
    """The user wants another mail with which to verify their address."""
    return Fact(type=VERIFICATION_REQUESTED, subject=user_id, sequence=sequence, data={"user_id": str(user_id)})


def reset_fact(request_id: UUID, email: str) -> Fact:
    """Somebody wants to set a new password for the account with that address, if there is one."""
    return Fact(type=RESET_REQUESTED, subject=request_id, sequence=1, data={"email": email})
