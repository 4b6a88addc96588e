"""The facts that the users service publishes."""

from apps.events.envelope import Fact
from apps.users.interface import User

REGISTERED = "user.registered"
UPDATED = "user.updated"
DEACTIVATED = "user.deactivated"


def user_fact(kind: str, user: User, sequence: int) -> Fact:
    """What the service tells of a user: `user_id`, `username`, `email`."""
    return Fact(
        type=kind,
        subject=user.id,
        sequence=sequence,
        data={"user_id": str(user.id), "username": user.username, "email": user.email},
    )
