"""Environment variables, read once and checked: a bad value is one sentence that names the variable."""

import re
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

_source = environ.Env()

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_DURATION = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def text(name: str, default: str = "") -> str:
    """The variable's text; an empty variable counts as unset."""
    return _source.str(name, default="").strip() or default


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def flag(name: str, *, default: bool) -> bool:
    """`on` or `off`, in the usual spellings."""
    value = text(name, "on" if default else "off").lower()
    if value not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name} must be on or off, not {value!r}.")
    return value in _TRUE


def choice(name: str, options: Collection[str], default: str) -> str:
    """One of the words in `options`."""
    value = text(name, default).lower()
    if value not in options:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(sorted(options))}, not {value!r}.")
    return value


def integer(name: str, default: int, *, low: int, high: int) -> int:
    """A whole number within bounds, both included."""
    value = text(name, str(default))
    if not value.isascii() or not value.isdigit() or not low <= int(value[:12]) <= high:
        raise ImproperlyConfigured(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    return int(value)


def duration(name: str, default: str) -> timedelta:
    """A length of time such as `30s`, `15m`, `12h` or `7d`."""
    value = text(name, default)
    match = _DURATION.fullmatch(value)
    if not match or int(match[1][:9]) == 0:
        raise ImproperlyConfigured(f"{name} must be a length of time such as 30s, 15m, 12h or 7d, not {value!r}.")
    return timedelta(**{_UNITS[match[2]]: int(match[1][:9])})


def url(name: str, schemes: Collection[str]) -> str:
    """A URL with one of the `schemes`, or an empty string. The value itself is not shown: it may hold a password."""
    value = text(name)
    if value and value.partition("://")[0] not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}.")
    return value


def database(name: str) -> dict[str, Any] | None:
    """The database configuration behind a `postgres://` or `sqlite:///` URL, or None when the variable is unset."""
    value = url(name, ("postgres", "postgresql", "sqlite"))
    if not value:
        return None
    try:
        return dict(environ.Env.db_url_config(value))
    except (ValueError, environ.ImproperlyConfigured) as error:
        raise ImproperlyConfigured(
            f"{name} is no database URL. Write postgres://user:password@host:5432/name or sqlite:////path/to/file."
        ) from error


def email(value: str) -> dict[str, Any]:
    """Django's mail settings behind a URL such as `smtp+tls://user:password@host:587`."""
    return dict(environ.Env.email_url_config(value))


def folder(name: str, default: Path) -> Path:
    """A folder, made when absent."""
    path = Path(text(name, str(default))).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name} names {path}, which is not a folder that can be written.") from error
    return path
