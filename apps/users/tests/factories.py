"""Made-up users."""

from django.contrib.auth.hashers import make_password
from factory.declarations import LazyFunction, Sequence
from factory.django import DjangoModelFactory

from apps.users.models import User

PASSWORD = "correct horse 9"


class UserFactory(DjangoModelFactory[User]):
    """A user whose password is `PASSWORD`."""

    class Meta:
        model = User

    username = Sequence(lambda n: f"user{n}")
    email = Sequence(lambda n: f"user{n}@example.com")
    password = LazyFunction(lambda: make_password(PASSWORD))
