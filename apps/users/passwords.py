"""Checking passwords. Hashing one takes tens of milliseconds: never call these inside a transaction."""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from apps.common.errors import Problem
from apps.users.interface import WeakPassword
from apps.users.models import User, fold

MAX_LENGTH = 128


def check_rules(password: str, user: User) -> None:
    """Hold a new password against the rules of the setting `AUTH_PASSWORD_VALIDATORS`.

    Raises:
        WeakPassword: names each rule that it breaks.
    """
    if len(password) > MAX_LENGTH:
        raise WeakPassword(Problem(f"This password is longer than {MAX_LENGTH} characters.", "password"))
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise WeakPassword(*(Problem(sentence, "password") for sentence in error.messages)) from error


def find_user(login: str, password: str) -> User | None:
    """The active user with this e-mail address or username and this password.

    Takes as long for an account that does not exist, so that the time does not tell which ones do.
    """
    column = "email_folded" if "@" in login else "username_folded"
    user = User.objects.filter(**{column: fold(login)}).first()
    if user is None:
        make_password(password)
        return None
    return user if user.check_password(password) and user.active else None
