"""Trouble with real pods: Secrets that are missing or change, updates and settings that fail, cancelling, canaries."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cluster import samples
from tests.cluster.installed import PROVIDER, Installed, accept_keys, reason
from tests.cluster.load import Load
from tests.cluster.operator_process import ACCOUNT, SYSTEM
from tests.cluster.test_node_life import hello


@pytest.fixture(scope="module")
def space(installed: Installed) -> str:
    return installed.namespace("trouble")


def chat(model: str = "demo-chat", secret: str = samples.SECRET, key: str = samples.SECRET_KEY) -> dict[str, Any]:
    return samples.config(samples.model(model, "chat", PROVIDER, secret, key))


def test_a_missing_secret_is_named_stalls_after_the_grace_and_heals(installed: Installed, space: str) -> None:
    installed.create(samples.endpoint("lacking", space, chat(secret="not-there")))
    found = installed.until(space, "lacking", lambda e: reason(e) == "SecretNotFound", 10, "names the Secret")
    assert "not-there" in samples.condition(found)["message"]
    assert not samples.condition(found, "Stalled")
    installed.until(space, "lacking", lambda e: samples.condition(e, "Stalled"), 20, "is stalled after the grace")
    installed.create(samples.secret(space, {samples.SECRET_KEY: samples.PROVIDER_KEY}, "not-there"))
    installed.ready(space, "lacking", 60)
    assert hello(installed.client(space, "lacking"), "lacking")


def test_a_missing_key_in_an_update_waits_with_one_pod_and_completes(installed: Installed, space: str) -> None:
    installed.create(samples.endpoint("lacking", space, chat("demo-chat-2", "not-there", "another")))
    found = installed.until(
        space, "lacking", lambda e: reason(e) == "SecretNotFound" and samples.condition(e, "Stalled"), 60, "has failed"
    )
    assert "another" in samples.condition(found)["message"]
    assert found["status"]["state"] == {"ready": "READY", "configUpdate": "UPDATE_FAILED"}
    time.sleep(20)  # Beyond the progress deadline: it is not taken back.
    assert len(installed.pods(space, "lacking")) == 2
    assert hello(installed.client(space, "lacking"), "lacking")
    values = {samples.SECRET_KEY: samples.PROVIDER_KEY, "another": samples.PROVIDER_KEY}
    installed.create(samples.secret(space, values, "not-there"))
    done = installed.ready(space, "lacking", 60)
    assert done["status"]["configVersion"] == 2


def test_a_rotated_secret_is_used_without_a_restart_or_a_failed_call(installed: Installed, space: str) -> None:
    installed.create(samples.endpoint("rotating", space, chat()))
    installed.ready(space, "rotating")
    pods = {p["metadata"]["uid"] for p in installed.pods(space, "rotating")}
    new = "sk-canary-new-8812"
    accept_keys(installed, samples.PROVIDER_KEY, new)
    loaded = installed.endpoint(space, "rotating")["status"]["credentials"][0]["loadedAt"]
    base = installed.cluster.service_url("rotating", space) + "/serving-endpoints"
    with Load(base, samples.CALLER_KEY, "rotating", streams=1) as load:
        installed.create(samples.secret(space, {samples.SECRET_KEY: new}))
        started = time.monotonic()
        installed.annotate(space, "rotating", reload="1")
        installed.until(
            space,
            "rotating",
            lambda e: e["status"]["credentials"][0]["loadedAt"] != loaded,
            5,
            "has loaded the new key",
        )
        print(f"new key loaded after {time.monotonic() - started:.1f} s")
        accept_keys(installed, new)
        time.sleep(3)
        accept_keys(installed, new, samples.PROVIDER_KEY)
    assert not load.failures and load.done["calls"] > 10, load.failures[:5]
    assert {p["metadata"]["uid"] for p in installed.pods(space, "rotating")} == pods
    installed.create(samples.secret(space, {samples.SECRET_KEY: samples.PROVIDER_KEY}))


def test_a_rotated_secret_is_used_in_time_on_default_settings(installed: Installed, space: str) -> None:
    before = installed.endpoint(space, "rotating")["status"]["credentials"][0]["loadedAt"]
    installed.create(samples.secret(space, {samples.SECRET_KEY: samples.PROVIDER_KEY, "other": "x"}))
    new = "sk-canary-third-5531"
    accept_keys(installed, samples.PROVIDER_KEY, new)
    installed.create(samples.secret(space, {samples.SECRET_KEY: new}))
    started = time.monotonic()
    installed.until(
        space, "rotating", lambda e: e["status"]["credentials"][0]["loadedAt"] > before, 180, "has loaded the new key"
    )
    print(f"new key seen in the status after {time.monotonic() - started:.1f} s without any annotation")
    assert hello(installed.client(space, "rotating"), "rotating")


def test_a_bad_update_is_taken_back_with_its_cause_and_correcting_it_recovers(installed: Installed, space: str) -> None:
    installed.create(samples.endpoint("careful", space, chat()))
    installed.ready(space, "careful")
    installed.create(samples.secret(space, {"broken": "two\nlines"}, "unusable"))
    installed.create(samples.endpoint("careful", space, chat("demo-chat-2", "unusable", "broken")))
    found = installed.until(space, "careful", lambda e: reason(e) == "UpdateFailed", 60, "says that the update failed")
    assert "unusable" in samples.condition(found)["message"] and "two" not in samples.condition(found)["message"]
    installed.cluster.wait_for(lambda: len(installed.pods(space, "careful")) == 1, 60, "the bad pod to be gone")
    assert hello(installed.client(space, "careful"), "careful")
    assert installed.endpoint(space, "careful")["status"]["configVersion"] == 1
    installed.create(samples.endpoint("careful", space, chat("demo-chat-3")))
    done = installed.ready(space, "careful")
    assert done["status"]["configVersion"] == 3


def test_too_little_memory_is_a_failed_rollout_and_correcting_it_recovers(installed: Installed, space: str) -> None:
    tiny = {"resources": {"requests": {"memory": "6Mi"}, "limits": {"memory": "6Mi"}}}
    installed.create(samples.endpoint("careful", space, chat("demo-chat-3"), proxy=tiny))
    found = installed.until(
        space, "careful", lambda e: reason(e) == "RolloutFailed", 60, "says that the roll-out failed"
    )
    print(samples.condition(found)["message"])
    assert found["status"]["state"] == {"ready": "READY", "configUpdate": "NOT_UPDATING"}
    assert hello(installed.client(space, "careful"), "careful")
    installed.create(samples.endpoint("careful", space, chat("demo-chat-3")))
    installed.ready(space, "careful")


def test_a_bad_operator_image_stops_after_a_few_and_correcting_it_recovers(installed: Installed, space: str) -> None:
    cluster = installed.cluster
    for name in ("one-more", "another-one"):
        installed.create(samples.endpoint(name, space, chat()))
        installed.ready(space, name)
    settled = {(e["metadata"]["namespace"], e["metadata"]["name"]) for e in cluster.list("sep") if reason(e) == "Ready"}
    assert len(settled) > 3, "there are more endpoints than are rolled at a time"
    setting = ("set", "env", f"deployment/{ACCOUNT}", "-n", SYSTEM)
    cluster.kubectl(*setting, "MODEL_SERVING_IMAGE=model-serving.test/model-serving:no-such-tag")
    try:

        def failed() -> list[dict[str, Any]]:
            return [e for e in cluster.list("sep") if reason(e) == "RolloutFailed"]

        found = cluster.wait_for(failed, 240, "a roll-out to fail (≤ 60 s)")
        message = samples.condition(found[0])["message"]
        assert "ImagePullFailed" in message and "no-such-tag" in message, message
        time.sleep(10)
        assert len(failed()) <= 3, "the first failure stops all others"
        assert hello(installed.client(space, "careful"), "careful")
    finally:
        cluster.kubectl(*setting, f"MODEL_SERVING_IMAGE={installed.image}")
        cluster.kubectl("rollout", "status", f"deployment/{ACCOUNT}", "-n", SYSTEM, "--timeout=120s")
    for namespace, name in sorted(settled):
        installed.ready(namespace, name, 120)


def test_cancel_takes_a_pending_update_back_and_a_stale_one_does_nothing(installed: Installed, space: str) -> None:
    installed.annotate(space, "careful", cancel=str(installed.endpoint(space, "careful")["metadata"]["generation"]))
    installed.create(samples.endpoint("careful", space, chat("demo-chat-4", "absent")))
    pending = installed.until(
        space, "careful", lambda e: e["status"].get("pendingConfigVersion"), 10, "has a pending version"
    )
    installed.until(space, "careful", lambda e: reason(e) == "SecretNotFound", 20, "waits for its Secret")
    installed.annotate(space, "careful", cancel=str(pending["metadata"]["generation"]))
    found = installed.until(space, "careful", lambda e: reason(e) == "UpdateCanceled", 10, "says that it was cancelled")
    assert found["status"]["state"] == {"ready": "READY", "configUpdate": "UPDATE_CANCELED"}
    installed.cluster.wait_for(lambda: len(installed.pods(space, "careful")) == 1, 60, "the pending pod to be gone")
    installed.create(samples.endpoint("careful", space, chat("demo-chat-5")))
    installed.ready(space, "careful")


def test_a_quota_is_told_in_the_api_servers_words(installed: Installed) -> None:
    space = installed.namespace("quota")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": space}}
    installed.create({**quota, "spec": {"hard": {"pods": "0"}}})
    time.sleep(2)
    installed.create(samples.endpoint("chat", space, chat()))
    found = installed.until(space, "chat", lambda e: reason(e) == "ReplicaFailure", 20, "names the quota")
    assert "quota" in samples.condition(found)["message"]
    installed.cluster.kubectl("delete", "resourcequota", "none", "-n", space)
    installed.ready(space, "chat", 120)


def test_a_foreign_object_of_the_needed_name_is_not_touched(installed: Installed, space: str) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", "namespace": space}}
    installed.create({**foreign, "spec": {"ports": [{"port": 1}], "selector": {"app": "mine"}}})
    installed.create(samples.endpoint("taken", space, chat()))
    found = installed.until(space, "taken", lambda e: reason(e) == "NameConflict", 20, "names the conflict")
    assert "Service taken" in samples.condition(found)["message"]
    service = installed.cluster.get("service", "taken", space)
    assert service and service["spec"]["selector"] == {"app": "mine"}
    installed.cluster.kubectl("delete", "service", "taken", "-n", space)
    installed.ready(space, "taken", 60)


def test_the_canary_is_nowhere_but_in_its_secret(installed: Installed, space: str) -> None:
    kinds = "sep,configmaps,controllerrevisions,deployments,replicasets,pods,events,services,networkpolicies"
    everything = installed.cluster.kubectl("get", kinds, "-A", "-o", "json").stdout
    everything += installed.cluster.kubectl("describe", "sep", "-A").stdout + installed.operator_log()
    for pod in installed.pods(space, "careful") + installed.pods(space, "rotating"):
        everything += installed.cluster.logs(pod["metadata"]["name"], space)
        for page in ("metrics", "status", "usage"):
            raw = f"/api/v1/namespaces/{space}/pods/{pod['metadata']['name']}:8081/proxy/{page}"
            everything += installed.cluster.kubectl("get", "--raw", raw).stdout
    assert "sk-canary" not in everything


def test_the_operators_token_can_read_no_secret_and_grant_nothing(installed: Installed, space: str) -> None:
    account = f"--as=system:serviceaccount:{SYSTEM}:{ACCOUNT}"
    kubectl = installed.cluster.kubectl
    for verb in ("get", "list", "watch", "create", "patch", "delete"):
        assert kubectl("auth", "can-i", verb, "secrets", "-A", account, check=False).stdout.strip() == "no", verb
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules}
    role["metadata"] = {"name": "sneaky", "namespace": space}
    done = kubectl("create", "-f", "-", account, input=json.dumps(role), check=False)
    assert done.returncode != 0 and "attempting to grant" in done.stderr, done.stderr
    binding = ("create", "rolebinding", "sneaky", "--clusterrole=cluster-admin", "--user=mallory", "-n", space)
    done = kubectl(*binding, account, check=False)
    assert done.returncode != 0 and "attempting to grant" in done.stderr, done.stderr
