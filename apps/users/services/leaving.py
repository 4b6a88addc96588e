"""What somebody may ask of their data: to have all of it, and to have it erased."""

from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.utils import timezone

from apps.common.databases import atomic
from apps.common.ids import new_id
from apps.events.outbox import publish
from apps.users import guard, models, passwords, second_factor, sessions
from apps.users.events import deleted_fact
from apps.users.interface import MOST_ACTIVITIES, Deed, Role, UserData
from apps.users.services.rows import get, keep_an_admin, lock_with_admins, to_session, to_user

# It says nothing about the person, and must be known later.
KEPT_ACTION = "user.access_changed"


class Leaving:
    """The part of the users service that hands out and erases personal data."""

    def erase_user(self, *, user_id: UUID, password: str) -> None:
        checked = get(pk=user_id)
        passwords.confirm(checked, password, "password")
        with atomic("users"):
            user = lock_with_admins(user_id)
            if user.password != checked.password:
                raise passwords.wrong_password("password")
            keep_an_admin(user)
            sessions.end(models.Session.objects.filter(user=user))
            _empty(user)
            publish("users", deleted_fact(user_id, user.version))

    def export_user(self, *, user_id: UUID) -> UserData:
        user = get(pk=user_id)
        known = models.Session.objects.filter(user=user).order_by("-id")
        lines = models.Activity.objects.filter(user=user).order_by("-id")
        return UserData(
            user=to_user(user),
            sessions=[to_session(row) for row in known[:MOST_ACTIVITIES]],
            activities=[Deed(row.action, row.details, row.happened_at) for row in lines[:MOST_ACTIVITIES]],
        )


def _empty(user: models.User) -> None:
    """Leave nothing of the person in the rows that stay, in the caller's transaction. Names must still be unique."""
    name = f"erased-{user.pk.hex}"
    user.username, user.email = name, f"{name}@erased.invalid"
    user.first_name = user.last_name = user.phone = user.address = ""
    user.password = make_password(None)
    user.role, user.active, user.email_verified, user.last_login = Role.USER, False, False, None
    user.email_key, user.erased_at = new_id(), timezone.now()
    user.version += 1
    user.save()
    models.Session.objects.filter(user=user).update(address=None, agent="")
    models.Activity.objects.filter(user=user).exclude(action=KEPT_ACTION).delete()
    second_factor.turn_off(user)
    guard.forget(user.pk)
