"""Environment variables, read once and checked: a bad value is one sentence that names the variable."""

import base64
import os
import re
from collections.abc import Collection
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from limits import RateLimitItem, parse_many

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
# One host or several, a name of the database, options. (A driver would look the hosts of `mongodb+srv` up.)
_MONGODB = re.compile(
    r"mongodb(\+srv)?://([^@/?\s]+@)?[^@/?:,\s]+(:[0-9]{1,5})?(,[^@/?:,\s]+(:[0-9]{1,5})?)*"
    r"(/(?P<name>[^/?\s.\"$]{0,63})(\?\S*)?)?"
)
_BUCKET = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*))?"
    r"(\?(?P<query>\S+))?"
)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9_.-]+)*")
_BUCKET_QUERY = {"endpoint_url": _ORIGIN, "public_url": _ORIGIN, "region": re.compile("[a-z0-9-]+")}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=3650)
# These name no server on the network, or one on this machine.
_WITHOUT_HOST = frozenset(
    {"unix", "sqlite", "postgres", "postgresql", "consolemail", "filemail", "memorymail", "dummymail"}
)


def text(name: str, default: str = "") -> str:
    """The variable's text, taken literally (`$` included); an empty variable counts as unset."""
    return os.environ.get(name, "").strip() or default


def needed(name: str, why: str) -> str:
    """A text that must be there."""
    value = text(name)
    if not value:
        raise ImproperlyConfigured(f"{name} must be set {why}.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def hosts(name: str, default: str = "") -> list[str]:
    """Host names, without scheme, port or path: with these they would match no request."""
    values = words(name, default)
    for value in values:
        if "/" in value or (":" in value and not value.startswith("[")):
            raise ImproperlyConfigured(f"{name} must be host names such as shop.example.com, not {value!r}.")
    return values


def origins(name: str) -> list[str]:
    """Web origins: scheme, host and, where it is not the scheme's own, port."""
    values = words(name)
    for value in values:
        parts = _split(value)
        if parts is None or parts.scheme not in {"http", "https"} or f"{parts.scheme}://{parts.netloc}" != value:
            raise ImproperlyConfigured(f"{name} must be origins such as https://shop.example.com, not {value!r}.")
    return values


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
    if not re.fullmatch("[0-9]{1,12}", value) or not low <= int(value) <= high:
        raise ImproperlyConfigured(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    return int(value)


def ratio(name: str, default: float) -> float:
    """A share from 0 to 1."""
    value = text(name, str(default))
    if not re.fullmatch(r"([01]|[01]?\.[0-9]{1,12})", value) or float(value) > 1:
        raise ImproperlyConfigured(f"{name} must be a number from 0 to 1, such as 0.1, not {value!r}.")
    return float(value)


def duration(name: str, default: str) -> timedelta:
    """A length of time such as `30s`, `15m`, `12h` or `7d`; at most ten years."""
    value = text(name, default)
    match = _DURATION.fullmatch(value)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < length <= _LONGEST:
        raise ImproperlyConfigured(f"{name} must be a length of time such as 30s, 15m, 12h or 7d, not {value!r}.")
    return length


def rates(name: str, default: str) -> list[RateLimitItem]:
    """How often something may happen, such as `6000/minute`; several, which all hold, are separated by `;`."""
    value = text(name, default)
    try:
        limits = parse_many(value)
    except ValueError:
        limits = []
    if not limits or not all(each.amount and each.get_expiry() <= _LONGEST.total_seconds() for each in limits):
        raise ImproperlyConfigured(f"{name} must be such as 6000/minute or 100/second;6000/minute, not {value!r}.")
    return limits


def address(name: str, default: str) -> str:
    """An IP address to listen on."""
    value = text(name, default)
    try:
        return str(ip_address("127.0.0.1" if value == "localhost" else value))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be an IP address such as 127.0.0.1, not {value!r}.") from error


def peer(name: str) -> str:
    """Where another service is, as gRPC takes it: `host:port`, or several of them by their IP addresses; or nothing."""
    values = words(name)
    hosts = [_host_of(name, value) for value in values]
    if len(values) < 2:  # noqa: PLR2004 - several
        return "".join(values)
    try:
        versions = {ip_address(host).version for host in hosts}
    except ValueError:
        versions = set()
    if len(versions) != 1:
        raise ImproperlyConfigured(f"{name} must be one host:port, or several by IP addresses of one kind.")
    return f"ipv{versions.pop()}:{','.join(values)}"


def _host_of(name: str, value: str) -> str:
    parts = _split(f"//{value}")
    if parts is None or not parts.hostname or not parts.port or parts.netloc != value or "@" in value:
        raise ImproperlyConfigured(f"{name} must be host:port, such as products:50053, not {value!r}.")
    return parts.hostname


def file(name: str) -> Path | None:
    """A file that is there and can be read, or None when the variable is unset."""
    value = text(name)
    if not value:
        return None
    path = Path(value).absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ImproperlyConfigured(f"{name} names {path}, which is not a file that can be read.")
    return path


def content(name: str) -> str:
    """What is in the file that the variable names, without space around it; nothing if it is unset."""
    path = file(name)
    try:
        return path.read_text().strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name} names {path}, which is no text.") from error


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """IP networks such as `10.0.0.0/8`; an address alone is a network of one."""
    try:
        return [ip_network(value) for value in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be IP networks such as 10.0.0.0/8, separated by commas, not {text(name)!r}."
        ) from error


def url(name: str, schemes: Collection[str]) -> str:
    """A URL with one of the `schemes`, or an empty string. The value itself is not shown: it may hold a password."""
    value = text(name)
    if not value:
        return ""
    scheme = value.partition("://")[0]
    if "://" not in value or scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}.")
    parts = _split(value)
    if parts is None or not (parts.hostname or scheme in _WITHOUT_HOST):
        raise ImproperlyConfigured(
            f"{name} must be of the form {scheme}://user:password@host:port, special characters in it percent-encoded."
        )
    return value


def collector(name: str) -> str:
    """Where a collector of telemetry is, such as `http://jaeger:4317`, or an empty string."""
    value = url(name, ("http", "https"))
    parts = _split(value)
    if value and (parts is None or not parts.port or "@" in parts.netloc or parts.query or parts.fragment):
        raise ImproperlyConfigured(f"{name} must be of the form http://host:port, such as http://jaeger:4317.")
    return value.rstrip("/")


def database(name: str) -> dict[str, Any] | None:
    """The database configuration behind a `postgres://` or `sqlite:////` URL, or None when the variable is unset.

    Two spellings of one database give one configuration, since services with the same one share it.
    """
    value = url(name, ("postgres", "postgresql", "sqlite"))
    if not value:
        return None
    if value.startswith("sqlite"):
        return _sqlite(name, value)
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(value))
    except (ValueError, environ.ImproperlyConfigured) as error:
        raise ImproperlyConfigured(
            f"{name} is no database URL. Write postgres://user:password@host:5432/name or sqlite:////path/to/file."
        ) from error
    if not config["NAME"]:
        raise ImproperlyConfigured(
            f"{name} must end with the name of the database: postgres://user:password@host/name."
        )
    return {**config, "PORT": str(config["PORT"] or 5432)}


def _sqlite(name: str, value: str) -> dict[str, Any]:
    path = unquote(urlsplit(value).path.removeprefix("/"))
    if urlsplit(value).netloc or path in {"", ":memory:"} or path.endswith("/"):
        raise ImproperlyConfigured(f"{name} must name a file that processes can share: sqlite:////path/to/file.")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.normpath(Path(path).absolute())}


def page(name: str, default: str) -> str:
    """The address of a page for people, with `{token}` where it gets one."""
    value = text(name, default)
    split = _split(value)
    if split is None or split.scheme not in ("https", "http") or not split.hostname or value.count("{token}") != 1:
        raise ImproperlyConfigured(
            f"{name} must be an address such as https://shop.example.com/reset?token={{token}}, with {{token}} once."
        )
    return value


def signing_secret(name: str) -> str:
    """A secret with which messages are signed (Standard Webhooks): `whsec_` and 24 to 64 bytes in Base64."""
    value = text(name)
    if not value:
        return ""
    try:
        length = len(base64.b64decode(value.removeprefix("whsec_"), validate=True))
    except ValueError:
        length = 0
    if not value.startswith("whsec_") or not 24 <= length <= 64:  # noqa: PLR2004 - the scheme's own bounds
        raise ImproperlyConfigured(f"{name} must be whsec_ followed by 24 to 64 random bytes in Base64.")
    return value


def mongodb(name: str) -> dict[str, Any] | None:
    """The database configuration behind a `mongodb://` or `mongodb+srv://` URL, or None when the variable is unset."""
    value = text(name)
    if not value:
        return None
    match = _MONGODB.fullmatch(value)
    if not match:
        raise ImproperlyConfigured(
            f"{name} must be of the form mongodb://user:password@host:27017/name, special characters in it "
            "percent-encoded."
        )
    return {"ENGINE": "config.mongodb", "HOST": value, "NAME": match["name"] or "cartwright"}


def bucket(name: str) -> tuple[dict[str, str], str] | None:
    """The storage's options behind a URL such as `s3://bucket/prefix?region=eu-west-1`, and the address below which
    everybody sees its files; None when the variable is unset.
    """
    value = text(name)
    if not value:
        return None
    match = _BUCKET.fullmatch(value)
    query = dict(parse_qsl(match["query"] or "", keep_blank_values=True)) if match else {}
    if not match or not all(key in _BUCKET_QUERY and _BUCKET_QUERY[key].fullmatch(query[key]) for key in query):
        raise ImproperlyConfigured(
            f"{name} must be of the form s3://bucket/prefix?region=eu-west-1&endpoint_url=https://host&"
            "public_url=https://host, of which all but the bucket may be left out; keys belong into AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY."
        )
    endpoint, region = query.get("endpoint_url"), query.get("region")
    host = ".".join(part for part in (match["bucket"], "s3", region, "amazonaws.com") if part)
    public = query.get("public_url") or (f"{endpoint}/{match['bucket']}" if endpoint else f"https://{host}")
    options = {
        "bucket_name": match["bucket"],
        "location": match["prefix"],
        "endpoint_url": endpoint,
        "region_name": region,
    }
    address = f"{public}/{match['prefix']}/" if match["prefix"] else f"{public}/"
    return {key: option for key, option in options.items() if option}, address


def email(name: str, default: str) -> dict[str, Any]:
    """Django's mail settings behind a URL such as `smtp+tls://user:password@host:587`."""
    schemes = ("smtp", "smtp+tls", "smtp+ssl", "consolemail", "filemail", "memorymail", "dummymail")
    return dict(environ.Env.email_url_config(url(name, schemes) or default))


def folder(name: str, default: Path) -> Path:
    """A folder, made when absent."""
    path = Path(text(name, str(default))).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{name} names {path}, which is not a folder that can be made.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name} names {path}, which cannot be written.")
    return path


def existing_folders(name: str) -> list[Path]:
    """The folder that the variable names, which must be there; none if it is unset."""
    value = text(name)
    if not value:
        return []
    path = Path(value).absolute()
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name} names {path}, which is not a folder that can be read.")
    return [path]


def _split(value: str) -> SplitResult | None:
    """The parts of a URL, or None when it has none: a port that is no number, brackets that do not close."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    return parts
