"""Envoy's configuration from the one template: `python -m deploy.envoy.render local|compose|kubernetes` prints it."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from limits import parse_many

from config.profiles import PROFILES, SERVICES
from deploy.envoy.access import RULES, Rule

Filter = dict[str, object]

FOLDER = Path(__file__).parent
DESCRIPTORS = FOLDER.parents[1] / "grpc_api" / "gen" / "descriptors.binpb"
CORS_ALLOW_HEADERS = (
    "accept, authorization, content-type, user-agent, x-csrftoken, x-requested-with, idempotency-key, if-match, "
    "if-none-match, last-event-id"
)
CORS_EXPOSE_HEADERS = "ETag, Idempotent-Replayed, Link, Location, Retry-After, X-Request-ID"
VARIABLES = (
    "ALLOWED_HOSTS",
    "CORS_ALLOWED_ORIGINS",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "MAX_UPLOAD_MB",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_TRACES_SAMPLER_ARG",
    "RATE_LIMITS",
    "RATE_LIMIT_ADDRESS",
    "RATE_LIMIT_CREDENTIALS",
    "RATE_LIMIT_USER",
    "TRUSTED_PROXIES",
)
_OTLP_PORT, _OTLP_HTTP_PORT = 4317, 4318
_PORTS = {profile: PROFILES[profile].port for profile in (*SERVICES, "admin")} | {
    f"{service}_grpc": PROFILES[service].grpc_port for service in SERVICES
}


@dataclass(frozen=True)
class Address:
    """Where something listens: an IP address or the name of a host, and a port."""

    host: str
    port: int


@dataclass(frozen=True)
class Tracing:
    """Where spans are sent, as OTLP over gRPC or, with a `uri`, over HTTP; which share of requests is traced."""

    collector: Address
    uri: str = ""
    is_tls: bool = False
    percent: float = 100


@dataclass(frozen=True)
class RateLimits:
    """Requests a minute, counted by each Envoy process for itself."""

    per_address: int = 6000
    per_user: int = 1200
    # By address too, for the calls that take a password or a refresh token.
    credentials: int = 300


@dataclass(frozen=True)
class Health:
    """How soon a host that does not answer gets no more requests."""

    check_seconds: float = 5
    consecutive_failures: int = 5
    ejection_seconds: float = 30


@dataclass(frozen=True)
class Breaker:
    """What may be under way to one service at once; the next request is answered with 503 straight away."""

    connections: int = 512
    pending: int = 256
    requests: int = 1024


@dataclass(frozen=True)
class Timeouts:
    """Seconds until an answer must be complete."""

    read: float = 5
    write: float = 15
    pay: float = 30
    long: float = 60


@dataclass(frozen=True)
class Gateway:
    """What differs between installations."""

    clusters: Mapping[str, Sequence[Address]]
    # STATIC for IP addresses; STRICT_DNS asks for names, and again for those that come and go.
    discovery: str = "STATIC"
    listen: Address = Address("127.0.0.1", 8080)
    admin: Address = Address("127.0.0.1", 8081)
    # Where Prometheus finds `/stats/prometheus`, if it cannot reach the admin page.
    statistics: Address | None = None
    descriptors: str = str(DESCRIPTORS)
    # By which the gateway itself asks services for their health and their keys: one of their ALLOWED_HOSTS.
    host: str = "localhost"
    issuer: str = "cartwright"
    audience: str = "cartwright"
    cors_origins: Sequence[str] = ()
    tracing: Tracing | None = None
    limits: RateLimits | None = field(default_factory=RateLimits)
    trusted_hops: int = 0
    max_body_bytes: int = 1024 * 1024
    # Of pictures and lists of products.
    max_upload_bytes: int = 10 * 1024 * 1024
    health: Health = Health()
    breaker: Breaker = Breaker()
    timeouts: Timeouts = Timeouts()


def render(gateway: Gateway) -> str:
    """Envoy's configuration, as YAML.

    Raises:
        KeyError: a cluster has no addresses.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, from values of ours
    )
    return environment.get_template("envoy.yaml.j2").render(
        g=gateway,
        clusters={name: gateway.clusters[name] for name in _PORTS},
        rules=RULES,
        lua=(FOLDER / "gateway.lua").read_text(),
        exact_origins=[{"exact": origin} for origin in gateway.cors_origins],
        json=_json,
        status=_status,
        details=_details,
        methods_of=_methods_of,
        cors_allow_headers=CORS_ALLOW_HEADERS,
        cors_expose_headers=CORS_EXPOSE_HEADERS,
    )


def _json(value: object, spaced: bool) -> str:  # noqa: FBT001 - called by the template
    """As the services write it: REST framework without spaces, Django's own answers with them."""
    return json.dumps(value, separators=None if spaced else (",", ":"))


def _status(op: str, value: int) -> Filter:
    """What the gateway answers by itself, by its status."""
    comparison = {"op": op, "value": {"default_value": value, "runtime_key": "unused"}}
    return {"status_code_filter": {"comparison": comparison}}


def _details(expression: str) -> Filter:
    """What the gateway answers by itself, by an expression in CEL."""
    kind = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    config = {"@type": kind, "expression": expression}
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": config}}


def _methods_of(rule: Rule) -> list[Filter]:
    """Which methods a rule is about."""
    match = {"safe_regex": {"regex": rule.methods or rule.except_methods}}
    if rule.methods:
        return [{"name": ":method", "string_match": match}]
    return [{"name": ":method", "string_match": match, "invert_match": True}] if rule.except_methods else []


def local() -> Gateway:
    """Everything on this machine."""
    return Gateway(clusters={name: [Address("127.0.0.1", port)] for name, port in _PORTS.items()})


def compose() -> Gateway:
    """The services by their names in docker-compose.yml."""
    return _named(prefix="")


def kubernetes() -> Gateway:
    """The headless services of Kubernetes, whose names have the addresses of all pods."""
    return _named(prefix="cartwright-")


def _named(*, prefix: str) -> Gateway:
    return Gateway(
        clusters={name: [Address(f"{prefix}{name.removesuffix('_grpc')}", port)] for name, port in _PORTS.items()},
        discovery="STRICT_DNS",
        listen=Address("0.0.0.0", 8080),  # noqa: S104 - a container is reached from outside
        statistics=Address("0.0.0.0", 8086),  # noqa: S104 - as above
        descriptors="/etc/envoy/descriptors.binpb",
    )


def from_environment(gateway: Gateway) -> Gateway:
    """The same with what the shop's own variables say of it, so that the gateway and the services agree."""
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    origins = given.get("CORS_ALLOWED_ORIGINS", "").split(",")
    hosts = [host.strip().removeprefix(".") for host in given.get("ALLOWED_HOSTS", "*").split(",")]
    is_unlimited = given.get("RATE_LIMITS", "on").lower() in {"off", "0", "no", "false"}
    return replace(
        gateway,
        host=gateway.host if "*" in hosts else hosts[0],
        issuer=given.get("JWT_ISSUER", gateway.issuer),
        audience=given.get("JWT_AUDIENCE", gateway.audience),
        cors_origins=tuple(origin.strip() for origin in origins if origin.strip()),
        tracing=_tracing(given),
        limits=None if is_unlimited else _limits(given, gateway.limits or RateLimits()),
        trusted_hops=int(given.get("TRUSTED_PROXIES", gateway.trusted_hops)),
        max_upload_bytes=int(given["MAX_UPLOAD_MB"]) * 1024 * 1024
        if "MAX_UPLOAD_MB" in given
        else gateway.max_upload_bytes,
    )


def _tracing(given: Mapping[str, str]) -> Tracing | None:
    """As the services read the same variables (config/settings/base.py)."""
    endpoint = given.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    parts = urlsplit(endpoint)
    if not parts.hostname:
        return None
    default = "http/protobuf" if parts.port == _OTLP_HTTP_PORT else "grpc"
    is_grpc = given.get("OTEL_EXPORTER_OTLP_PROTOCOL", default) == "grpc"
    return Tracing(
        Address(parts.hostname, parts.port or _OTLP_PORT),
        uri="" if is_grpc else f"{endpoint.rstrip('/')}/v1/traces",
        is_tls=parts.scheme == "https",
        percent=float(given.get("OTEL_TRACES_SAMPLER_ARG", "1")) * 100,
    )


def _limits(given: Mapping[str, str], default: RateLimits) -> RateLimits:
    """What the variables say, as requests a minute; of several limits of one variable the lowest."""

    def per_minute(name: str, number: int) -> int:
        if name not in given:
            return number
        return min(max(1, each.amount * 60 // each.get_expiry()) for each in parse_many(given[name]))

    return RateLimits(
        per_address=per_minute("RATE_LIMIT_ADDRESS", default.per_address),
        per_user=per_minute("RATE_LIMIT_USER", default.per_user),
        credentials=per_minute("RATE_LIMIT_CREDENTIALS", default.credentials),
    )


PLACES = {"local": local, "compose": compose, "kubernetes": kubernetes}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.envoy.render", description=__doc__)
    parser.add_argument("place", choices=PLACES)
    parser.add_argument("--folder", type=Path, help="write envoy.yaml there instead, and the descriptors it reads")
    arguments = parser.parse_args()
    configuration = render(from_environment(PLACES[arguments.place]()))
    if arguments.folder:
        shutil.copyfile(DESCRIPTORS, arguments.folder / DESCRIPTORS.name)
        (arguments.folder / "envoy.yaml").write_text(configuration)
    else:
        sys.stdout.write(configuration)


if __name__ == "__main__":
    main()
