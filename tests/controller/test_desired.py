"""The children as golden files: `UPDATE_GOLDEN=1` writes them anew, the diff is then reviewed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_serving.controller.desired.config_map import config_map, policy_map
from model_serving.controller.desired.deployment import deployment
from model_serving.controller.desired.network_policy import IDENTITY_SERVICES, Egress, network_policy, upstream_ports
from model_serving.controller.desired.owner import Owner
from model_serving.controller.desired.pod_disruption_budget import pod_disruption_budget
from model_serving.controller.desired.revision import controller_revision
from model_serving.controller.desired.role import roles
from model_serving.controller.desired.service import service, service_url
from model_serving.controller.desired.service_account import account_annotations, service_account
from model_serving.controller.desired.shape import shape_of
from model_serving.controller.settings import own_ports
from model_serving.kube.resources import Manifest
from model_serving.kube.revisions import parse_revision
from model_serving.lifecycle.proxy_config import build_policy, build_proxy_config, identity_providers
from model_serving.lifecycle.revision import Outcome, Revision
from tests.controller.factory import SETTINGS, config, endpoint, owner, revision

GOLDEN = Path(__file__).parents[1] / "golden" / "desired"
ACCESS = [
    {"kind": "Group", "name": "data-science", "permissionLevel": "CAN_QUERY"},
    {"kind": "User", "name": "boss@example.com", "permissionLevel": "CAN_MANAGE"},
    {"kind": "ServiceAccount", "name": "batch", "permissionLevel": "CAN_VIEW"},
    {"kind": "ServiceAccount", "name": "nightly", "namespace": "jobs", "permissionLevel": "CAN_QUERY"},
]
RICH: dict[str, Any] = {
    "proxy": {
        "replicas": 3,
        "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "512Mi"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "high",
        "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"},
    }
}
STORE = replace(SETTINGS, limits_store="valkey://valkey:6379/0")
TRACES = replace(SETTINGS, traces_endpoint="http://collector:4318", traces_percent=5)
CORP: dict[str, Any] = {"proxy": {"upstreamCa": {"secretName": "corp-ca"}}}
WAY_OUT = replace(SETTINGS, upstream_proxy="http://proxy.corp:3128", upstream_no_proxy=("corp", "10.0.0.0/8"))
TLS: dict[str, Any] = {"proxy": {"tls": {"secretName": "chat-tls"}}}


def rich_deployment() -> Manifest:
    of = endpoint(**RICH)
    settings = replace(SETTINGS, image_pull_secrets=("pull",), run_as_user=0, drain_delay_seconds=3)
    return deployment(owner(), revision(of, settings), None, settings)


CASES: dict[str, Callable[[], list[Manifest]]] = {
    "deployment": lambda: [deployment(owner(), revision(), 2, SETTINGS)],
    "deployment_rich": lambda: [rich_deployment()],
    "deployment_tls": lambda: [deployment(owner(), revision(endpoint(**TLS)), 2, SETTINGS)],
    "deployment_upstream_ca": lambda: [deployment(owner(), revision(endpoint(**CORP), WAY_OUT), 2, WAY_OUT)],
    "service": lambda: [service(owner(), [revision()])],
    "service_tls": lambda: [service(owner(), [revision(endpoint(**TLS))])],
    "service_between": lambda: [service(owner(), [revision(), revision(endpoint(**TLS))])],
    "service_account": lambda: [service_account(owner(), {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"})],
    "config_maps": lambda: [
        config_map(owner(), build_proxy_config(revision())),
        policy_map(owner(), build_policy(endpoint(access=ACCESS, rateLimits=[{"calls": 9}]), 1, "public")),
    ],
    "controller_revision": lambda: [controller_revision(owner(), revision().ended(Outcome.FAILED, "Why", "words"))],
    "network_policy": lambda: [network_policy(owner(), Egress({443}), "model-serving-system")],
    "network_policy_own_ports": lambda: [network_policy(owner(), Egress({443}, own_ports=[4318, 6380]), "ops")],
    "network_policy_identity": lambda: [network_policy(owner(), Egress({443}, identity=IDENTITY_SERVICES), "ops")],
    "deployment_traces": lambda: [deployment(owner(), revision(endpoint(), TRACES), 2, TRACES)],
    "deployment_limits_store": lambda: [
        deployment(owner(), revision(endpoint(), STORE), 2, STORE),
    ],
    "network_policy_private": lambda: [network_policy(owner(), Egress({443}, private=True), "ops")],
    "pod_disruption_budget": lambda: [pod_disruption_budget(owner())],
    "roles": lambda: roles(owner(), endpoint(access=ACCESS)),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    text = yaml.safe_dump_all(CASES[case](), sort_keys=False, width=120)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_child_is_owned_and_carries_nothing_of_the_endpoints_own_marks(case: str) -> None:
    for manifest in CASES[case]():
        (reference,) = manifest["metadata"]["ownerReferences"]
        assert reference["uid"] == owner().uid and reference["controller"] is True
        assert "blockOwnerDeletion" not in reference, "that would take a right on finalizers"
        assert "argocd" not in yaml.safe_dump(manifest)
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())


def test_the_longest_name_works_for_all_children() -> None:
    long = Owner("gen-ai", "e" * 48, "u", "x" * 63)
    manifests = [
        deployment(long, revision(), 1, SETTINGS),
        config_map(long, build_proxy_config(revision())),
        controller_revision(long, revision()),
        *roles(long, endpoint(access=ACCESS)),
    ]
    for manifest in manifests:
        assert len(manifest["metadata"]["name"]) <= 253
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())


def template(of: Any, **fields: Any) -> Any:
    return deployment(owner(), revision(of, **fields), 1, SETTINGS)["spec"]["template"]


def test_what_the_admin_chose_for_proxies_reaches_them() -> None:
    settings = replace(SETTINGS, proxy_settings=("FIRST_BYTE_SECONDS=60", "WORKERS=2"))
    (container,) = template(endpoint(), settings=settings)["spec"]["containers"]
    found = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (found["MODEL_SERVING_FIRST_BYTE_SECONDS"], found["MODEL_SERVING_WORKERS"]) == ("60", "2")
    assert revision(settings=settings).name != revision().name


LIVE = [
    pytest.param({"rateLimits": [{"calls": 5}]}, id="limits"),
    pytest.param({"access": ACCESS}, id="access"),
    pytest.param({"tags": [{"key": "a", "value": "b"}]}, id="tags"),
    pytest.param({"proxy": {"replicas": 7}}, id="replicas"),
    pytest.param({"description": "other"}, id="description"),
]


@pytest.mark.parametrize("spec", LIVE)
def test_what_takes_effect_live_is_not_in_the_pod_template(spec: dict[str, Any]) -> None:
    assert template(endpoint(**spec)) == template(endpoint())


def test_what_changes_the_template_changes_the_revision() -> None:
    for spec in (RICH, TLS, {"config": config(scope="other")}):
        changed = endpoint(**spec)
        assert revision(changed).name != revision().name
        assert template(changed) != template(endpoint())
    newer = replace(SETTINGS, image="registry.test/model-serving:2")
    assert revision(settings=newer).name != revision().name


def test_the_template_names_its_revision_and_the_config_of_that_revision() -> None:
    made = template(endpoint())
    assert made["metadata"]["annotations"]["model-serving.dev/revision"] == revision().name
    config_volume = next(v for v in made["spec"]["volumes"] if v["name"] == "config")
    assert config_volume["configMap"]["name"] == config_map(owner(), build_proxy_config(revision()))["metadata"]["name"]


def test_an_autoscaler_keeps_its_replicas() -> None:
    assert "replicas" not in deployment(owner(), revision(), None, SETTINGS)["spec"]


def test_only_the_named_keys_of_a_secret_are_mounted_and_may_be_missing() -> None:
    volume = next(
        v for v in template(endpoint())["spec"]["volumes"] if v.get("secret", {}).get("secretName") == "my-scope"
    )
    assert volume["secret"]["optional"] is True
    assert [item["key"] for item in volume["secret"]["items"]] == ["openai"]


def test_a_pod_is_given_the_time_to_drain() -> None:
    assert template(endpoint())["spec"]["terminationGracePeriodSeconds"] == 10 + 300 + 10


RESOURCES = [
    pytest.param(None, {"requests": {"memory": "64Mi", "cpu": "100m"}, "limits": {"memory": "256Mi"}}, id="defaults"),
    pytest.param({"limits": {"memory": "8Mi"}}, {"requests": {"cpu": "100m"}, "limits": {"memory": "8Mi"}}, id="small"),
    pytest.param(
        {"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1Gi", "cpu": "100m"}}, id="a request above our limit"
    ),
]


@pytest.mark.parametrize(("asked", "expected"), RESOURCES)
def test_defaults_never_contradict_what_was_asked_for(asked: Any, expected: Any) -> None:
    of = endpoint(proxy={"resources": asked} if asked else {})
    assert template(of)["spec"]["containers"][0]["resources"] == expected


def test_ports_of_providers() -> None:
    assert upstream_ports(revision()) == {443}
    assert upstream_ports(revision(endpoint(config=config("http://model.lab:8000/v1")))) == {443, 8000}
    assert upstream_ports(revision(endpoint(config=config("http://model.lab/v1")))) == {443, 80}


IDENTITY: dict[str, dict[str, Any]] = {
    "amazon-bedrock": {
        "amazonBedrockConfig": {"awsRegion": "eu-central-1", "bedrockProvider": "amazon", "workloadIdentity": {}}
    },
    "google-cloud-vertex-ai": {
        "googleCloudVertexAiConfig": {"projectId": "p", "region": "europe-west4", "workloadIdentity": {}}
    },
}


def with_identity(provider: str, **spec: Any) -> Revision:
    model = {"name": "m", "provider": provider, "task": "llm/v1/chat", **IDENTITY[provider]}
    return revision(endpoint(config={"servedEntities": [{"name": "main", "externalModel": model}]}, **spec))


@pytest.mark.parametrize("provider", IDENTITY)
def test_the_pods_own_identity_needs_an_account_of_its_own_even_without_annotations(provider: str) -> None:
    of = with_identity(provider)
    assert identity_providers(of) == {provider}
    assert account_annotations(of) == {}
    pod = deployment(owner(), of, 1, SETTINGS)["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "chat-proxy"
    assert pod["automountServiceAccountToken"] is False, "clouds' webhooks mount a token of their own"


def test_others_have_no_account_of_their_own_without_annotations() -> None:
    assert identity_providers(revision()) == set()
    assert account_annotations(revision()) is None
    assert account_annotations(revision(endpoint(**RICH))) == RICH["proxy"]["serviceAccountAnnotations"]
    assert "serviceAccountName" not in deployment(owner(), revision(), 1, SETTINGS)["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "providers", [(), *((name,) for name in IDENTITY)], ids=lambda names: "+".join(names) or "none"
)
@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_only_the_pods_own_identity_opens_the_way_to_identity_services(
    providers: tuple[str, ...], private: bool
) -> None:
    egress = network_policy(owner(), Egress({443}, private, identity=providers), "ops")["spec"]["egress"]
    services = [item for items in IDENTITY_SERVICES.values() for item in items]
    opened = {service for service in services if reaches(egress, *service)}
    assert opened == {item for name in providers for item in IDENTITY_SERVICES[name]}
    metadata = ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "169.254.1.1/32")
    assert not any(reaches(egress, cidr, port) for cidr in metadata for port in (80, 443))


def reaches(egress: list[dict[str, Any]], cidr: str, port: int) -> bool:
    """Whether a policy lets TCP out to all of `cidr`, names apart."""
    wanted = ip_network(cidr)
    for rule in egress:
        if "to" not in rule or port not in [p["port"] for p in rule.get("ports", [{"port": port}])]:
            continue
        for block in (peer["ipBlock"] for peer in rule["to"]):
            kept = [ip_network(text) for text in block.get("except", [])]
            if _holds(ip_network(block["cidr"]), wanted) and not any(_holds(net, wanted) for net in kept):
                return True
    return False


def _holds(outer: Any, inner: Any) -> bool:
    return outer.version == inner.version and bool(inner.subnet_of(outer))


def test_a_revision_is_read_back_as_it_was_written() -> None:
    of = revision(endpoint(**RICH), attempt="again").ended(Outcome.FAILED, "ImagePullFailed", "words")
    assert parse_revision(controller_revision(owner(), of), "chat_bot") == of
    assert parse_revision({"metadata": {}, "data": {"config": 5}}, "x") is None


def test_the_creator_manages_and_anonymous_callers_never_do() -> None:
    def managers(creator: str) -> list[Any]:
        return [
            m for m in roles(owner(), endpoint({"model-serving.dev/creator": creator})) if m["kind"] == "RoleBinding"
        ]

    (binding,) = managers("me@example.com")
    assert binding["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "me@example.com"}]
    (binding,) = managers("system:serviceaccount:jobs:batch")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "batch", "namespace": "jobs"}]
    assert managers("system:anonymous") == managers("") == []


def test_roles_name_one_object_and_never_its_status() -> None:
    rules = [rule for m in roles(owner(), endpoint(access=ACCESS)) if m["kind"] == "Role" for rule in m["rules"]]
    assert all(rule["resourceNames"] == ["chat"] and rule["resources"] == ["servingendpoints"] for rule in rules)
    assert sorted({verb for rule in rules for verb in rule["verbs"]}) == ["delete", "get", "patch", "update"]


def test_the_url_is_that_of_the_service() -> None:
    assert service_url(owner(), "cluster.local") == "http://chat.gen-ai.svc.cluster.local"


def test_the_shape_holds_no_replicas() -> None:
    assert "replicas" not in str(shape_of(endpoint(proxy={"replicas": 9}), SETTINGS).manifest())


def test_a_pod_holds_its_own_secrets_alone_and_of_these_the_named_keys() -> None:
    def model(secret: str) -> dict[str, Any]:
        ref = {"name": secret, "key": "api_key"}
        return {
            "name": "m", "provider": "anthropic", "task": "llm/v1/chat",
            "anthropicConfig": {"anthropicApiKeySecretRef": ref, "anthropicApiBase": "https://gateway.example.com"},
        }  # fmt: skip

    for secret, corp in (("mine", {}), ("theirs", CORP)):
        of = endpoint(config={"servedEntities": [{"name": "chat", "externalModel": model(secret)}]}, **corp)
        volumes = [volume["secret"] for volume in template(of)["spec"]["volumes"] if "secret" in volume]
        held = {volume["secretName"]: [item["key"] for item in volume.get("items", [])] for volume in volumes}
        own = {secret: ["api_key"]} | ({"corp-ca": ["ca.crt"]} if corp else {})
        assert held == own | {"model-serving-api-keys": []}


def test_the_port_of_the_http_proxy_is_let_through() -> None:
    assert own_ports(WAY_OUT) == [3128]
    assert own_ports(replace(WAY_OUT, upstream_proxy="http://proxy.corp")) == [80]
    assert own_ports(SETTINGS) == []
