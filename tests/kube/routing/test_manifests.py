"""The front door as it is shipped: rights, settings that exist, samples for the outside, and what its page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from model_serving.kube.labels import NAME_LABEL, WORKSPACE
from model_serving.kube.routing.settings import from_environ
from model_serving.management.process import ManagementSettings
from model_serving.proxy.settings import RouterSettings
from tests.kube.routing.asked import MANAGEMENT, PREFIX, ROUTER, names_read

ROOT = Path(__file__).parents[3]
MANIFESTS, PAGE = ROOT / "manifests", ROOT / "docs" / "workspace.md"


def documents(folder: str = "workspace") -> dict[str, dict[str, Any]]:
    """What a folder holds, by kind."""
    listed = yaml.safe_load((MANIFESTS / folder / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in (MANIFESTS / folder).iterdir()}
    found = [each for name in listed for each in yaml.safe_load_all((MANIFESTS / folder / name).read_text())]
    return {document["kind"]: document for document in found}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = documents()["Deployment"]["spec"]["template"]["spec"]
    return spec


def containers() -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in (*pod()["initContainers"], *pod()["containers"])}


def test_it_may_look_and_nothing_else_and_at_no_secret() -> None:
    rules = documents()["Role"]["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    kinds = {kind for rule in rules for kind in rule["resources"]}
    assert kinds == {"servingendpoints", "endpointslices", "controllerrevisions", "pods", "pods/log", "namespaces"}
    assert all("*" not in rule["apiGroups"] for rule in rules)


def test_nothing_is_cluster_wide_or_bound_to_a_namespace() -> None:
    assert not {"ClusterRole", "ClusterRoleBinding", "Namespace"} & set(documents())
    for document in documents().values():
        assert "namespace" not in document["metadata"]
        assert document["metadata"]["name"] == WORKSPACE
    assert documents()["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": WORKSPACE}]


def test_policies_of_proxies_know_its_pods_by_their_label() -> None:
    template = documents()["Deployment"]["spec"]["template"]
    assert template["metadata"]["labels"] == {NAME_LABEL: WORKSPACE}
    assert pod()["serviceAccountName"] == WORKSPACE


def test_it_meets_pod_security_restricted_with_a_read_only_root() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers().values():
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_readiness_is_the_routers_alone_and_management_goes_last() -> None:
    router, management = containers()["router"], containers()["management"]
    assert not {"readinessProbe", "livenessProbe", "startupProbe"} & set(management)
    assert management["restartPolicy"] == "Always", "a sidecar ends after the router"
    assert router["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    process = RouterSettings().process
    longest = process.drain_delay_seconds + process.max_request_seconds
    assert pod()["terminationGracePeriodSeconds"] >= longest + 10


@pytest.mark.parametrize(("container", "readers"), [("router", ROUTER), ("management", MANAGEMENT)])
def test_every_setting_of_the_manifests_is_read_by_its_program(container: str, readers: Any) -> None:
    given = {entry["name"].removeprefix(PREFIX) for entry in containers()[container]["env"]}
    assert given <= names_read(*readers)


def test_the_files_that_settings_name_are_mounted() -> None:
    router = containers()["router"]
    values = {entry["name"].removeprefix(PREFIX): entry.get("value", "") for entry in router["env"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in router["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    root = values["ROOT"]
    assert volumes[mounts[f"{root}/api-keys"]]["secret"]["secretName"] == "model-serving-api-keys"
    tls = yaml.safe_load((MANIFESTS / "workspace-tls/kustomization.yaml").read_text())["patches"][0]["patch"]
    secret = yaml.safe_load(tls)[0]["value"]["value"]
    assert volumes[mounts[f"{root}/secrets/{secret}"]]["secret"]["secretName"] == secret
    (source,) = volumes[mounts[str(Path(values["ROUTER_TOKEN_FILE"]).parent)]]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "model-serving"
    assert "emptyDir" in volumes[mounts[str(Path(values["STATE_FILE"]).parent)]]
    ports = {entry["name"]: str(entry["containerPort"]) for entry in router["ports"]}
    assert ports == {"http": values["PORT"], "admin": values["ADMIN_PORT"]}
    assert values["MANAGEMENT"] == f"127.0.0.1:{ManagementSettings().port}"
    assert all(volume["secret"]["optional"] for volume in volumes.values() if "secret" in volume)


def test_the_page_lists_every_setting_and_its_default() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{PREFIX}")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    rows = {row[1].strip("`").removeprefix(PREFIX): row[2] for row in cells}
    assert set(rows) == names_read(*ROUTER, *MANAGEMENT)
    settings, feed = RouterSettings(), from_environ({}, "x")
    for name, value in {
        "HOLD_SECONDS": settings.hold_seconds, "DRAIN_DELAY_SECONDS": settings.process.drain_delay_seconds,
        "MAX_REQUEST_SECONDS": settings.process.max_request_seconds, "MAX_IN_FLIGHT": settings.process.max_in_flight,
        "MAX_CONNECTIONS": settings.process.max_connections, "PORT": settings.process.port,
        "ADMIN_PORT": settings.process.admin_port, "ISSUERS_RENEW_SECONDS": feed.issuers_renew_seconds,
    }.items():  # fmt: skip
        assert rows[name] == f"`{value:g}`"
    assert rows["CLUSTER_DOMAIN"] == f"`{feed.cluster_domain}`"


# Samples


def sample(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((MANIFESTS / "samples" / name).read_text())
    return dict(document)


def test_the_ingress_suits_streams_and_leads_to_the_service() -> None:
    ingress = sample("ingress.yaml")
    name = "nginx.ingress.kubernetes.io/"
    wishes = {key.removeprefix(name): value for key, value in ingress["metadata"]["annotations"].items()}
    assert wishes["proxy-buffering"] == "off" and wishes["proxy-next-upstream"] == "off"
    assert float(wishes["proxy-read-timeout"]) >= RouterSettings().process.max_request_seconds
    assert all(isinstance(value, str) for value in wishes.values()), "annotations are texts"
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = documents()["Service"]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    assert path["backend"]["service"] == {
        "name": service["metadata"]["name"],
        "port": {"name": service["spec"]["ports"][0]["name"]},
    }
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]


def test_the_httproute_waits_as_long_as_calls_take_and_leads_to_the_service() -> None:
    """The Gateway API's kinds are not a part of Kubernetes: the fields are compared with its v1."""
    route = sample("httproute.yaml")
    assert (route["apiVersion"], route["kind"]) == ("gateway.networking.k8s.io/v1", "HTTPRoute")
    assert set(route["spec"]) == {"parentRefs", "hostnames", "rules"}
    (rule,) = route["spec"]["rules"]
    assert set(rule) == {"matches", "timeouts", "backendRefs"}
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    service = documents()["Service"]
    port = service["spec"]["ports"][0]["port"]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port}]
