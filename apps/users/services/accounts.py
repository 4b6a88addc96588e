"""Opening accounts, and changing them."""

from collections.abc import Sequence
from uuid import UUID

from apps.common.databases import atomic
from apps.common.ids import new_id
from apps.events.outbox import publish
from apps.users import metrics, models, passwords, sessions
from apps.users.events import DEACTIVATED, REGISTERED, UPDATED, user_fact
from apps.users.interface import ActivityLine, OwnRole, Profile, Role, User
from apps.users.services.rows import (
    check_fields,
    get,
    given,
    keep_an_admin,
    lock,
    lock_with_admins,
    note,
    save_and_publish,
    to_user,
    unique_names,
)

_DETAILS_LENGTH = 300


class Accounts:
    """The part of the users service that keeps accounts."""

    def register(self, *, username: str, email: str, password: str, profile: Profile) -> User:
        user = models.User(**{**given(profile), "username": username, "email": email})
        check_fields(user)
        passwords.check_rules(password, user)
        user.set_password(password)
        with unique_names(user.pk, user.username, user.email), atomic("users"):
            user.save(force_insert=True)
            registered = to_user(user)
            publish("users", user_fact(REGISTERED, registered, user.version))
            metrics.count_registration()
        return registered

    def get_user(self, *, user_id: UUID) -> User:
        return to_user(get(pk=user_id))

    def get_user_by_email(self, *, email: str) -> User:
        return to_user(get(email_folded=models.fold(email)))

    def update_profile(self, *, user_id: UUID, profile: Profile) -> User:
        with unique_names(user_id, profile.username, profile.email), atomic("users"):
            user = lock(user_id)
            before = to_user(user)
            for name, value in given(profile).items():
                setattr(user, name, value)
            check_fields(user)
            is_new_address = models.fold(before.email) != user.email_folded
            if is_new_address:
                user.email_verified, user.email_key = False, new_id()
            if to_user(user) == before:
                return before
            return save_and_publish(user, UPDATED, email_changed=is_new_address)

    def manage_user(
        self, *, actor_id: UUID, user_id: UUID, role: Role | None = None, active: bool | None = None
    ) -> User:
        if actor_id == user_id:
            raise OwnRole("Nobody can change their own role or deactivate themselves. Ask another admin.")
        with atomic("users"):
            user = lock_with_admins(user_id)
            before = to_user(user)
            wanted = (before.role if role is None else role, before.active if active is None else active)
            if wanted == (before.role, before.active):
                return before
            if wanted != (Role.ADMIN, True):
                keep_an_admin(user)
            user.role, user.active = wanted
            sessions.end(models.Session.objects.filter(user=user))
            _note_access(user, before, actor_id)
            return save_and_publish(user, DEACTIVATED if before.active and not user.active else UPDATED)

    def record_activities(self, *, lines: Sequence[ActivityLine]) -> None:
        with atomic("users"):
            users = models.User.objects.filter(pk__in={line.user_id for line in lines}, erased_at=None)
            known = set(users.values_list("pk", flat=True))
            rows = [
                models.Activity(**{**vars(line), "details": line.details[:_DETAILS_LENGTH]})
                for line in lines
                if line.user_id in known
            ]
            models.Activity.objects.bulk_create(rows, ignore_conflicts=True)


def _note_access(user: models.User, before: User, actor_id: UUID) -> None:
    """Keep what an admin has changed, and tell the user."""
    models.AccessChange.objects.create(
        user=user,
        actor_id=actor_id,
        role_before=before.role,
        role_after=user.role,
        active_before=before.active,
        active_after=user.active,
    )
    changes = []
    if user.role != before.role:
        changes.append(f"changed the role from {before.role} to {user.role}")
    if user.active != before.active:
        changes.append(f"{'activated' if user.active else 'deactivated'} the account")
    note(user.pk, "user.access_changed", f"The admin {actor_id} {' and '.join(changes)}.")
