"""Settings from the environment: good values work, bad ones are one clear line, and production takes no shortcuts."""

import json
import os
import re
import runpy
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured

from config import databases, env, keys
from config.profiles import PROFILES, SERVICES
from tests.run import SHOP_VARIABLES

ROOT = Path(__file__).parents[1]


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


RSA_KEY = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
SHORT_KEY = pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - to be refused
ELLIPTIC_KEY = pem(ec.generate_private_key(ec.SECP256R1()))
PRODUCTION = {
    "DEBUG": "off",
    "SECRET_KEY": "$5z+Qm0K!t=x7Wc9#uGdR2vLh4nYb6PjEaSfTi8oZkVxCqXw1B",
    "ALLOWED_HOSTS": "shop.example.com",
    "JWT_PRIVATE_KEY": RSA_KEY.replace("\n", "\\n"),
}


def manage(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in SHOP_VARIABLES.split()}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**environment, "DATA_DIR": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for many tests: making a key takes a while."""
    return tmp_path_factory.mktemp("data")


def assert_one_clear_line(result: subprocess.CompletedProcess[str], variable: str) -> None:
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr.startswith("cartwright: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert variable in result.stderr


@pytest.mark.once
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALLOWED_HOSTS", "https://shop.example.com"),
        ("BIND", "everywhere"),
        ("BROKER_URL", "kafka://localhost"),
        ("BROKER_URL", "amqp://guest:secret@localhost:port//"),
        ("CORS_ALLOWED_ORIGINS", "shop.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://shop.example.com/"),
        ("CURRENCY", "DOLLAR"),
        ("DATABASE_URL", "mysql://localhost/shop"),
        ("DATABASE_URL", "postgres"),
        ("DATABASE_URL", "postgres://user:secret@localhost:port/shop"),
        ("DATABASE_URL", "postgres://user:secret@localhost"),
        ("DATABASE_URL", "postgres://[::1/shop"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite://folder/file.sqlite3"),
        ("ORDERS_DATABASE_URL", "sqlite:///:memory:"),
        ("DATA_DIR", "/dev/null/shop"),
        ("DEBUG", "maybe"),
        ("DRAIN_SECONDS", "-1"),
        ("EMAIL_URL", "smtp://localhost:port"),
        ("EMAIL_URL", "smtp"),
        ("EVENT_STREAMS", "0"),
        ("EVENTS_AMQP_URL", "redis://localhost"),
        ("EVENTS_REDIS_LENGTH", "many"),
        ("EVENTS_REDIS_URL", "redis://:secret@localhost:port/0"),
        ("JWT_EXPIRES_IN", "soon"),
        ("JWT_EXPIRES_IN", "15"),
        ("JWT_REFRESH_IN", "99999999999d"),
        ("JWT_PRIVATE_KEY", "garbage"),
        ("JWT_PRIVATE_KEY", SHORT_KEY),
        ("JWT_PRIVATE_KEY", ELLIPTIC_KEY),
        ("JWT_PUBLIC_KEYS", "garbage"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("LOW_STOCK_THRESHOLD", "-1"),
        ("MAX_UPLOAD_MB", "0"),
        ("MEDIA_STORAGE_URL", "file:///srv/media"),
        ("MEDIA_STORAGE_URL", "s3://"),
        ("MEDIA_STORAGE_URL", "s3://UPPER"),
        ("MEDIA_STORAGE_URL", "s3://key:secret@bucket"),
        ("MEDIA_STORAGE_URL", "s3://bucket:9000"),
        ("MEDIA_STORAGE_URL", "s3://bucket/../other//"),
        ("MEDIA_STORAGE_URL", "s3://bucket?secret_key=secret"),
        ("MEDIA_STORAGE_URL", "s3://bucket?endpoint_url=minio:9000"),
        ("MEDIA_STORAGE_URL", "s3://bucket?region="),
        ("MONGODB_URL", "localhost:27017"),
        ("MONGODB_URL", "mongodb://"),
        ("MONGODB_URL", "mongodb://user:secret@localhost:port/shop"),
        ("MONGODB_URL", "mongodb://user:sec@ret@localhost/shop"),
        ("MONGODB_URL", "mongodb://localhost/shop.one"),
        ("PASSWORD_POLICY", "none"),
        ("PAYMENT_PROVIDER", "cash"),
        ("PAYMENT_WEBHOOK_SECRET", "secret"),
        ("PAYMENT_WEBHOOK_SECRET", "whsec_c2hvcnQ="),
        ("PORT", "abc"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("RATE_LIMITS", "few"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "jaeger:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://jaeger"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://key@jaeger:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://jaeger:port"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
        ("OTEL_TRACES_SAMPLER_ARG", "-1"),
        ("OTEL_TRACES_SAMPLER_ARG", "10%"),
        ("RATE_LIMIT_ADDRESS", "often"),
        ("RATE_LIMIT_ADDRESS", "100"),
        ("RATE_LIMIT_CREDENTIALS", "300/fortnight"),
        ("RATE_LIMIT_PAYMENTS", "0/minute"),
        ("RATE_LIMIT_SEARCH", "1/minute and more"),
        ("RATE_LIMIT_USER", "1/100year"),
        ("REDIS_URL", "localhost"),
        ("REDIS_URL", "redis://:secret@localhost:port/0"),
        ("RESERVATION_TTL", "0m"),
        ("STRIPE_API_BASE", "api.stripe.com"),
        ("SERVICE_TOKEN_FILE", "/nowhere"),
        ("TEMPLATES_DIR", "/nowhere"),
        ("TEMPLATES_DIR", "/dev/null"),
        ("TRUSTED_PROXIES", "10"),
        ("USERS_DATABASE_URL", "oracle://localhost/shop"),
        ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("WEBHOOK_ALLOWED_NETWORKS", "localhost"),
        ("WEBHOOK_ALLOW_HTTP", "maybe"),
        ("WEB_THREADS", "0"),
        ("WEB_WORKERS", "4"),
        ("WORKER_PROCESSES", "0"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, variable: str, value: str
) -> None:
    for name in SHOP_VARIABLES.split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.setenv(variable, value)

    with pytest.raises(ImproperlyConfigured, match=rf"^{variable}\b.*\.$") as refusal:
        runpy.run_path(str(ROOT / "config" / "settings" / "base.py"))

    assert "secret" not in str(refusal.value)


def test_a_service_token_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, data_dir: Path, tmp_path: Path) -> None:
    for name in SHOP_VARIABLES.split():
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("from.the.file\n")
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.setenv("SERVICE_TOKEN_FILE", str(tmp_path / "token"))
    assert runpy.run_path(str(ROOT / "config/settings/base.py"))["SERVICE_TOKEN"] == "from.the.file"
    monkeypatch.setenv("SERVICE_TOKEN", "its.own")
    assert runpy.run_path(str(ROOT / "config/settings/base.py"))["SERVICE_TOKEN"] == "its.own"


@pytest.mark.parametrize("missing", ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"])
def test_stripe_needs_its_secrets(monkeypatch: pytest.MonkeyPatch, data_dir: Path, missing: str) -> None:
    for name in SHOP_VARIABLES.split():
        monkeypatch.delenv(name, raising=False)
    given = {"STRIPE_SECRET_KEY": "sk_test_secret", "STRIPE_WEBHOOK_SECRET": "whsec_secret"}
    for name, value in {**given, "DATA_DIR": str(data_dir), "PAYMENT_PROVIDER": "stripe", missing: ""}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ImproperlyConfigured) as refusal:
        runpy.run_path(str(ROOT / "config" / "settings" / "base.py"))

    assert str(refusal.value) == f"{missing} must be set for PAYMENT_PROVIDER=stripe."


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        ("check", "PORT", "abc"),
        ("check", "DATABASE_URL", "postgres://user:secret@localhost:port/shop"),
        ("migrate_all", "JWT_PRIVATE_KEY", "garbage"),
        ("relay", "WEB_WORKERS", "4"),
        ("serve", "TEMPLATES_DIR", "/nowhere"),
    ],
)
def test_a_command_says_it_in_one_line(tmp_path: Path, command: str, variable: str, value: str) -> None:
    result = manage(tmp_path, command, **{variable: value})

    assert_one_clear_line(result, variable)


@pytest.mark.once
@pytest.mark.parametrize("variable", ["SECRET_KEY", "ALLOWED_HOSTS", "JWT_PRIVATE_KEY"])
def test_production_refuses_to_start_without(tmp_path: Path, variable: str) -> None:
    result = manage(tmp_path, "check", **{**PRODUCTION, variable: ""})

    assert_one_clear_line(result, variable)


@pytest.mark.once
@pytest.mark.parametrize(
    ("variable", "value"), [("SECRET_KEY", "short"), ("ALLOWED_HOSTS", "*"), ("ALLOWED_HOSTS", "shop.example.com,*")]
)
def test_production_refuses(tmp_path: Path, variable: str, value: str) -> None:
    result = manage(tmp_path, "check", **{**PRODUCTION, variable: value})

    assert_one_clear_line(result, variable)


@pytest.mark.once
def test_a_good_production_configuration_passes_the_deployment_check(tmp_path: Path) -> None:
    result = manage(tmp_path, "check", "--deploy", "--fail-level", "ERROR", **PRODUCTION)

    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.once
def test_with_no_environment_it_is_ready_to_develop(tmp_path: Path) -> None:
    result = manage(tmp_path, "check", "--fail-level", "WARNING")

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "jwt-development.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
    ],
)
@pytest.mark.once
def test_durations(monkeypatch: pytest.MonkeyPatch, value: str, length: timedelta) -> None:
    monkeypatch.setenv("LIFE", value)

    assert env.duration("LIFE", "1s") == length


@pytest.mark.once
def test_a_value_is_taken_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "$HOME is no reference")

    assert env.text("SECRET_KEY") == "$HOME is no reference"


@pytest.mark.once
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgres://shop:p%40ss%2Fw%23rd%25%2B@db.example.com/shop",
            {"USER": "shop", "PASSWORD": "p@ss/w#rd%+", "HOST": "db.example.com", "PORT": "5432", "NAME": "shop"},
        ),
        ("postgres://db.example.com:6432/shop", {"PORT": "6432"}),
        ("postgres:///shop", {"HOST": "", "NAME": "shop"}),
        ("postgres://h/shop?sslmode=require", {"OPTIONS": {"sslmode": "require"}}),
        ("sqlite:////srv//shop/../shop.sqlite3", {"NAME": "/srv/shop.sqlite3"}),
        ("sqlite:///shop.sqlite3", {"NAME": str(Path.cwd() / "shop.sqlite3")}),
    ],
)
def test_database_urls(monkeypatch: pytest.MonkeyPatch, url: str, expected: dict[str, Any]) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    config = env.database("DATABASE_URL")

    assert config is not None
    assert {name: config[name] for name in expected} == expected


@pytest.mark.once
def test_services_with_one_url_share_one_alias(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("USERS_DATABASE_URL", "postgres://h:5432/shop")
    monkeypatch.setenv("PRODUCTS_DATABASE_URL", "postgres://h/stock")
    monkeypatch.setenv("ORDERS_DATABASE_URL", "postgresql://h/shop")

    table, aliases, _ = databases.from_environment(tmp_path, PROFILES["monolith"])

    assert aliases == {"users": "default", "products": "products", "orders": "default"}
    assert {alias: config["NAME"] for alias, config in table.items()} == {"default": "shop", "products": "stock"}


@pytest.mark.once
def test_the_development_key_is_made_once(tmp_path: Path) -> None:
    first = keys.from_environment(tmp_path, development=True)

    assert keys.from_environment(tmp_path, development=True) == first


@pytest.mark.once
def test_a_broken_development_key_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "jwt-development.pem").write_bytes(b"\xff")

    with pytest.raises(ImproperlyConfigured, match=r"jwt-development\.pem"):
        keys.from_environment(tmp_path, development=True)


@pytest.mark.once
def test_further_public_keys_are_accepted_after_our_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JWT_PRIVATE_KEY", raising=False)
    others = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        others += keys.from_environment(tmp_path / name, development=True)[1]
    monkeypatch.setenv("JWT_PUBLIC_KEYS", "".join(others).replace("\n", "\\n"))

    _, accepted = keys.from_environment(tmp_path, development=True)

    assert accepted[1:] == others


@pytest.mark.once
@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://localhost", "cartwright"),
        ("mongodb://user:p%40ss@a.example.com:27017,b.example.com/shop?replicaSet=rs0", "shop"),
        ("mongodb+srv://user:pass@cluster.example.com/?retryWrites=true", "cartwright"),
    ],
)
def test_documents_get_a_database_of_their_own(monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    monkeypatch.setenv("MONGODB_URL", url)
    known, aliases, documents = databases.from_environment(Path("/data"), PROFILES["monolith"])
    assert documents == "catalogue"
    assert (known["catalogue"]["HOST"], known["catalogue"]["NAME"]) == (url, name)
    assert documents not in aliases.values()


@pytest.mark.once
@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "amqp://127.0.0.1:5672//"])
def test_a_broker_repeats_only_what_nobody_is_still_doing(tmp_path: Path, url: str) -> None:
    code = (
        "import json; from celery import current_app as app; from apps.events.consumer import MAX_PAUSE; c = app.conf; "
        "print(json.dumps([MAX_PAUSE, c.task_soft_time_limit, c.task_time_limit, c.broker_transport_options, "
        "[c.task_acks_late, c.task_reject_on_worker_lost, c.worker_prefetch_multiplier, c.result_backend, "
        "c.worker_enable_remote_control], "
        "{q.name: q.queue_arguments['x-dead-letter-routing-key'] for q in c.task_queues}]))"
    )
    done = manage(tmp_path, "shell", "-v0", "-c", code, BROKER_URL=url, QUEUE_PREFIX="one-")
    pause, soft, hard, options, manner, queues = json.loads(done.stdout)
    assert soft < hard
    # RabbitMQ sees a worker die; Redis has but the time to go by.
    assert url.startswith("amqp") or pause + hard < options["visibility_timeout"]
    assert manner == [True, True, 1, None, False]
    names = (*SERVICES, *(f"{service}-slow" for service in SERVICES), "housekeeping")
    assert queues == {f"one-{name}": "one-dead-letters" for name in names}


def test_every_variable_is_documented_and_kept_away_from_tests() -> None:
    files = [ROOT / "config" / "keys.py", *(ROOT / "config" / "settings").glob("*.py")]
    code = "\n".join(file.read_text() for file in files)
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', code))
    read |= {
        "DATABASE_URL",
        "MONGODB_URL",
        *(f"{service.upper()}_{what}" for service in SERVICES for what in ("DATABASE_URL", "GRPC")),
    }
    documented = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / "configuration.md").read_text()))

    assert read - documented == set()
    assert set(SHOP_VARIABLES.split()) == read | {"DJANGO_SETTINGS_MODULE"}


@pytest.mark.once
@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("", ""),
        ("products:50053", "products:50053"),
        ("10.0.0.1:50053, 10.0.0.2:50053", "ipv4:10.0.0.1:50053,10.0.0.2:50053"),
        ("[::1]:50053,[::2]:50053", "ipv6:[::1]:50053,[::2]:50053"),
    ],
)
def test_a_service_may_be_at_several_addresses(monkeypatch: pytest.MonkeyPatch, value: str, target: str) -> None:
    monkeypatch.setenv("PRODUCTS_GRPC", value)
    assert env.peer("PRODUCTS_GRPC") == target
