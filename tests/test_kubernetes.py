"""deploy/k8s: what the overlays come to is valid, fits together, and agrees with the image and the gateway."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pytest_django import Settings

from apps.common import supervisor
from apps.common.management.commands.serve import processes
from config.profiles import PROFILES, SERVICES
from deploy.split import SCOPES
from tests.image import instructions
from tests.services import needs_command

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
OVERLAYS = ("single", "split")
Resource = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Resource]:
    return rendered(str(request.param))


@pytest.fixture(scope="module")
def split() -> list[Resource]:
    return rendered("split")


def rendered(name: str) -> list[Resource]:
    """What `kubectl apply -k` would send."""
    kubectl = needs_command("kubectl")
    command = [kubectl, "kustomize", str(ROOT / "deploy" / "k8s" / "overlays" / name)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


def of_kind(resources: list[Resource], *kinds: str) -> Iterator[tuple[str, Resource]]:
    return ((each["metadata"]["name"], each) for each in resources if each["kind"] in kinds)


def pod_of(resource: Resource) -> Resource:
    return dict(resource["spec"]["template"]["spec"])


def containers(resource: Resource) -> list[Resource]:
    return [*pod_of(resource).get("initContainers", []), *pod_of(resource)["containers"]]


def is_chosen(selector: Resource, labels: Resource) -> bool:
    return selector.items() <= labels.items()


def test_every_resource_is_valid(overlay: list[Resource]) -> None:
    for resource in overlay:
        kubernetes_validate.validate(resource, "1.30", strict=True)


def test_every_resource_is_in_the_namespace(overlay: list[Resource]) -> None:
    assert {each["metadata"]["namespace"] for each in overlay} == {"cartwright"}


def test_pods_may_do_little(overlay: list[Resource]) -> None:
    for name, resource in of_kind(overlay, "Deployment", "Job"):
        pod = pod_of(resource)
        assert pod["automountServiceAccountToken"] is False
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001), name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(resource):
            allowed = container["securityContext"]
            assert allowed["capabilities"] == {"drop": ["ALL"]}, name
            assert (allowed["allowPrivilegeEscalation"], allowed["readOnlyRootFilesystem"]) == (False, True), name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", container["image"]), name


def test_the_user_is_the_images() -> None:
    user = next(each.text for each in instructions((ROOT / "deploy/Dockerfile").read_text()) if each.name == "USER")
    assert user == "10001:10001"


def test_replicas_probes_and_selectors(overlay: list[Resource]) -> None:
    deployments = dict(of_kind(overlay, "Deployment"))
    for name, resource in deployments.items():
        spec = resource["spec"]
        assert spec["replicas"] == (2 if name == "cartwright-admin" else 3)
        (container,) = pod_of(resource)["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
        labels = spec["template"]["metadata"]["labels"]
        assert is_chosen(spec["selector"]["matchLabels"], labels)
        for constraint in pod_of(resource)["topologySpreadConstraints"]:
            assert constraint["labelSelector"] == spec["selector"], name
        for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
            assert name in dict(of_kind(overlay, kind)), (kind, name)
        others = [each["spec"]["selector"]["matchLabels"] for _, each in of_kind(overlay, "Deployment")]
        assert [is_chosen(each, labels) for each in others].count(True) == 1, name
    for name, scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        assert scaler["spec"]["minReplicas"] == deployments[name]["spec"]["replicas"]
    for name, budget in of_kind(overlay, "PodDisruptionBudget"):
        assert budget["spec"]["selector"] == deployments[name]["spec"]["selector"]


def test_a_service_chooses_pods_that_serve_and_no_jobs(overlay: list[Resource]) -> None:
    for name, service in of_kind(overlay, "Service"):
        chosen = [
            (kind, resource)
            for kind in ("Deployment", "Job")
            for _, resource in of_kind(overlay, kind)
            if is_chosen(service["spec"]["selector"], resource["spec"]["template"]["metadata"]["labels"])
        ]
        assert [kind for kind, _ in chosen] == ["Deployment"], name
        (container,) = pod_of(chosen[0][1])["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            # Of a headless service the port is the pod's own.
            assert port["targetPort"] in ports
            assert "clusterIP" not in service["spec"] or port["port"] == ports[port["targetPort"]], name


def test_secrets_are_only_referred_to(overlay: list[Resource]) -> None:
    assert list(of_kind(overlay, "Secret")) == []
    documented = set(re.findall(r"[A-Z][A-Z_]+", (ROOT / "docs" / "configuration.md").read_text()))
    ((_, settings),) = of_kind(overlay, "ConfigMap")
    assert settings["data"].keys() <= documented
    assert not any(
        re.search("SECRET|PRIVATE|PASSWORD|TOKEN|_URL$", name)
        for name in settings["data"].keys() - {"MEDIA_STORAGE_URL"}
    )
    in_guide = (ROOT / "docs" / "deployment.md").read_text()
    for _, resource in of_kind(overlay, "Deployment", "Job"):
        for container in containers(resource):
            for source in container.get("envFrom", []):
                name = (source.get("secretRef") or source["configMapRef"])["name"]
                assert name == "cartwright-settings" or f"secret generic {name} " in in_guide, name


def test_policies_deny_by_default(overlay: list[Resource]) -> None:
    policies = dict(of_kind(overlay, "NetworkPolicy"))
    assert policies["cartwright-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for _, job in of_kind(overlay, "Job"):
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert is_chosen(policies["cartwright-stores"]["spec"]["podSelector"]["matchLabels"], labels)


def test_the_profiles_listen_where_the_gateway_looks(split: list[Resource]) -> None:
    gateway = yaml.safe_load((ROOT / "deploy/envoy/kubernetes.yaml").read_text())
    text = str(gateway["static_resources"]["clusters"])
    services = dict(of_kind(split, "Service"))
    deployments = dict(of_kind(split, "Deployment"))
    for profile in (*SERVICES, "admin"):
        name, known = f"cartwright-{profile}", PROFILES[profile]
        (container,) = pod_of(deployments[name])["containers"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert environment["DJANGO_SETTINGS_MODULE"] == f"config.settings.{profile}"
        ports = [known.port, *([known.grpc_port] if known.does_work else [])]
        assert [port["port"] for port in services[name]["spec"]["ports"]] == ports
        assert f"'address': '{name}', 'port_value': {known.port}" in text
    ((_, settings),) = of_kind(split, "ConfigMap")
    for service in SERVICES:
        assert settings["data"][f"{service.upper()}_GRPC"] == f"cartwright-{service}:{PROFILES[service].grpc_port}"


def test_tokens_allow_what_the_services_ask() -> None:
    script = (ROOT / "deploy/k8s/tokens.sh").read_text()
    for service, scopes in SCOPES.items():
        assert f"{service}=$(token {service} {' '.join(scopes)})" in script


def test_there_is_time_to_stop(overlay: list[Resource], settings: Settings) -> None:
    settings.BROKER_URL = "redis://localhost"
    ((_, variables),) = of_kind(overlay, "ConfigMap")
    drain = int(variables["data"]["DRAIN_SECONDS"])
    # Envoy and kubelet ask every five seconds.
    assert drain == 10
    longest = drain + len(list(processes())) * supervisor._STOP_SECONDS
    for name, resource in of_kind(overlay, "Deployment"):
        assert name == "cartwright-gateway" or pod_of(resource)["terminationGracePeriodSeconds"] > longest
