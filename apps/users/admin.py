"""Staff pages of accounts and sessions, for admins."""

# The theme's decorators have no types.
# mypy: disallow-untyped-decorators=False

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import OuterRef, QuerySet, Subquery
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext
from unfold.dataclasses import ActionDialog
from unfold.decorators import action, display

from apps.common.admin import ModelAdmin, ReadOnlyAdmin, ReadOnlyInline, record
from apps.events.admin import FailedDeliveryAdmin, OutboxAdmin
from apps.users import guard, second_factor
from apps.users.devices import device_of
from apps.users.interface import LastAdmin, OwnRole, Profile, Role, SessionNotFound
from apps.users.models import AccessChange, Activity, Session, User, UsersEvent, UsersFailedDelivery
from apps.users.staff_forms import PROFILE, SetPasswordForm, StaffLogInForm, UserAddForm, UserChangeForm
from apps.users.staff_pages import change_own_password
from config import services

# Permissions follow from the role; Django's groups mean nothing here.
admin.site.unregister(Group)
admin.site.login_form = StaffLogInForm
admin.site.password_change = change_own_password  # type: ignore[method-assign, assignment]

_ROLE_COLOURS = {Role.USER: "plain", Role.ADMIN: "danger", Role.CATALOG_STAFF: "info", Role.ORDER_STAFF: "info"}
_STATE_COLOURS = {"active": "success", "deactivated": "warning", "erased": "danger"}
_STATES = {"active": _("Active"), "deactivated": _("Deactivated"), "erased": _("Erased")}
_ON_PAGE = 10
# What the staff's log says; translated when it is read.
_LOG_ENDED, _LOG_UNLOCKED = gettext_noop("Ended all sessions"), gettext_noop("Unlocked")
_LOG_TURNED_OFF = gettext_noop("Turned the second factor off")


def _asks(title: Any, description: Any, button: Any) -> ActionDialog:  # noqa: ANN401 - lazy texts
    """A window that asks before something is done."""
    return ActionDialog(title=title, description=description, form_class=None, form_submit_text=button)


class _NamesActor:
    """Names who has changed something, whose account may be gone."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessChange]:
        actors = User.objects.filter(pk=OuterRef("actor_id")).values("username")[:1]
        changes: QuerySet[AccessChange] = super().get_queryset(request)  # type: ignore[misc] # the page's
        return changes.annotate(actor_name=Subquery(actors))

    @display(description=_("changed by"))
    def changed_by(self, change: AccessChange) -> str:
        return vars(change).get("actor_name") or str(change.actor_id)


class SessionInline(ReadOnlyInline):
    model = Session
    fields = ("device", "address", "created_at", "last_used_at", "expires_at", "revoked_at")
    readonly_fields = fields
    per_page = _ON_PAGE
    hide_title = True
    tab = True
    verbose_name_plural = _("sessions")

    @display(description=_("device"))
    def device(self, session: Session) -> str:
        return device_of(session.agent) or "-"


class ActivityInline(ReadOnlyInline):
    model = Activity
    fields = ("happened_at", "action", "details")
    readonly_fields = fields
    per_page = _ON_PAGE
    hide_title = True
    tab = True
    verbose_name_plural = _("activity")


class AccessInline(_NamesActor, ReadOnlyInline):
    model = AccessChange
    fields = ("at", "role_before", "role_after", "active_before", "active_after", "changed_by")
    readonly_fields = fields
    per_page = _ON_PAGE
    hide_title = True
    tab = True
    verbose_name_plural = _("changes of access")


@admin.register(User)
class AccountAdmin(ModelAdmin[User], UserAdmin[User]):
    """Accounts. Every change goes through the service, so that its events are published and sessions end."""

    form = UserChangeForm
    add_form = UserAddForm
    change_password_form = SetPasswordForm
    # The staff's log outlives an account, and is to say nothing of a person.
    private_fields = PROFILE
    list_display = ("username", "email", "role_label", "state", "is_verified", "created_at")
    list_filter = ("role", "active", "email_verified")
    search_fields = ("username_folded", "email_folded", "first_name", "last_name")
    ordering = ("-id",)
    filter_horizontal = ()
    readonly_fields = ("email_verified", "last_login", "created_at", "updated_at", "log_ins", "second_factor_state")
    fieldsets = (
        (None, {"fields": (*PROFILE, "email_verified")}),
        (_("Access"), {"fields": ("role", "active", "log_ins", "second_factor_state", "last_login")}),
        (_("History"), {"fields": ("created_at", "updated_at")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "role", "password1", "password2")}),)
    inlines = (SessionInline, ActivityInline, AccessInline)
    actions_detail = (
        "show_orders",
        {"title": _("Manage"), "items": ["end_sessions", "unlock", "turn_second_factor_off"]},
    )

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Orders refer to accounts: they are deactivated, not deleted."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ANN401 - as Django has it
        is_erased = isinstance(obj, User) and obj.erased_at is not None
        return not is_erased and bool(super().has_change_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        own = ("role", "active") if obj is not None and obj.pk == request.user.pk else ()
        return (*super().get_readonly_fields(request, obj), *own)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:  # noqa: ANN401 - as Django has it
        return self.inlines if obj is not None else ()

    @display(description=_("role"), ordering="role", label=_ROLE_COLOURS)
    def role_label(self, user: User) -> tuple[str, str]:
        return user.role, user.get_role_display()

    @display(description=_("state"), ordering="active", label=_STATE_COLOURS)
    def state(self, user: User) -> tuple[str, Any]:
        name = "erased" if user.erased_at else "active" if user.active else "deactivated"
        return name, _STATES[name]

    @display(description=_("e-mail verified"), ordering="email_verified", boolean=True)
    def is_verified(self, user: User) -> bool:
        return user.email_verified

    @display(description=_("failed log-ins"))
    def log_ins(self, user: User) -> str:
        return str(vars(user).get("log_ins", ""))

    @display(description=_("second factor"))
    def second_factor_state(self, user: User) -> str:
        return str(vars(user).get("second_factor_state", ""))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> User | None:
        """With what is shown besides the row: the theme asks for a field's value several times."""
        user: User | None = super().get_object(request, object_id, from_field)
        if user is not None:
            vars(user).update(log_ins=_log_ins(user), second_factor_state=_second_factor(user))
        return user

    @action(description=_("Orders"), icon="receipt_long", permissions=["view"])
    def show_orders(self, request: HttpRequest, object_id: str) -> HttpResponse:
        try:
            orders = reverse("admin:orders_order_changelist")
        except NoReverseMatch:
            orders = reverse("admin:index")
        return redirect(f"{orders}?q={object_id}")

    @action(
        description=_("End all sessions"),
        icon="logout",
        permissions=["change"],
        dialog=_asks(_("End all sessions?"), _("The user must log in again on each device."), _("End all sessions")),
    )
    def end_sessions(self, request: HttpRequest, form: object, object_id: str) -> HttpResponse:
        user = self._user(request, object_id)
        ended = services.users().end_other_sessions(user_id=user.pk, session_id=None)
        record(request, user, _LOG_ENDED, before={}, after={})
        told = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", ended) % {"count": ended}
        return self._back(request, user, told)

    @action(
        description=_("Unlock"),
        icon="lock_open",
        permissions=["change"],
        dialog=_asks(_("Unlock the account?"), _("Failed log-ins so far are forgotten."), _("Unlock")),
    )
    def unlock(self, request: HttpRequest, form: object, object_id: str) -> HttpResponse:
        user = self._user(request, object_id)
        services.users().unlock_user(user_id=user.pk)
        record(request, user, _LOG_UNLOCKED, before={}, after={})
        return self._back(request, user, _("The account is open for log-ins."))

    @action(
        description=_("Turn second factor off"),
        icon="phonelink_erase",
        permissions=["change"],
        dialog=_asks(
            _("Turn the second factor off?"),
            _("Do this for somebody who has lost both their telephone and their recovery codes, and whom you know."),
            _("Turn off"),
        ),
    )
    def turn_second_factor_off(self, request: HttpRequest, form: object, object_id: str) -> HttpResponse:
        user = self._user(request, object_id)
        second_factor.turn_off_for(user)
        record(request, user, _LOG_TURNED_OFF, before={}, after={})
        return self._back(request, user, _("Logging in takes the password alone."))

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:  # noqa: FBT001
        assert isinstance(request.user, User)  # noqa: S101 - the staff pages ask for a log-in
        users, given = services.users(), form.cleaned_data
        profile = Profile(**{name: given[name] for name in PROFILE if name in given})
        if change:
            users.update_profile(user_id=obj.pk, profile=profile)
        else:
            obj.pk = users.register(
                username=obj.username, email=obj.email, password=given["password1"], profile=profile
            ).id
        if "role" in given:
            role, active = Role(given["role"]), given.get("active")
            try:
                users.manage_user(actor_id=request.user.pk, user_id=obj.pk, role=role, active=active)
            except (OwnRole, LastAdmin) as error:
                self.message_user(request, str(error), messages.ERROR)
        obj.refresh_from_db()

    def _user(self, request: HttpRequest, object_id: str) -> User:
        """The user whose page it is; the theme's actions ask for permission, not for the row."""
        user = self.get_object(request, object_id)
        if user is None or not self.has_change_permission(request, user):
            raise Http404(f"There is no account {object_id} that can be changed.")
        return user

    def _back(self, request: HttpRequest, user: User, told: Any) -> HttpResponse:  # noqa: ANN401 - a lazy text
        """To the account's page, out of the window that has asked."""
        self.message_user(request, told, messages.SUCCESS)
        return HttpResponse(headers={"HX-Redirect": reverse("admin:users_user_change", args=[user.pk])})


def _log_ins(user: User) -> str:
    counted = guard.failures_of(user.pk)
    if counted is None:
        return str(_("None lately."))
    about = {"count": counted.failures, "time": f"{counted.ends_at:%H:%M} UTC"}
    if guard.is_closed(counted):
        return str(_("%(count)d: the account is closed until %(time)s, or until it is unlocked.")) % about
    return str(_("%(count)d; they are forgotten at %(time)s.")) % about


def _second_factor(user: User) -> str:
    if not second_factor.is_on(user):
        return str(_("Off."))
    return str(_("On; %(count)d recovery codes are left.")) % {"count": second_factor.recovery_codes_left(user)}


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin[Session]):
    list_display = ("user", "device", "address", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("user__username_folded", "user__email_folded", "address")
    fields = (*list_display[:2], "agent", *list_display[2:])
    actions = ("revoke",)

    @display(description=_("device"))
    def device(self, session: Session) -> str:
        return device_of(session.agent) or "-"

    @admin.action(description=_("End the selected sessions"), permissions=["view"])
    def revoke(self, request: HttpRequest, sessions: QuerySet[Session]) -> None:
        ended = 0
        for session in sessions:
            try:
                services.users().log_out(user_id=session.user_id, session_id=session.pk)
            except SessionNotFound:
                continue
            ended += 1
        told = ngettext("%(count)d session ended.", "%(count)d sessions ended.", ended) % {"count": ended}
        self.message_user(request, told, messages.SUCCESS)


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin[Activity]):
    list_display = ("happened_at", "user", "action", "details")
    list_select_related = ("user",)
    list_filter = ("action",)
    search_fields = ("user__username_folded", "user__email_folded")
    fields = ("happened_at", "user", "action", "details", "event_id")


@admin.register(AccessChange)
class AccessChangeAdmin(_NamesActor, ReadOnlyAdmin[AccessChange]):
    """Who has changed what somebody may do: before and after."""

    list_display = ("at", "user", "role_before", "role_after", "active_before", "active_after", "changed_by")
    list_select_related = ("user",)
    list_filter = ("role_after",)
    search_fields = ("user__username_folded", "user__email_folded")
    fields = list_display


@admin.register(UsersEvent)
class UsersEventAdmin(OutboxAdmin):
    service = "users"


@admin.register(UsersFailedDelivery)
class UsersFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "users"
