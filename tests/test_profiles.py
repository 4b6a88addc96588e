"""Each profile by itself: it loads its own models, addresses and tasks and no others, and migrates alone."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.test_settings import manage

pytestmark = pytest.mark.once

PEERS = {
    "USERS_GRPC": "127.0.0.1:50052",
    "PRODUCTS_GRPC": "127.0.0.1:50053",
    "ORDERS_GRPC": "127.0.0.1:50054",
    "SERVICE_TOKEN": "a token",
    "BROKER_URL": "redis://127.0.0.1:6379/0",
}
LOOK = """
import json, sys
from django.apps import apps
from django.conf import settings
from django.urls import get_resolver
from celery import current_app
current_app.loader.import_default_modules()
def addresses(patterns, before=""):
    for each in patterns:
        here = before + str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from addresses(each.url_patterns, here)
        else:
            yield here
tasks = [name for name in current_app.tasks if not name.startswith("celery.")]
print(json.dumps({
    "models": sorted({model._meta.app_label for model in apps.get_models()}),
    "modules": sorted({".".join(name.split(".")[:3]) for name in sys.modules if name.startswith("apps.")}),
    "addresses": sorted(set(addresses(get_resolver().url_patterns))),
    "tasks": sorted({name.split(".")[0] for name in tasks}),
    "beat": sorted({entry["task"].split(".")[0] for entry in settings.CELERY_BEAT_SCHEDULE.values()}),
    "ports": [settings.PORT, settings.GRPC_PORT],
    "databases": {alias: str(config["NAME"]) for alias, config in settings.DATABASES.items()},
    "audit": settings.AUDIT_RULES,
}))
"""
SERVICES = ("users", "products", "orders")


def run(folder: Path, profile: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = {"DJANGO_SETTINGS_MODULE": f"config.settings.{profile}"}
    return manage(folder, *arguments, **{**settings, **variables})


@pytest.mark.parametrize(
    ("service", "own", "others", "ports"),
    [
        ("users", ["users", "auth", "contenttypes"], ["products", "orders"], [8082, 50052]),
        ("products", ["products"], ["users", "orders"], [8083, 50053]),
        ("orders", ["orders"], ["users", "products"], [8084, 50054]),
    ],
)
def test_a_service_loads_nothing_of_the_others(
    tmp_path: Path, service: str, own: list[str], others: list[str], ports: list[int]
) -> None:
    done = run(tmp_path, service, "shell", "-v0", "-c", LOOK, **PEERS)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["models"] == sorted(["common", "events", *own])
    for other in others:
        # Their interfaces and events are what services know of each other.
        known = {module for module in seen["modules"] if module.startswith(f"apps.{other}.")}
        assert known <= {f"apps.{other}.interface", f"apps.{other}.events"}
    assert seen["tasks"] == sorted(["common", "events", service])
    assert set(seen["beat"]) <= {"common", "events", service}
    assert [address for address in seen["addresses"] if address.startswith(("admin", "api/auth"))] == []
    assert any(address.startswith(f"api/v1/{service}") for address in seen["addresses"])
    for other in others:
        assert not any(address.startswith(f"api/v1/{other}") for address in seen["addresses"])
    assert seen["ports"] == ports
    assert seen["databases"] == {"default": str(tmp_path / f"{service}.sqlite3")}
    assert seen["audit"] == [f"apps.{service}.audit.RULES", "apps.events.audit.RULES"]


def test_the_staff_pages_work_on_the_databases_of_all_services(tmp_path: Path) -> None:
    done = run(tmp_path, "admin", "shell", "-v0", "-c", LOOK, **PEERS)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["databases"] == {
        "default": str(tmp_path / "users.sqlite3"),
        "products": str(tmp_path / "products.sqlite3"),
        "orders": str(tmp_path / "orders.sqlite3"),
    }
    assert "admin/orders/order/" in seen["addresses"]


def test_each_migrates_alone(tmp_path: Path) -> None:
    for profile in (*SERVICES, "admin"):
        done = run(tmp_path, profile, "migrate_all", **PEERS)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "products.sqlite3").exists() == (profile != "users")
    tables = {}
    for service in SERVICES:
        with sqlite3.connect(tmp_path / f"{service}.sqlite3") as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables[service] = {name.split("_")[0] for (name,) in rows}
    shared = {"django", "events", "common", "sqlite"}
    assert tables["users"] - shared == {"users", "auth"}
    assert tables["products"] - shared == {"products"}
    assert tables["orders"] - shared == {"orders"}


@pytest.mark.parametrize(
    ("profile", "variable"),
    [
        ("orders", "PRODUCTS_GRPC"),
        ("users", "BROKER_URL"),
        ("products", "USERS_GRPC"),
    ],
)
def test_what_is_missing_is_named_in_one_line(tmp_path: Path, profile: str, variable: str) -> None:
    done = run(tmp_path, profile, "check", **{name: value for name, value in PEERS.items() if name != variable})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert variable in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_token_for_the_others_is_needed_to_serve_and_not_to_make_one(tmp_path: Path) -> None:
    without = {name: value for name, value in PEERS.items() if name != "SERVICE_TOKEN"}
    assert run(tmp_path, "users", "migrate_all", **without).returncode == 0
    made = run(tmp_path, "users", "issue_service_token", "orders", "--scope", "tokens:read", **without)
    assert (made.returncode, made.stdout.count(".")) == (0, 2)
    done = run(tmp_path, "orders", "serve", **without)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: SERVICE_TOKEN must be set")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PRODUCTS_GRPC", "products"),
        ("PRODUCTS_GRPC", "http://products:50053"),
        ("PRODUCTS_GRPC", "products:many"),
        ("PRODUCTS_GRPC", "products:50053,other:50053"),
        ("PRODUCTS_GRPC", "10.0.0.1:50053,[::1]:50053"),
        ("GRPC_PORT", "8084"),
        ("GRPC_TLS_CERTIFICATE", "/nowhere.pem"),
        ("GRPC_TLS_MUTUAL", "on"),
        ("GRPC_DEADLINE", "soon"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, variable: str, value: str) -> None:
    done = run(tmp_path, "orders", "check", **{**PEERS, variable: value})
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert variable in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("service", "mail"), [("users", "users/mail/reset.txt"), ("orders", "orders/mail/order.paid.txt")]
)
def test_a_service_by_itself_can_write_its_mail(tmp_path: Path, service: str, mail: str) -> None:
    look = f"from django.template import Engine; print(Engine.get_default().get_template({mail!r}).name)"
    done = run(tmp_path, service, "shell", "-c", look, **PEERS)
    assert (done.returncode, done.stdout.split()[-1]) == (0, mail), done.stderr
