"""The life of endpoints with real pods: from `kubectl apply` to the first answer, updates, live policy, the end."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from tests.cluster import samples
from tests.cluster.installed import PROVIDER, Installed
from tests.cluster.load import Load

CHAT = samples.config(samples.model("demo-chat", "chat", PROVIDER))
EMBEDDINGS = samples.config(samples.model("demo-embeddings", "embeddings", PROVIDER), "openai_embeddings")


@pytest.fixture(scope="module")
def space(installed: Installed) -> str:
    return installed.namespace("life")


def hello(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello there"}])
    return str(answer.choices[0].message.content)


def test_from_apply_to_the_first_answer(installed: Installed, space: str) -> None:
    started = time.monotonic()
    installed.create(
        samples.endpoint("chat", space, CHAT),
        samples.endpoint("embeddings", space, EMBEDDINGS, endpointName="openai_endpoint"),
    )
    installed.until(space, "chat", lambda e: e.get("status"), 2, "has a first status")
    print(f"first status after {time.monotonic() - started:.1f} s")
    for name in ("chat", "embeddings"):
        installed.cluster.kubectl("wait", "--for=condition=Ready", f"sep/{name}", "-n", space, "--timeout=120s")
    print(f"ready after {time.monotonic() - started:.1f} s")

    client = installed.client(space, "chat")
    assert hello(client, "chat")
    stream = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "one two three"}], stream=True
    )
    assert len(list(stream)) > 3
    vectors = installed.client(space, "embeddings").embeddings.create(model="openai_endpoint", input=["a", "b"])
    assert len(vectors.data) == 2


def test_kubectl_shows_and_tells(installed: Installed, space: str) -> None:
    table = installed.cluster.kubectl("get", "sep", "-n", space).stdout
    head, *rows = table.splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "MODEL", "URL", "AGE"]
    assert any(
        row.startswith("chat ") and "True" in row and "openai/demo-chat" in row and "/chat/invocations" in row
        for row in rows
    )
    story = installed.cluster.kubectl("describe", "sep", "chat", "-n", space).stdout
    for word in ("Progressing", "ConfigVersionServing", "config version 1 serves"):
        assert word in story


def test_callers_without_a_key_or_without_the_right_are_refused(installed: Installed, space: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        hello(installed.client(space, "chat", key="wrong"), "chat")
    with pytest.raises(openai.NotFoundError):
        hello(installed.client(space, "chat"), "no-such-endpoint")


def test_the_references_own_update_from_embeddings_to_chat(installed: Installed, space: str) -> None:
    client = installed.client(space, "embeddings")
    changed = samples.config(samples.model("demo-chat", "chat", PROVIDER), "openai_chat")
    installed.create(samples.endpoint("embeddings", space, changed, endpointName="openai_endpoint"))
    pending = installed.until(
        space, "embeddings", lambda e: e["status"].get("pendingConfigVersion") == 2, 5, "shows the pending version"
    )
    assert pending["status"]["configVersion"] == 1
    assert client.embeddings.create(model="openai_endpoint", input="still").data, "the old task until the switch"
    done = installed.ready(space, "embeddings")
    assert done["status"]["configVersion"] == 2 and "pendingConfigVersion" not in done["status"]
    assert done["status"]["task"] == "llm/v1/chat"
    installed.cluster.wait_for(lambda: hello(client, "openai_endpoint"), 30, "chat after the switch")


def test_an_update_under_load_loses_nothing_and_forbids_another(installed: Installed, space: str) -> None:
    base = installed.cluster.service_url("chat", space) + "/serving-endpoints"
    with Load(base, samples.CALLER_KEY, "chat") as load:
        time.sleep(2)
        changed = samples.config(samples.model("demo-chat-2", "chat", PROVIDER), "renamed")
        installed.create(samples.endpoint("chat", space, changed))
        second = samples.endpoint("chat", space, samples.config(samples.model("demo-chat-3", "chat", PROVIDER)))
        refused = installed.cluster.kubectl("apply", "-f", "-", input=json.dumps(second), check=False)
        assert refused.returncode != 0 and "in progress" in refused.stderr, refused.stderr
        installed.create(samples.endpoint("chat", space, changed, rateLimits=[{"calls": 100000, "key": "endpoint"}]))
        done = installed.ready(space, "chat")
        assert done["status"]["configVersion"] == 2
        time.sleep(10)
    print(dict(load.done), dict(load.answered_by))
    assert not load.failures, load.failures[:5]
    assert load.done["streams"] >= 2 and set(load.answered_by) == {"1", "2"}


def test_a_limit_acts_without_a_rollout(installed: Installed, space: str) -> None:
    before = {p["metadata"]["uid"] for p in installed.pods(space, "chat")}
    config = installed.endpoint(space, "chat")["spec"]["config"]
    installed.create(samples.endpoint("chat", space, config, rateLimits=[{"calls": 0, "key": "user"}]))
    started = time.monotonic()
    client = installed.client(space, "chat")

    def refused() -> bool:
        try:
            hello(client, "chat")
        except openai.RateLimitError:
            return True
        return False

    installed.cluster.wait_for(refused, 20, "the limit to act (≤ 5 s)")
    print(f"limit acted after {time.monotonic() - started:.1f} s")
    installed.until(space, "chat", lambda e: e["status"].get("policyPods") == 1, 10, "says that the policy is in force")
    installed.create(samples.endpoint("chat", space, config))
    installed.cluster.wait_for(lambda: not refused(), 20, "the limit to be lifted")
    assert {p["metadata"]["uid"] for p in installed.pods(space, "chat")} == before


def test_a_second_apply_changes_nothing(installed: Installed, space: str) -> None:
    manifest = json.dumps(samples.endpoint("chat", space, installed.endpoint(space, "chat")["spec"]["config"]))
    installed.cluster.kubectl("apply", "-f", "-", input=manifest)
    installed.ready(space, "chat")
    before = installed.endpoint(space, "chat")["metadata"]["resourceVersion"]
    assert "unchanged" in installed.cluster.kubectl("apply", "-f", "-", input=manifest).stdout
    assert installed.cluster.kubectl("diff", "-f", "-", input=manifest, check=False).returncode == 0
    assert installed.endpoint(space, "chat")["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize(
    ("kind", "name"),
    [("deployment", "chat"), ("service", "chat"), ("configmap", "chat-policy"), ("networkpolicy", "chat")],
)
def test_a_deleted_child_is_back(installed: Installed, space: str, kind: str, name: str) -> None:
    old = installed.cluster.get(kind, name, space)
    assert old is not None
    installed.cluster.kubectl("delete", kind, name, "-n", space, "--wait=false")

    def back() -> bool:
        new = installed.cluster.get(kind, name, space)
        return new is not None and new["metadata"]["uid"] != old["metadata"]["uid"]

    installed.cluster.wait_for(back, 20, f"{kind} {name} to be back (≤ 5 s)")
    installed.ready(space, "chat")


def test_an_edited_child_is_repaired_and_foreign_fields_stay(installed: Installed, space: str) -> None:
    kubectl = installed.cluster.kubectl
    kubectl("annotate", "deployment", "chat", "-n", space, "example.com/mine=yes")
    kubectl("set", "env", "deployment/chat", "-n", space, "MODEL_SERVING_PORT=1")

    def repaired() -> bool:
        found = installed.cluster.get("deployment", "chat", space)
        assert found is not None
        env = found["spec"]["template"]["spec"]["containers"][0]["env"]
        return {"name": "MODEL_SERVING_PORT", "value": "8080"} in env

    installed.cluster.wait_for(repaired, 20, "the Deployment to be repaired (≤ 5 s)")
    found = installed.cluster.get("deployment", "chat", space)
    assert found is not None and found["metadata"]["annotations"]["example.com/mine"] == "yes"
    installed.ready(space, "chat", 90)


def test_scaling_needs_no_new_version(installed: Installed, space: str) -> None:
    installed.cluster.kubectl("scale", "sep/chat", "-n", space, "--replicas=2")
    found = installed.until(space, "chat", lambda e: e["status"].get("readyReplicas") == 2, 30, "has two proxies")
    assert found["status"]["configVersion"] == 2
    installed.cluster.wait_for(
        lambda: installed.cluster.get("poddisruptionbudget", "chat", space), 20, "a disruption budget"
    )
    installed.cluster.kubectl("scale", "sep/chat", "-n", space, "--replicas=1")
    installed.until(space, "chat", lambda e: e["status"].get("replicas") == 1, 30, "has one proxy")


def test_an_operator_restart_disturbs_nothing(installed: Installed, space: str) -> None:
    def at_rest(found: dict[str, Any]) -> bool:
        status = found["status"]
        return (status["readyReplicas"], status["policyPods"], len(installed.pods(space, "chat"))) == (1, 1, 1)

    before = installed.until(space, "chat", at_rest, 30, "is at rest")["metadata"]["resourceVersion"]
    pods = {p["metadata"]["uid"] for p in installed.pods(space, "chat")}
    installed.restart_operator()
    time.sleep(5)
    assert installed.endpoint(space, "chat")["metadata"]["resourceVersion"] == before
    assert {p["metadata"]["uid"] for p in installed.pods(space, "chat")} == pods


def test_delete_and_recreate_within_a_second(installed: Installed, space: str) -> None:
    manifest = samples.endpoint("chat", space, CHAT)
    installed.cluster.kubectl("delete", "sep", "chat", "-n", space)
    installed.create(manifest)
    found = installed.ready(space, "chat", 90)
    assert found["status"]["configVersion"] == 1
    # The Service is another one, and nodes learn of it in their own time.
    installed.cluster.wait_for(lambda: hello(installed.client(space, "chat"), "chat"), 30, "an answer")


def test_deleting_the_namespace_leaves_nothing_hanging(installed: Installed) -> None:
    name = installed.namespace("short-lived")
    installed.create(samples.endpoint("chat", name, CHAT))
    installed.ready(name, "chat")
    installed.cluster.kubectl("delete", "namespace", name, "--timeout=120s")
    assert installed.cluster.get("namespace", name) is None
