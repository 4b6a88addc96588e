"""Accounts, sessions and the activity log."""

import unicodedata
from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from apps.common.ids import new_id
from apps.events.models import FailedDelivery, OutboxEvent
from apps.users.interface import Role
from apps.users.validators import check_username

ROLE_NAMES = {
    Role.USER: _("Customer"),
    Role.CATALOG_STAFF: _("Catalogue staff"),
    Role.ORDER_STAFF: _("Order staff"),
    Role.ADMIN: _("Admin"),
}
# Role → the apps whose staff pages it may use. An admin may use all.
_STAFF_APPS: dict[str, frozenset[str]] = {
    Role.CATALOG_STAFF: frozenset({"products"}),
    Role.ORDER_STAFF: frozenset({"orders"}),
}


def normalise(text: str) -> str:
    """The form in which names are kept: NFKC, so that one name is not spelt in two ways."""
    return unicodedata.normalize("NFKC", text).strip()


def fold(text: str) -> str:
    """The form in which names are compared: two that differ in case only are the same."""
    return normalise(text).casefold()


class UserManager(BaseUserManager["User"]):
    """Look-up by folded names; `createsuperuser` makes an admin."""

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(username_folded=fold(username or ""))

    def create_superuser(self, username: str, email: str, password: str) -> "User":
        user = self.model(username=username, email=email, role=Role.ADMIN, email_verified=True)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """An account. `version` counts its changes and numbers its events; `email_key` changes with the address, so that
    what was mailed to an earlier one is worth nothing. Of an erased account only the row is left, for those that refer
    to it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    username = models.CharField(_("username"), max_length=150, validators=[check_username])
    email = models.EmailField(_("e-mail address"), max_length=254)
    # Folding makes of one character up to three.
    username_folded = models.CharField(max_length=450, unique=True, editable=False)
    email_folded = models.CharField(max_length=762, unique=True, editable=False)
    first_name = models.CharField(_("first name"), max_length=150, blank=True)
    last_name = models.CharField(_("last name"), max_length=150, blank=True)
    phone = models.CharField(_("telephone"), max_length=32, blank=True)
    address = models.TextField(_("address"), max_length=500, blank=True)
    role = models.CharField(_("role"), max_length=16, choices=list(ROLE_NAMES.items()), default=Role.USER)
    active = models.BooleanField(_("active"), default=True)
    email_verified = models.BooleanField(_("e-mail verified"), default=False)
    email_key = models.UUIDField(default=new_id, editable=False)
    # Changing it ends every session that a browser has on a page of ours.
    cookie_key = models.UUIDField(default=new_id, editable=False)
    erased_at = models.DateTimeField(null=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]

    class Meta:
        verbose_name, verbose_name_plural = _("account"), _("accounts")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=[role.value for role in Role]), name="user_role_known"),
        ]

    def __str__(self) -> str:
        return self.username

    def clean_fields(self, exclude: "set[str] | None" = None) -> None:  # type: ignore[override]
        self._fold_names()
        super().clean_fields(exclude)

    def save(self, *args: object, **kwargs: object) -> None:
        self._fold_names()
        super().save(*args, **kwargs)  # type: ignore[arg-type]

    def _fold_names(self) -> None:
        self.username = normalise(self.username)
        self.email = UserManager.normalize_email(normalise(self.email))
        self.username_folded = fold(self.username)
        self.email_folded = fold(self.email)

    @property
    def is_active(self) -> bool:  # type: ignore[override]
        return self.active

    @property
    def is_staff(self) -> bool:
        """Whether the staff pages are open to them at all."""
        return self.role != Role.USER

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """What a browser's session is compared with: Django's own knows the password alone."""
        own = f"{self.password}{self.cookie_key}"
        return salted_hmac("apps.users.models.User", own, secret=secret, algorithm="sha256").hexdigest()

    def has_perm(self, perm: str, obj: object = None) -> bool:  # noqa: ARG002 - Django asks about objects too
        """Staff permissions follow from the role alone."""
        return self.has_module_perms(perm.partition(".")[0])

    def has_perms(self, perms: list[str], obj: object = None) -> bool:  # noqa: ARG002
        return all(self.has_perm(perm) for perm in perms)

    def has_module_perms(self, app_label: str) -> bool:
        return self.active and (self.role == Role.ADMIN or app_label in _STAFF_APPS.get(self.role, ()))


class Session(models.Model):
    """A log-in on one device. `refresh_id` is the id of the one refresh token that is still good."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="sessions")
    refresh_id = models.UUIDField(default=new_id)
    address = models.GenericIPAddressField(_("address"), null=True)
    agent = models.CharField(_("program"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    last_used_at = models.DateTimeField(_("last used"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), db_index=True)
    revoked_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name, verbose_name_plural = _("session"), _("sessions")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.user_id} from {self.address}"


class FailedLogIns(models.Model):
    """How often logging in has failed until `ends_at`: into one account, or from one network. `apps.users.guard` reads
    and writes it.
    """

    key = models.CharField(max_length=80, primary_key=True)
    failures = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.failures} of {self.key}"


class SecondFactor(models.Model):
    """A user's second factor, once it is confirmed. The secret is encrypted; of recovery codes only hashes are kept.
    `last_step` is the time step of the last code that was used.
    """

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor")
    secret = models.CharField(max_length=200)
    confirmed_at = models.DateTimeField(null=True)
    last_step = models.BigIntegerField(default=0)
    recovery_hashes = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{self.user_id}"


class AccessChange(models.Model):
    """What an admin has changed of what a user may do, and who it was. Never changed or deleted."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, verbose_name=_("user"), on_delete=models.PROTECT, related_name="access_changes")
    actor_id = models.UUIDField(_("changed by"))
    role_before = models.CharField(_("role before"), max_length=16, choices=list(ROLE_NAMES.items()))
    role_after = models.CharField(_("role after"), max_length=16, choices=list(ROLE_NAMES.items()))
    active_before = models.BooleanField(_("active before"))
    active_after = models.BooleanField(_("active after"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("change of access"), _("changes of access")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.role_before} → {self.role_after}"


class ServiceToken(models.Model):
    """A token that was given to another system. The token itself is not kept, and cannot be shown again."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    scopes = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class Activity(models.Model):
    """A line of a user's activity log."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(
        User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="activities", db_index=False
    )
    action = models.CharField(_("action"), max_length=64)
    details = models.CharField(_("details"), max_length=300, blank=True)
    event_id = models.UUIDField(null=True, unique=True)
    happened_at = models.DateTimeField(_("happened"), default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = _("activity"), _("activities")
        ordering = ["-id"]
        indexes = [models.Index(fields=["user", "-id"], name="activity_of_user")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.action}"


class UsersEvent(OutboxEvent):
    """The service's outbox, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = "event"


class UsersFailedDelivery(FailedDelivery):
    """The service's failed deliveries, for its staff page."""

    class Meta:
        proxy = True
        verbose_name = "failed delivery"
        verbose_name_plural = "failed deliveries"
