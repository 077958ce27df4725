"""Callers with the cluster's own tokens, and with those of another issuer, on real pods."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIStatusError

from tests.cluster import samples
from tests.cluster.installed import PROVIDER, Installed, rolled_out
from tests.cluster.operator_process import ACCOUNT, SYSTEM
from tests.proxy.tokens.minting import Mint, ec_key, jwk

AUDIENCE = "model-serving"
LOGIN = "https://login.example.com"
ACCESS = [
    {"kind": "ServiceAccount", "name": "app", "permissionLevel": "CAN_QUERY"},
    {"kind": "Group", "name": "oidc:data-science", "permissionLevel": "CAN_QUERY"},
]
CALL = """
import json, sys, urllib.error, urllib.request
token = open("/tokens/token").read()
body = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
request = urllib.request.Request(sys.argv[1], body, headers)
try:
    print("status", urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print("status", error.code)
"""


@pytest.fixture(scope="module")
def space(installed: Installed) -> str:
    """A namespace with the endpoint `chat`, whose policy has the cluster's issuer, and two ServiceAccounts."""
    name = installed.namespace("identity")
    installed.cluster.kubectl("label", "namespace", name, "model-serving.dev/clients=true")
    for account in ("app", "web"):
        installed.cluster.kubectl("create", "serviceaccount", account, "-n", name)
    config = samples.config(samples.model("demo-chat", "chat", PROVIDER))
    installed.create(samples.endpoint("chat", name, config, access=ACCESS))
    installed.ready(name, "chat")
    installed.cluster.wait_for(lambda: issuers(installed, name), 60, "the policy to name the cluster's issuer")
    return name


def issuers(installed: Installed, space: str) -> list[dict[str, Any]]:
    """The issuers in the endpoint's policy."""
    found = installed.cluster.get("configmap", "chat-policy", space) or {}
    return json.loads((found.get("data") or {}).get("policy.json", "{}")).get("issuers") or []


def token(installed: Installed, space: str, account: str, *audience: str) -> str:
    """A token that the API server makes for a ServiceAccount."""
    words = [f"--audience={name}" for name in audience]
    return installed.cluster.kubectl("create", "token", account, "-n", space, *words).stdout.strip()


def status(installed: Installed, space: str, key: str) -> tuple[int, str]:
    """What a call with that token comes to, and the error's message."""
    messages: Any = [{"role": "user", "content": "hello"}]
    with installed.client(space, "chat", key) as client:
        try:
            assert client.chat.completions.create(model="chat", messages=messages).choices
        except APIStatusError as error:
            return error.status_code, error.message
    return 200, ""


@pytest.mark.parametrize(
    ("caller", "expected", "words"),
    [
        pytest.param(["app", AUDIENCE], 200, "", id="a token for us of an account with access"),
        pytest.param(["app", "other", AUDIENCE], 200, "", id="for us among others"),
        pytest.param(["app"], 401, "not known here", id="a token for the API server"),
        pytest.param(["app", "other"], 401, "not known here", id="a token for somebody else"),
        pytest.param(["web", AUDIENCE], 403, "web may not query endpoint chat", id="an account without access"),
        pytest.param(["default", AUDIENCE], 403, "CAN_QUERY", id="another account without access"),
    ],
)
def test_tokens_of_service_accounts(
    installed: Installed, space: str, caller: list[str], expected: int, words: str
) -> None:
    shown = token(installed, space, *caller)
    last: list[tuple[int, str]] = []

    def answered() -> bool:
        last.append(status(installed, space, shown))  # the endpoint's pods learn of a new policy within seconds
        return last[-1][0] == expected

    installed.cluster.wait_for(answered, 60, f"the answer {expected}")
    assert words in last[-1][1]


def test_a_pod_calls_with_its_own_projected_token(installed: Installed, space: str) -> None:
    url = f"http://chat.{space}.svc.cluster.local/serving-endpoints/chat/invocations"
    source = {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 600, "path": "token"}}
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for account, expected in (("app", 200), ("web", 403)):
        container = {
            "name": "call",
            "image": installed.image,
            "command": ["python3", "-c", CALL, url],
            "volumeMounts": [{"name": "tokens", "mountPath": "/tokens", "readOnly": True}],
            "securityContext": secure,
        }
        spec = {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tokens", "projected": {"sources": [source]}}],
        }  # fmt: skip
        name = f"caller-{account}"
        meta = {"name": name, "namespace": space}
        installed.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        words = f"status {expected}"
        log = installed.cluster.wait_for(lambda n=name: installed.cluster.logs(n, space), 90, "the pod to have called")
        assert words in log


def test_a_restart_of_the_operator_changes_no_policy(installed: Installed, space: str) -> None:
    before = installed.cluster.get("configmap", "chat-policy", space)
    installed.restart_operator()
    time.sleep(8)
    assert before is not None and issuers(installed, space)
    assert installed.cluster.get("configmap", "chat-policy", space) == before


@pytest.fixture
def login(installed: Installed) -> Iterator[None]:
    """Another issuer in the operator's setting."""
    setting = [
        {
            "issuer": LOGIN, "keys": [jwk(ec_key(), "e1")],
            "usernamePrefix": "oidc:", "groupsClaim": "groups", "groupsPrefix": "oidc:",
        }
    ]  # fmt: skip
    command = ["set", "env", f"deployment/{ACCOUNT}", "-n", SYSTEM]
    installed.cluster.kubectl(*command, f"MODEL_SERVING_ISSUERS={json.dumps(setting)}")
    rolled_out(installed.cluster, ACCOUNT, SYSTEM)
    yield
    installed.cluster.kubectl(*command, "MODEL_SERVING_ISSUERS-")
    rolled_out(installed.cluster, ACCOUNT, SYSTEM)


def test_users_and_groups_of_another_issuer(installed: Installed, space: str, login: None) -> None:
    pods = {pod["metadata"]["uid"] for pod in installed.pods(space, "chat")}

    def user(*groups: str) -> str:
        claims = {"iss": LOGIN, "sub": "ada", "groups": list(groups)}
        return Mint(ec_key(), "ES256", {"kid": "e1"}, claims, time.time()).token()

    installed.cluster.wait_for(lambda: status(installed, space, user("data-science"))[0] == 200, 90, "the new issuer")
    assert status(installed, space, user("finance"))[0] == 403
    assert status(installed, space, token(installed, space, "app", AUDIENCE))[0] == 200
    assert {pod["metadata"]["uid"] for pod in installed.pods(space, "chat")} == pods, "without a roll-out"
