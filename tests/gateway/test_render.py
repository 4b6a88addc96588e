"""The configurations that are kept in the repository are those that the template makes, and Envoy takes them."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.envoy import render
from deploy.envoy.render import Address, Gateway, RateLimits, Tracing
from tests.gateway.gateway import ENVOY

pytestmark = pytest.mark.once


@pytest.mark.parametrize("place", ["compose", "kubernetes"])
def test_what_is_kept_is_what_is_rendered(place: str) -> None:
    kept = (render.FOLDER / f"{place}.yaml").read_text()

    assert kept == render.render(render.PLACES[place]()), (
        f"python -m deploy.envoy.render {place} > deploy/envoy/{place}.yaml"
    )


@pytest.mark.parametrize("place", render.PLACES)
def test_envoy_takes_it(tmp_path: Path, place: str) -> None:
    gateway = dataclasses.replace(render.PLACES[place](), descriptors=str(render.DESCRIPTORS))
    path = tmp_path / "envoy.yaml"
    path.write_text(render.render(gateway))

    done = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", path], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr[-2000:]


def test_variables_of_the_shop_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in render.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "ALLOWED_HOSTS": ".shop.example.com, example.com",
        "CORS_ALLOWED_ORIGINS": "https://a.example.com, https://b.example.com",
        "JWT_ISSUER": "us",
        "JWT_AUDIENCE": "them",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4317",
        "RATE_LIMITS": "off",
        "TRUSTED_PROXIES": "1",
    }.items():
        monkeypatch.setenv(name, value)

    gateway = render.from_environment(render.local())

    assert gateway == dataclasses.replace(
        render.local(),
        host="shop.example.com",
        cors_origins=("https://a.example.com", "https://b.example.com"),
        issuer="us",
        audience="them",
        tracing=Tracing(Address("jaeger", 4317)),
        limits=None,
        trusted_hops=1,
    )


def test_limits_are_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in render.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RATE_LIMIT_ADDRESS", "100/second;5000/minute")
    monkeypatch.setenv("RATE_LIMIT_CREDENTIALS", "600/hour")

    limits = render.from_environment(render.local()).limits

    assert limits == RateLimits(per_address=5000, per_user=1200, credentials=10)


def test_without_variables_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in render.VARIABLES:
        monkeypatch.delenv(name, raising=False)

    assert render.from_environment(render.local()) == render.local()


def test_limits_can_be_switched_off() -> None:
    def filters(limits: RateLimits | None) -> list[str]:
        config = yaml.safe_load(render.render(dataclasses.replace(render.local(), limits=limits)))
        manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        return [each["name"] for each in manager["http_filters"] if each["name"].startswith("cartwright.limit")]

    assert filters(RateLimits()) == ["cartwright.limit_address", "cartwright.limit_user"]
    assert filters(None) == []


def test_a_cluster_without_addresses_is_an_error() -> None:
    with pytest.raises(KeyError):
        render.render(Gateway(clusters={}))


@pytest.mark.parametrize(
    ("variables", "tracing"),
    [
        (["http://jaeger:4318", "", ""], Tracing(Address("jaeger", 4318), uri="http://jaeger:4318/v1/traces")),
        (["http://jaeger:9", "http/protobuf", ""], Tracing(Address("jaeger", 9), uri="http://jaeger:9/v1/traces")),
        (["http://jaeger:4318", "grpc", ""], Tracing(Address("jaeger", 4318))),
        (["https://c.example.com:443/", "", "0.25"], Tracing(Address("c.example.com", 443), is_tls=True, percent=25)),
    ],
)
def test_envoy_sends_spans_as_the_services_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: list[str], tracing: Tracing
) -> None:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER_ARG")
    for name in render.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in zip(names, variables, strict=True):
        monkeypatch.setenv(name, value)
    gateway = render.from_environment(render.local())
    assert gateway.tracing == tracing
    (tmp_path / "envoy.yaml").write_text(render.render(gateway))
    command = [str(ENVOY), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
