"""How staff log in to the admin and the browsable API."""

from uuid import UUID

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from apps.common import logs
from apps.common.addresses import client_address
from apps.common.databases import atomic
from apps.users import guard, passwords, second_factor
from apps.users.models import User


class EmailOrUsernameBackend(BaseBackend):
    """By e-mail address or username, as over REST; permissions are the user model's own.

    Every log-in page comes here, so the second factor is asked for here: a page sends its code as `otp`, and finds
    `needs_otp` on a request whose password was right and whose code was not.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: object,
    ) -> User | None:
        if username is None or password is None:
            return None
        address = client_address(request) if request else ""
        user = passwords.find_user(username, password, address)
        if user is None:
            return None
        otp = request.POST.get("otp", "") if request else ""
        with atomic("users"):
            is_let_in = second_factor.lets_in(user, otp)
            if is_let_in:
                guard.forget(user.pk)
        if is_let_in:
            return user
        if otp:
            guard.attempt(username, user, address).note_failure()
        if request:
            request.needs_otp = True  # type: ignore[attr-defined]
        return None

    def get_user(self, user_id: UUID) -> User | None:
        user = User.objects.filter(pk=user_id, active=True).first()
        if user is not None:
            logs.bind(user_id=user.pk)
        return user
