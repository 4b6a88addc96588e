"""How staff log in to the admin and the browsable API."""

from uuid import UUID

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from apps.users import passwords
from apps.users.models import User


class EmailOrUsernameBackend(BaseBackend):
    """By e-mail address or username, as over REST; permissions are the user model's own."""

    def authenticate(
        self,
        request: HttpRequest | None,  # noqa: ARG002 - Django's signature
        username: str | None = None,
        password: str | None = None,
        **kwargs: object,
    ) -> User | None:
        if username is None or password is None:
            return None
        return passwords.find_user(username, password)

    def get_user(self, user_id: UUID) -> User | None:
        return User.objects.filter(pk=user_id, active=True).first()
