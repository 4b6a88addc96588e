"""Staff pages of accounts and sessions, for admins."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import Group
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse_lazy
from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm, AuthenticationForm

from apps.common.admin import ModelAdmin, ReadOnlyAdmin
from apps.common.databases import atomic
from apps.events.admin import FailedDeliveryAdmin, OutboxAdmin
from apps.users.interface import Profile, Role, SessionNotFound
from apps.users.models import Activity, Session, User, UsersEvent, UsersFailedDelivery, fold
from apps.users.services.proving import end_all_sessions
from config import services

_PROFILE = ("username", "email", "first_name", "last_name", "phone", "address")

# Permissions follow from the role; Django's groups mean nothing here.
admin.site.unregister(Group)


class UniqueNames(ModelForm[User]):
    """Says beside the field which name is taken."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in ("username", "email"):
            others = User.objects.exclude(pk=self.instance.pk)
            if name in cleaned and others.filter(**{f"{name}_folded": fold(cleaned[name])}).exists():
                self.add_error(name, ValidationError(f"Another account has this {name}.", code="unique"))
        return cleaned


class UserChangeForm(UniqueNames):
    class Meta:
        model = User
        fields = [*_PROFILE, "role", "active"]


class UserAddForm(UniqueNames, BaseUserCreationForm[User]):
    class Meta:
        model = User
        fields = ["username", "email", "role"]


class EndsSessions:
    """A form that sets a password. Whoever knew the old one may be the reason: the user's sessions end."""

    def save(self, commit: bool = True) -> User:  # noqa: FBT001, FBT002 - Django's signature
        with atomic("users"):
            user: User = super().save(commit)  # type: ignore[misc]  # the form's
            end_all_sessions(user.pk)
        return user


class SetPasswordForm(EndsSessions, AdminPasswordChangeForm):  # type: ignore[misc] # the theme has no types
    pass


class OwnPasswordForm(EndsSessions, AdminOwnPasswordChangeForm):  # type: ignore[misc] # as above
    pass


class StaffLogInForm(AuthenticationForm):  # type: ignore[misc] # as above
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in Django
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail or username"


def change_own_password(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
    """Django's page with a form of ours, for which the site has no setting."""
    context = {**admin.site.each_context(request), **(extra_context or {})}
    page = PasswordChangeView.as_view(
        form_class=OwnPasswordForm, success_url=reverse_lazy("admin:password_change_done"), extra_context=context
    )
    return page(request)


admin.site.login_form = StaffLogInForm
admin.site.password_change = change_own_password  # type: ignore[method-assign, assignment]


@admin.register(User)
class AccountAdmin(ModelAdmin[User], UserAdmin[User]):
    """Accounts. Every change goes through the service, so that its events are published and sessions end."""

    form = UserChangeForm
    add_form = UserAddForm
    change_password_form = SetPasswordForm
    list_display = ("username", "email", "role", "active", "created_at")
    list_filter = ("role", "active", "email_verified")
    search_fields = ("username_folded", "email_folded", "first_name", "last_name")
    ordering = ("-id",)
    filter_horizontal = ()
    readonly_fields = ("email_verified", "last_login", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": (*_PROFILE, "email_verified")}),
        ("Access", {"fields": ("role", "active", "last_login")}),
        ("History", {"fields": ("created_at", "updated_at")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "role", "password1", "password2")}),)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Orders refer to accounts: they are deactivated, not deleted."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        own = ("role", "active") if obj is not None and obj.pk == request.user.pk else ()
        return (*super().get_readonly_fields(request, obj), *own)

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool) -> None:  # noqa: FBT001
        assert isinstance(request.user, User)  # noqa: S101 - the staff pages ask for a log-in
        users, given = services.users(), form.cleaned_data
        profile = Profile(**{name: given[name] for name in _PROFILE if name in given})
        if change:
            users.update_profile(user_id=obj.pk, profile=profile)
        else:
            obj.pk = users.register(
                username=obj.username, email=obj.email, password=given["password1"], profile=profile
            ).id
        if "role" in given:
            role, active = Role(given["role"]), given.get("active")
            users.manage_user(actor_id=request.user.pk, user_id=obj.pk, role=role, active=active)
        obj.refresh_from_db()


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin[Session]):
    list_display = ("user", "address", "agent", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("user__username_folded", "user__email_folded", "address")
    fields = list_display
    actions = ("revoke",)

    @admin.action(description="End the selected sessions", permissions=["view"])
    def revoke(self, request: HttpRequest, sessions: QuerySet[Session]) -> None:
        ended = 0
        for session in sessions:
            try:
                services.users().log_out(user_id=session.user_id, session_id=session.pk)
            except SessionNotFound:
                continue
            ended += 1
        self.message_user(request, f"{ended} sessions ended.", messages.SUCCESS)


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin[Activity]):
    list_display = ("happened_at", "user", "action", "details")
    list_select_related = ("user",)
    list_filter = ("action",)
    search_fields = ("user__username_folded", "user__email_folded")
    fields = ("happened_at", "user", "action", "details", "event_id")


@admin.register(UsersEvent)
class UsersEventAdmin(OutboxAdmin):
    service = "users"


@admin.register(UsersFailedDelivery)
class UsersFailedDeliveryAdmin(FailedDeliveryAdmin):
    service = "users"
