"""docker-compose.yml: it keeps to the schema, its parts fit together, and the shop takes exactly these settings."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pytest_django import Settings

from apps.common import supervisor
from apps.common.management.commands.serve import processes
from config.profiles import PROFILES, SERVICES
from deploy.envoy import render
from deploy.split import SCOPES
from tests.run import SHOP_VARIABLES
from tests.services import mongodb

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
FILE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVED: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVED.items() if service["image"].startswith("cartwright:")}
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])((?:[^${}]|\$\{[^{}]*\})*))?\}")


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `deploy/secrets.sh` writes."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "secrets.sh", folder / "deploy")
    subprocess.run([folder / "deploy" / "secrets.sh"], check=True, capture_output=True)
    again = subprocess.run([folder / "deploy" / "secrets.sh"], check=False, capture_output=True)
    assert again.returncode == 1
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    lines = [line for line in (folder / ".env").read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def filled_in(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever YAML has
    """The value as Compose reads it; `$$` is left alone."""
    if isinstance(value, dict):
        return {key: filled_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [filled_in(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        if kind == "?" and not variables.get(name):
            raise KeyError(name)
        return variables.get(name) or (str(filled_in(other or "", variables)) if kind == "-" else "")

    return _VARIABLE.sub(replaced, value)


def active(profile: str) -> dict[str, dict[str, Any]]:
    """What starts with a profile."""
    return {name: each for name, each in SERVED.items() if profile in each.get("profiles", [profile])}


def test_it_keeps_to_the_schema() -> None:
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(FILE)] == []


def test_profiles() -> None:
    stores = {"postgres", "mongodb", "redis"}
    jobs = {f"{job}-{service}" for job in ("migrate", "token") for service in SERVICES} | {"migrate-admin", "gateway"}
    watched = {"jaeger", "prometheus", "grafana"}
    assert active("split").keys() == stores | jobs | watched | {*SERVICES, "admin", "envoy"}
    assert active("single").keys() == stores | {"shop"}
    assert active("rabbitmq").keys() == stores | {"rabbitmq"}


@pytest.mark.parametrize("profile", ["split", "single"])
def test_what_is_waited_for_starts_too(profile: str) -> None:
    started = active(profile)
    for name, service in started.items():
        conditions = service.get("depends_on", {})
        for other in conditions:
            assert other in started, (name, other)
            is_awaited = isinstance(conditions, dict) and conditions[other]["condition"] == "service_healthy"
            assert not is_awaited or "healthcheck" in SERVED[other] or other in OURS, (name, other)


def test_nothing_else_is_reachable_from_outside() -> None:
    ports = {name: service["ports"] for name, service in SERVED.items() if "ports" in service}
    assert filled_in(ports, {}) == {
        "envoy": ["127.0.0.1:8080:8080"],
        "shop": ["127.0.0.1:8080:8080"],
        "jaeger": ["127.0.0.1:16686:16686"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert FILE["networks"]["stores"] == {"internal": True}
    for store in ("postgres", "mongodb", "redis", "rabbitmq"):
        assert SERVED[store]["networks"] == ["stores"]


def test_every_secret_must_be_set_and_is_made_up(variables: dict[str, str]) -> None:
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert needed == variables.keys() - {"COMPOSE_PROFILES", "ALLOWED_HOSTS"}
    assert all(len(variables[name]) >= 48 for name in needed)
    assert len({variables[name] for name in needed}) == len(needed)
    filled_in(FILE, variables)
    for name in needed:
        with pytest.raises(KeyError):
            filled_in(FILE, {**variables, name: ""})


def test_containers_may_do_little() -> None:
    for name, service in SERVED.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] == (name != "rabbitmq"), name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        # Ours says in the image whom it runs as.
        assert name in OURS or not service["user"].startswith(("0", "root")), name
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?(-bookworm)?", service["image"])


def test_what_is_mounted_is_there() -> None:
    """As far as the folder of it is."""
    for service in SERVED.values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if not source.startswith("./"):
                assert source in FILE["volumes"], mount
            elif Path(ROOT, *Path(source).parts[:2]).exists():
                assert (ROOT / source).exists(), mount


def test_every_variable_is_one_of_the_shops() -> None:
    documented = set(re.findall(r"`([A-Z_0-9]+)`", (ROOT / "docs" / "configuration.md").read_text()))
    for name, service in OURS.items():
        assert service["environment"].keys() <= documented | set(render.VARIABLES), name


def test_services_are_where_the_gateway_looks_for_them(variables: dict[str, str], tmp_path: Path) -> None:
    job = SERVED["gateway"]
    command = [sys.executable, *job["entrypoint"][3:-1], str(tmp_path)]
    environment = {"PATH": os.environ["PATH"], **filled_in(job["environment"], variables)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert (tmp_path / "descriptors.binpb").read_bytes() == render.DESCRIPTORS.read_bytes()
    clusters = yaml.safe_load((tmp_path / "envoy.yaml").read_text())["static_resources"]["clusters"]
    ends = [cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"] for cluster in clusters]
    places = {
        (end["address"]["socket_address"]["address"], end["address"]["socket_address"]["port_value"]) for end in ends
    }
    ports = {(name, PROFILES[name].port) for name in (*SERVICES, "admin")}
    assert places >= ports | {(name, PROFILES[name].grpc_port) for name in SERVICES}
    # The gateway asks itself for its own statistics.
    assert {place for place, _ in places} <= SERVED.keys() | {"127.0.0.1"}
    for service in SERVICES:
        assert SERVED["orders"]["environment"][f"{service.upper()}_GRPC"] == f"{service}:{PROFILES[service].grpc_port}"


def test_tokens_allow_what_the_services_ask() -> None:
    for service, scopes in SCOPES.items():
        command = SERVED[f"token-{service}"]["command"]
        assert command[:2] == ["issue_service_token", f"{service} service"]
        assert command[command.index("--scope") + 1 :] == list(scopes)
        assert SERVED[f"token-{service}"]["volumes"] == [f"{service}-token:/data"]
        assert f"{service}-token:/run/token:ro" in SERVED[service]["volumes"]
        assert SERVED[service]["environment"]["SERVICE_TOKEN_FILE"] == "/run/token/token"


def test_there_is_time_to_stop(settings: Settings) -> None:
    settings.BROKER_URL = "redis://localhost"
    longest = len(list(processes())) * supervisor._STOP_SECONDS
    for name, service in OURS.items():
        assert int(service["stop_grace_period"].removesuffix("s")) > longest, name


@pytest.mark.e2e
def test_the_shop_takes_these_settings(variables: dict[str, str], tmp_path: Path) -> None:
    """Each with DEBUG off, as in the image. Only MongoDB is asked something, so it is one of the test's."""
    (tmp_path / "token").write_text("a.service.token")
    here = {"DEBUG": "off", "DATA_DIR": str(tmp_path)}

    def checked(name: str) -> subprocess.CompletedProcess[str]:
        given = {**filled_in(SERVED[name]["environment"], variables), **here}
        for variable in given.keys() & replaced:
            given[variable] = replaced[variable]
        environment = {key: value for key, value in os.environ.items() if key not in SHOP_VARIABLES.split()}
        command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
        return subprocess.run(
            command, cwd=ROOT, env={**environment, **given}, check=False, capture_output=True, text=True
        )

    with mongodb(tmp_path) as url, ThreadPoolExecutor(2) as pool:
        replaced = {"SERVICE_TOKEN_FILE": str(tmp_path / "token"), "MONGODB_URL": f"{url}/cartwright"}
        for done in pool.map(checked, [*SERVICES, "admin", "shop"]):
            assert done.returncode == 0, done.stderr
