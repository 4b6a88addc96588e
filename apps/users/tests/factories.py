"""Made-up users."""

import base64

from django.contrib.auth.hashers import make_password
from django.utils import timezone
from django_otp.oath import hotp
from factory.declarations import LazyFunction, Sequence
from factory.django import DjangoModelFactory

from apps.users import second_factor
from apps.users.models import User

PASSWORD = "correct horse 9"


class UserFactory(DjangoModelFactory[User]):
    """A user whose password is `PASSWORD`."""

    class Meta:
        model = User

    username = Sequence(lambda n: f"user{n}")
    email = Sequence(lambda n: f"user{n}@example.com")
    password = LazyFunction(lambda: make_password(PASSWORD))


def code_of(secret: str, steps: int = 0) -> str:
    """What an authenticator app shows for the secret, now or so many steps later."""
    step = int(timezone.now().timestamp()) // 30 + steps
    return f"{hotp(base64.b32decode(secret), step):06}"


def turn_on(user: User) -> list[str]:
    """Give the user a second factor; returns the recovery codes."""
    return list(second_factor.confirm(user, code_of(second_factor.begin(user).secret)))
