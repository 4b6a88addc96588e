"""Checking passwords. Hashing one takes tens of milliseconds: never call these inside a transaction."""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from apps.common.errors import Problem
from apps.users import guard
from apps.users.interface import WeakPassword, WrongCredentials
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


def find_user(login: str, password: str, address: str) -> User | None:
    """The active user with this e-mail address or username and this password, unless too many attempts have failed.

    Costs one hash and as many statements for an account that does not exist, so that the time does not tell which ones
    do; and one hash where nobody is let in, so that it does not tell of that either.
    """
    column = "email_folded" if "@" in login else "username_folded"
    user = User.objects.filter(**{column: fold(login)}).first()
    attempt = guard.attempt(login, user, address)
    is_refused = attempt.is_refused()
    is_right = _is_right(user, password)
    if user and is_right and user.active and not is_refused:
        return user
    if not is_refused:
        attempt.note_failure()
    return None


def confirm(user: User, password: str, attr: str) -> None:
    """Make sure that somebody who is logged in knows the account's password. Guesses count as failed log-ins.

    Raises:
        WrongCredentials: it is wrong, or was too often. Names `attr`.
    """
    attempt = guard.attempt(user.username, user, "")
    is_refused = attempt.is_refused()
    if user.check_password(password) and not is_refused:
        return
    if not is_refused:
        attempt.note_failure()
    raise wrong_password(attr)


def wrong_password(attr: str) -> WrongCredentials:
    name = attr.replace("_", " ")
    return WrongCredentials(Problem(f"The {name} is wrong.", attr))


def _is_right(user: User | None, password: str) -> bool:
    if user is None:
        make_password(password)
        return False
    return user.check_password(password)
