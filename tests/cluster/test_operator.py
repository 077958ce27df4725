"""The operator against a real control plane with simulated nodes: its life, its writes, its children, its rights."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import samples
from tests.cluster.harness import Cluster
from tests.cluster.operator_process import ACCOUNT, SYSTEM, OperatorProcess, assert_clean, install_rules
from tests.cluster.operator_process import running_operator as run_one

ROOT = Path(__file__).parents[2]
ME = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
BASE = "https://llm.example.com/v1"
MANY = 100


def chat(name: str, namespace: str, model: str = "m", **spec: Any) -> dict[str, Any]:
    return samples.endpoint(name, namespace, samples.config(samples.model(model, "chat", BASE)), **spec)


def apply(cluster: Cluster, *manifests: dict[str, Any]) -> None:
    cluster.apply("\n---\n".join(json.dumps(m) for m in manifests))


def ready(cluster: Cluster, name: str, namespace: str, seconds: float = 60) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = cluster.get("sep", name, namespace)
        condition = samples.condition(found)
        current = found and condition.get("observedGeneration") == found["metadata"]["generation"]
        return found if current and condition.get("status") == "True" else None

    try:
        return cluster.wait_for(look, seconds, f"{namespace}/{name} ready")
    except TimeoutError:
        print(json.dumps(cluster.get("sep", name, namespace), indent=1))
        print(cluster.kubectl("get", "deployments,rs,pods,events", "-n", namespace).stdout)
        raise


def writes(cluster: Cluster, position: int, user: str = ME) -> Counter[str]:
    """What the operator wrote since then, by kind; its Lease apart."""
    counted: Counter[str] = Counter()
    for event in cluster.audit(position):
        resource = (event.get("objectRef") or {}).get("resource", "")
        verb = event["verb"]
        written = verb in ("create", "update", "patch", "delete") and resource != "leases"
        if written and event["user"]["username"] == user:
            counted[f"{verb} {resource}"] += 1
    return counted


@pytest.fixture(scope="module")
def rules(control_plane: Cluster) -> Cluster:
    install_rules(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def operator(rules: Cluster) -> Iterator[OperatorProcess]:
    with run_one(rules) as running:
        yield running


@pytest.fixture
def space(operator: OperatorProcess, control_plane: Cluster, namespace: str) -> str:
    return namespace


def test_an_endpoint_becomes_ready_and_kubectl_wait_follows(control_plane: Cluster, space: str) -> None:
    started = time.monotonic()
    apply(control_plane, chat("one", space))
    control_plane.wait_for(
        lambda: (control_plane.get("sep", "one", space) or {}).get("status"), 8, "a first status (≤ 2 s)"
    )
    print(f"first status after {time.monotonic() - started:.1f} s")
    control_plane.kubectl("wait", "--for=condition=Ready", "sep/one", "-n", space, "--timeout=60s")
    apply(control_plane, chat("one", space, "another"))
    control_plane.kubectl("wait", "--for=condition=Ready", "sep/one", "-n", space, "--timeout=60s")
    found = ready(control_plane, "one", space)
    assert found["status"]["configVersion"] == 2 and found["status"]["observedGeneration"] == 2


def test_children_are_owned_and_carry_none_of_the_endpoints_labels(control_plane: Cluster, space: str) -> None:
    manifest = chat("one", space)
    manifest["metadata"]["labels"] = {"app.kubernetes.io/instance": "argo-app"}
    manifest["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "x"}
    apply(control_plane, manifest)
    found = ready(control_plane, "one", space)
    kinds = "deployments,services,configmaps,controllerrevisions,networkpolicies,roles,rolebindings"
    children = [
        c
        for c in control_plane.list(kinds, space)
        if "model-serving.dev/endpoint" in (c["metadata"].get("labels") or {})
    ]
    assert {c["kind"] for c in children} == {
        "Deployment", "Service", "ConfigMap", "ControllerRevision", "NetworkPolicy", "Role", "RoleBinding",
    }  # fmt: skip
    for child in children:
        (owner,) = child["metadata"]["ownerReferences"]
        assert owner["uid"] == found["metadata"]["uid"] and owner["controller"] is True
        assert "argo" not in json.dumps(child["metadata"].get("labels", {}))
        assert not any("argocd" in key for key in child["metadata"].get("annotations") or {})
    assert not found["metadata"].get("finalizers")
    assert set(found["metadata"]["annotations"]) == {
        "argocd.argoproj.io/tracking-id", "kubectl.kubernetes.io/last-applied-configuration",
    }  # fmt: skip


def test_policy_edits_roll_nothing_out(control_plane: Cluster, space: str) -> None:
    apply(control_plane, chat("one", space))
    ready(control_plane, "one", space)
    before = control_plane.get("deployment", "one", space)
    apply(control_plane, chat("one", space, rateLimits=[{"calls": 7}], tags=[{"key": "a", "value": "b"}]))
    found = ready(control_plane, "one", space)
    after = control_plane.get("deployment", "one", space)
    policy = control_plane.get("configmap", "one-policy", space)
    assert before and after and policy
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert '"calls": 7' in policy["data"]["policy.json"]
    assert found["status"]["configVersion"] == 1


def test_a_hand_edited_status_is_repaired_and_foreign_conditions_stay(control_plane: Cluster, space: str) -> None:
    apply(control_plane, chat("one", space))
    ready(control_plane, "one", space)
    foreign = {"type": "Audited", "status": "True", "reason": "Fine", "message": "", "observedGeneration": 1}
    foreign["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    body = {"apiVersion": "model-serving.dev/v1alpha1", "kind": "ServingEndpoint", "metadata": {"name": "one"}}
    body["status"] = {"conditions": [foreign]}
    control_plane.kubectl(
        "apply", "--server-side", "--subresource=status", "--field-manager=auditor", "-n", space, "-f", "-",
        input=json.dumps(body),
    )  # fmt: skip
    patch = json.dumps({"status": {"configVersion": 41}})
    control_plane.kubectl("patch", "sep", "one", "-n", space, "--subresource=status", "--type=merge", "-p", patch)

    def repaired() -> bool:
        status = (control_plane.get("sep", "one", space) or {})["status"]
        return bool(status["configVersion"] != 41)

    control_plane.wait_for(repaired, 20, "the status to be repaired")
    found = control_plane.get("sep", "one", space)
    assert samples.condition(found, "Audited")["status"] == "True"


@pytest.mark.parametrize("kind", ["deployment", "service", "networkpolicy", "role", "configmap", "controllerrevision"])
def test_a_deleted_child_is_back(control_plane: Cluster, space: str, kind: str) -> None:
    apply(control_plane, chat("one", space))
    ready(control_plane, "one", space)
    selector = "model-serving.dev/endpoint=one"
    (old, *_) = control_plane.list(kind, space, selector=selector)
    control_plane.kubectl("delete", kind, old["metadata"]["name"], "-n", space, "--wait=false")
    uid, name = old["metadata"]["uid"], old["metadata"]["name"]

    def back() -> bool:
        new = control_plane.get(kind, name, space)
        return new is not None and new["metadata"]["uid"] != uid

    control_plane.wait_for(back, 20, f"{kind} {name} to be back (≤ 5 s)")
    assert ready(control_plane, "one", space)["status"]["configVersion"] == 1


def test_replacing_an_endpoint_rolls_nothing_out(control_plane: Cluster, space: str) -> None:
    manifest = chat("one", space)
    apply(control_plane, manifest)
    ready(control_plane, "one", space)
    before = control_plane.get("deployment", "one", space)
    control_plane.kubectl("replace", "-f", "-", input=json.dumps(manifest))
    ready(control_plane, "one", space)
    time.sleep(2)
    after = control_plane.get("deployment", "one", space)
    assert before and after and before["metadata"]["generation"] == after["metadata"]["generation"]


def test_of_two_endpoints_of_one_name_the_older_serves_until_it_goes(control_plane: Cluster, space: str) -> None:
    apply(control_plane, chat("older", space, endpointName="shared"))
    ready(control_plane, "older", space)
    time.sleep(1.1)  # Ages are whole seconds.
    apply(control_plane, chat("younger", space, endpointName="shared"))

    def conflict() -> bool:
        return samples.condition(control_plane.get("sep", "younger", space), "Stalled").get("reason") == "NameConflict"

    control_plane.wait_for(conflict, 20, "the younger one to be told")
    assert control_plane.get("deployment", "younger", space) is None
    control_plane.kubectl("delete", "sep", "older", "-n", space)
    ready(control_plane, "younger", space)


def test_what_is_not_supported_yet_is_said_with_its_field(control_plane: Cluster, space: str) -> None:
    apply(control_plane, chat("one", space, proxy={"autoscaling": {"maxReplicas": 3}}))

    def said() -> dict[str, Any] | None:
        found = samples.condition(control_plane.get("sep", "one", space), "Stalled")
        return found if found.get("reason") == "NotSupported" else None

    assert "proxy.autoscaling" in control_plane.wait_for(said, 20, "NotSupported")["message"]
    assert control_plane.get("deployment", "one", space) is None
    apply(control_plane, chat("one", space, rateLimits=[{"calls": 100}]))
    ready(control_plane, "one", space)


def test_delete_recreate_and_namespace_in_any_order(control_plane: Cluster, space: str) -> None:
    for _ in range(3):
        apply(control_plane, chat("one", space))
        control_plane.kubectl("delete", "sep", "one", "-n", space)
    apply(control_plane, chat("one", space))
    uid = ready(control_plane, "one", space)["metadata"]["uid"]

    def all_of_the_living() -> bool:
        found = control_plane.list("deployments,services,configmaps", space, selector="model-serving.dev/endpoint=one")
        return bool(found) and all(c["metadata"]["ownerReferences"][0]["uid"] == uid for c in found)

    control_plane.wait_for(all_of_the_living, 30, "only children of the living endpoint")
    control_plane.kubectl("delete", "namespace", space, "--timeout=120s")


def test_a_clone_with_all_annotations_becomes_ready(control_plane: Cluster, space: str) -> None:
    apply(control_plane, chat("one", space))
    original = ready(control_plane, "one", space)
    control_plane.create_namespace(f"{space}-clone")
    clone = {**original, "metadata": {**original["metadata"], "namespace": f"{space}-clone"}}
    for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        clone["metadata"].pop(field, None)
    control_plane.kubectl("create", "-f", "-", input=json.dumps(clone))
    ready(control_plane, "one", f"{space}-clone")
    control_plane.kubectl("delete", "namespace", f"{space}-clone", "--wait=false")


def test_the_metrics_tell_how_the_work_goes(operator: OperatorProcess, control_plane: Cluster, space: str) -> None:
    apply(control_plane, chat("one", space))
    ready(control_plane, "one", space)
    code, text = operator.ask("/metrics")
    assert code == 200
    for word in ("queue_depth", "queue_oldest_seconds", "status_writes", "cached_objects", "reconcile"):
        assert f"model_serving_operator_{word}" in text, word
    assert operator.ask("/livez")[0] == 200


def test_restart_with_many_settled_endpoints_writes_nothing(
    operator: OperatorProcess, control_plane: Cluster, space: str
) -> None:
    started = time.monotonic()
    apply(control_plane, *(chat(f"e{n}", space) for n in range(MANY)))
    control_plane.kubectl("wait", "--for=condition=Ready", "sep", "--all", "-n", space, "--timeout=300s")
    print(f"{MANY} endpoints ready after {time.monotonic() - started:.0f} s")
    time.sleep(20)  # Policies are nudged twice in the first seconds.
    operator.stop()
    position = control_plane.audit_position()
    with run_one(control_plane, "two"):
        time.sleep(30)
        assert not writes(control_plane, position), writes(control_plane, position)


def test_of_two_operators_one_works_and_the_other_takes_over(
    rules: Cluster, namespace: str, control_plane: Cluster
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = OperatorProcess(rules, Path(folder), "first")
        rules.wait_for(lambda: "model_serving_operator_leader 1.0" in first.ask("/metrics")[1], 60, "a leader")
        second = OperatorProcess(rules, Path(folder), "second")
        try:
            rules.wait_for(lambda: second.ready, 60, "the second stands by")
            apply(rules, chat("one", namespace))
            ready(rules, "one", namespace)
            assert "model_serving_operator_leader 0.0" in second.ask("/metrics")[1]
            first.stop(signal.SIGKILL)
            apply(rules, chat("two", namespace))
            ready(rules, "two", namespace, 120)
            assert second.stop() == 0
        finally:
            first.stop(signal.SIGKILL)
            second.stop(signal.SIGKILL)
        assert_clean(second.text())


def test_no_log_level_shows_what_stands_in_a_secret(rules: Cluster, namespace: str, control_plane: Cluster) -> None:
    canary = "sk-canary-0d61"
    with run_one(rules, "talkative", LOG_LEVEL="DEBUG") as talkative:
        apply(rules, samples.secret(namespace, {samples.SECRET_KEY: canary}), chat("one", namespace))
        ready(rules, "one", namespace)
        text = talkative.text() + talkative.ask("/metrics")[1]
    assert "DEBUG" in text and canary not in text


def test_an_install_for_one_namespace_needs_no_cluster_role(rules: Cluster, control_plane: Cluster) -> None:
    folder = ROOT / "manifests" / "operator-namespaced"
    rendered = control_plane.kubectl("kustomize", folder).stdout
    assert "kind: ClusterRole" not in rendered and "kind: ClusterRoleBinding" not in rendered
