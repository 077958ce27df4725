"""Management before a real API server: two replicas, people with tokens and different rights, the operator."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_serving.api.names import CREATOR_ANNOTATION, RELOAD_ANNOTATION
from model_serving.api.status import EndpointStatus
from model_serving.kube.config import from_kubeconfig
from model_serving.kube.errors import error_of
from model_serving.kube.workspace.platform import connect_platform
from model_serving.kube.workspace.refusals import Deed, store_error
from model_serving.stores import Caller, Locked, Platform, Refused
from tests.cluster.harness import Cluster
from tests.cluster.operator_process import assert_clean, free_port, install_rules, running_operator, token_kubeconfig

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]

ACCOUNT = "model-serving-workspace"
ALICE, BOB, CAROL, DAVE, MALLORY = "alice", "bob", "carol", "dave", "mallory"
PEOPLE = (ALICE, BOB, CAROL, DAVE, MALLORY)
API = "/api/2.0/serving-endpoints"
SECRETS = "/api/2.0/secrets"
SCOPE = "My_Scope@team"
KEY = "sk-canary-91b2"


@dataclass
class Workspace:
    """A namespace with two replicas of management, and people who hold tokens."""

    cluster: Cluster
    namespace: str
    replicas: list[httpx.Client]
    kubernetes: httpx.Client
    tokens: dict[str, str] = field(repr=False)
    position: int

    def name_of(self, person: str) -> str:
        return f"system:serviceaccount:{self.namespace}:{person}"

    def ask(self, person: str, method: str, path: str, body: Json | None = None, *, replica: int = 0) -> httpx.Response:
        """One call of the REST API."""
        return self.replicas[replica].request(method, path, json=body, headers=self._as(person))

    def kube(self, person: str, method: str, path: str, body: Json | None = None) -> httpx.Response:
        """One call of the API server, on trial where it writes."""
        headers = self._as(person) | ({"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {})
        query = "" if method == "GET" else "?dryRun=All"
        text = None if body is None else json.dumps(body)
        return self.kubernetes.request(method, path + query, content=text, headers=headers)

    def made(self, person: str, name: str, **fields: Any) -> Json:
        """A new endpoint that names no secret of anybody's."""
        answer = self.ask(person, "POST", API, {"name": name, "config": open_config(), **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def object(self, name: str) -> Json:
        found = self.cluster.get("sep", name, self.namespace)
        assert found is not None
        return found

    def settled(self, person: str, name: str) -> Json:
        """The endpoint when no update is in progress."""

        def look() -> Json | None:
            found = self.ask(person, "GET", f"{API}/{name}").json()
            return found if found["state"]["config_update"] != "IN_PROGRESS" else None

        return self.cluster.wait_for(look, 60, f"{name} to settle")  # type: ignore[return-value]

    def _as(self, person: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[person]}"}


def config(key: str, model: str = "gpt-5") -> Json:
    """A config with one model at OpenAI; `key`: the reference."""
    openai = {"openai_api_key": key}
    external = {"name": model, "provider": "openai", "task": "llm/v1/chat", "openai_config": openai}
    return {"served_entities": [{"name": "main", "external_model": external}]}


def open_config(model: str = "gpt-5") -> Json:
    """The same with the key that everybody may read."""
    return config("{{secrets/open/key}}", model)


@pytest.fixture(scope="module")
def workspace(control_plane: Cluster) -> Iterator[Workspace]:
    install_rules(control_plane)
    control_plane.apply(ROOT / "manifests" / "policies")
    namespace = f"workspace-{uuid.uuid4().hex[:6]}"
    control_plane.create_namespace(namespace)
    control_plane.apply("\n---\n".join(map(json.dumps, rights(namespace))), namespace=namespace)
    for file in ("service_account.yaml", "role.yaml"):
        control_plane.apply(ROOT / "manifests" / "workspace" / file, namespace=namespace)
    accounts = (*PEOPLE, ACCOUNT)
    with ThreadPoolExecutor(2) as pool:
        tokens = dict(zip(accounts, pool.map(lambda a: token_of(control_plane, a, namespace), accounts), strict=True))
    with ExitStack() as stack:
        position = control_plane.audit_position()
        replicas = [stack.enter_context(replica(control_plane, namespace, tokens[ACCOUNT])) for _ in range(2)]
        stack.enter_context(running_operator(control_plane))
        control_plane.wait_for(lambda: all(map(serves, replicas)), 60, "management")
        kubernetes = httpx.Client(
            base_url=control_plane.api_url, verify=ssl.create_default_context(cafile=control_plane.ca_file)
        )
        stack.enter_context(kubernetes)
        ready = Workspace(control_plane, namespace, replicas, kubernetes, tokens, position)
        wait_for_policies(ready)
        yield ready
        control_plane.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


def rights(namespace: str) -> list[Json]:
    """ServiceAccounts: alice administers the namespace, bob writes endpoints and reads one Secret, dave may make
    endpoints with it, carol and mallory may nothing."""
    accounts = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}} for name in PEOPLE]
    endpoints = {"apiGroups": ["model-serving.dev"], "resources": ["servingendpoints"]}
    opened = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["open"], "verbs": ["get"]}
    writer = [endpoints | {"verbs": ["create", "get", "list", "update", "patch", "delete"]}, opened]
    rest = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "open"}, "stringData": {"key": KEY}},
        binding("alice", ALICE, namespace, "ClusterRole", "admin"),
        role("writer", writer),
        binding("bob", BOB, namespace, "Role", "writer"),
        role("maker", [endpoints | {"verbs": ["create"]}, opened]),
        binding("dave", DAVE, namespace, "Role", "maker"),
    ]
    return [*accounts, *rest]


def role(name: str, rules: list[Json]) -> Json:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name},
        "rules": rules,
    }


def binding(name: str, account: str, namespace: str, kind: str, of: str) -> Json:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": of},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def token_of(cluster: Cluster, account: str, namespace: str) -> str:
    return cluster.kubectl("create", "token", account, "-n", namespace, "--duration=2h").stdout.strip()


@contextmanager
def replica(cluster: Cluster, namespace: str, token: str) -> Iterator[httpx.Client]:
    """One process of management; its log is searched afterwards."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = token_kubeconfig(cluster, Path(folder) / "workspace.kubeconfig", token)
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        environment |= {"MODEL_SERVING_NAMESPACE": namespace, "MODEL_SERVING_PORT": str(port)}
        log = Path(folder) / "management.log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "model_serving.cli", "management"]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                yield client
        finally:
            process.terminate()
            code = process.wait(30)
            print(log.read_text()[-4000:])
        assert code == 0, "SIGTERM ends it in good order"
        assert_clean(log.read_text())
        assert KEY not in log.read_text() and token not in log.read_text()


def serves(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def wait_for_policies(workspace: Workspace) -> None:
    """Policies and aggregated roles act some seconds after they were made."""
    workspace.cluster.wait_for(lambda: workspace.ask(ALICE, "GET", API).status_code == 200, 60, "alice's rights")
    secret_of_alice = {"scope": SCOPE, "key": "openai", "string_value": KEY}
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/scopes/create", {"scope": SCOPE}).status_code == 200
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/put", secret_of_alice).status_code == 200
    path = f"/apis/model-serving.dev/v1alpha1/namespaces/{workspace.namespace}/servingendpoints"
    stolen = stealing("early", workspace.namespace)
    workspace.cluster.wait_for(
        lambda: workspace.kube(BOB, "POST", path, stolen).status_code == 403, 60, "the policy on Secrets"
    )


def stealing(name: str, namespace: str) -> Json:
    """An endpoint that names the Secret of a scope that only alice may read, as kubectl would send it."""
    reference = {"name": "my-scope-team", "key": "openai"}
    external = {
        "name": "gpt-5",
        "provider": "openai",
        "task": "llm/v1/chat",
        "openaiConfig": {"openaiApiKeySecretRef": reference},
    }
    return {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"config": {"servedEntities": [{"name": "main", "externalModel": external}]}},
    }


def test_clients_read_their_own_writes_through_every_replica(workspace: Workspace) -> None:
    ids = set()
    for _ in range(3):
        ids.add(workspace.made(ALICE, "own_writes")["id"])
        assert workspace.ask(ALICE, "GET", f"{API}/own_writes", replica=1).status_code == 200
        assert "own_writes" in [e["name"] for e in workspace.ask(ALICE, "GET", API, replica=1).json()["endpoints"]]
        assert workspace.ask(ALICE, "DELETE", f"{API}/own_writes", replica=1).status_code == 200
        assert workspace.ask(ALICE, "GET", f"{API}/own_writes").status_code == 404
    assert len(ids) == 3, "each is an endpoint of its own"


def test_who_creates_an_endpoint_is_its_creator(workspace: Workspace) -> None:
    made = workspace.made(BOB, "of-bob")
    assert made["creator"] == workspace.name_of(BOB) and made["permission_level"] == "CAN_MANAGE"
    written = workspace.object("of-bob")["metadata"]
    assert written["annotations"][CREATOR_ANNOTATION] == workspace.name_of(BOB)
    path = f"/apis/model-serving.dev/v1alpha1/namespaces/{workspace.namespace}/servingendpoints/of-bob"
    forged = {"metadata": {"annotations": {CREATOR_ANNOTATION: workspace.name_of(MALLORY)}}}
    assert "never changed" in workspace.kube(BOB, "PATCH", path, forged).text


def test_who_may_only_create_manages_what_he_made_without_waiting(workspace: Workspace) -> None:
    for _ in range(2):
        workspace.made(DAVE, "of-dave")
        tags = {"add_tags": [{"key": "mine", "value": "x"}]}
        changed = workspace.ask(DAVE, "PATCH", f"{API}/of-dave/tags", tags, replica=1)
        assert changed.status_code == 200, changed.text
        assert [e["name"] for e in workspace.ask(DAVE, "GET", API).json()["endpoints"]] == ["of-dave"]
        assert workspace.ask(DAVE, "DELETE", f"{API}/of-dave").status_code == 200


def test_rest_and_kubectl_give_the_same_answers(workspace: Workspace) -> None:
    """What RBAC and `spec.access` allow: see, change, delete."""
    workspace.made(ALICE, "shared")
    access = [
        {"kind": "ServiceAccount", "name": CAROL, "permissionLevel": "CAN_MANAGE"},
        {"kind": "ServiceAccount", "name": MALLORY, "permissionLevel": "CAN_VIEW"},
    ]
    workspace.cluster.kubectl(
        "patch",
        "sep",
        "shared",
        "-n",
        workspace.namespace,
        "--type=merge",
        "-p",
        json.dumps({"spec": {"access": access}}),
    )
    path = f"/apis/model-serving.dev/v1alpha1/namespaces/{workspace.namespace}/servingendpoints/shared"
    workspace.cluster.wait_for(
        lambda: (
            workspace.kube(CAROL, "DELETE", path).status_code == 200
            and workspace.kube(MALLORY, "GET", path).status_code == 200
        ),
        30,
        "the Roles that the operator makes of spec.access",
    )
    allowed = {ALICE: (True, True), BOB: (True, True), CAROL: (True, True), MALLORY: (True, False)}
    for person, (see, change) in allowed.items():
        tag = {"add_tags": [{"key": f"of-{person}", "value": "x"}]}
        found = (
            workspace.ask(person, "GET", f"{API}/shared").status_code == 200,
            workspace.ask(person, "PATCH", f"{API}/shared/tags", tag).status_code == 200,
        )
        by_kubectl = (
            workspace.kube(person, "GET", path).status_code == 200,
            workspace.kube(person, "PATCH", path, {"spec": {"description": "x"}}).status_code == 200,
        )
        assert found == by_kubectl == (see, change), person
    assert sorted(t["key"] for t in workspace.object("shared")["spec"]["tags"]) == ["of-alice", "of-bob", "of-carol"]
    refused = workspace.ask(MALLORY, "DELETE", f"{API}/shared")
    assert refused.status_code == 403 and refused.json()["error_code"] == "PERMISSION_DENIED"
    assert workspace.ask(CAROL, "DELETE", f"{API}/shared").status_code == 200


def test_permissions_by_rest_become_rights(workspace: Workspace) -> None:
    """Also two ServiceAccounts of one name, whom the list of the resource cannot both hold as such."""
    path = f"/api/2.0/permissions/serving-endpoints/{workspace.made(ALICE, 'given')['id']}"
    sent = [
        {"service_principal_name": workspace.name_of(CAROL), "permission_level": "CAN_MANAGE"},
        {"service_principal_name": f"system:serviceaccount:elsewhere:{CAROL}", "permission_level": "CAN_VIEW"},
        {"group_name": "data science", "permission_level": "CAN_QUERY"},
    ]
    answer = workspace.ask(ALICE, "PUT", path, {"access_control_list": sent})
    assert answer.status_code == 200, answer.text
    shown = workspace.ask(ALICE, "GET", path, replica=1).json()["access_control_list"]
    names = [entry["display_name"] for entry in shown]
    assert names == [workspace.name_of(ALICE), *(next(iter(entry.values())) for entry in sent)]
    kinds = [entry["kind"] for entry in workspace.object("given")["spec"]["access"]]
    assert kinds == ["ServiceAccount", "User", "Group"]
    more = {"access_control_list": [{"user_name": "eve@example.com", "permission_level": "CAN_VIEW"}]}
    workspace.cluster.wait_for(
        lambda: workspace.ask(CAROL, "PATCH", path, more).status_code == 200, 30, "the right that CAN_MANAGE gives"
    )
    assert len(workspace.object("given")["spec"]["access"]) == 4
    assert workspace.ask(MALLORY, "PATCH", path, more).status_code == 403


def test_a_key_that_is_put_is_read_again_and_makes_no_version(workspace: Workspace) -> None:
    workspace.made(ALICE, "rotated")
    put = {"scope": "open", "key": "key", "string_value": "another-value"}
    answer = workspace.ask(ALICE, "POST", f"{SECRETS}/put", put)
    assert answer.status_code == 200, answer.text
    written = workspace.object("rotated")["metadata"]
    assert written["annotations"][RELOAD_ANNOTATION]
    assert written["generation"] == 1, "nothing of the spec was touched"


def test_a_caller_without_rights_sees_and_makes_nothing(workspace: Workspace) -> None:
    workspace.made(ALICE, "hidden")
    assert workspace.ask(MALLORY, "GET", f"{API}/hidden").status_code == 403
    assert "hidden" not in [e["name"] for e in workspace.ask(MALLORY, "GET", API).json().get("endpoints", [])]
    refused = workspace.ask(MALLORY, "POST", API, {"name": "mine", "config": open_config()})
    assert refused.status_code in (400, 403), refused.text
    assert workspace.ask(MALLORY, "GET", f"{SECRETS}/scopes/list").status_code == 403
    workspace.tokens["nobody"] = "not-a-token"
    assert workspace.ask("nobody", "GET", API).status_code == 401


def test_a_secret_that_a_user_may_not_read_cannot_be_used(workspace: Workspace) -> None:
    stolen = {"name": "thief", "config": config(f"{{{{secrets/{SCOPE}/openai}}}}")}
    refused = workspace.ask(BOB, "POST", API, stolen)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert SCOPE in refused.json()["message"] and "openai" in refused.json()["message"]
    path = f"/apis/model-serving.dev/v1alpha1/namespaces/{workspace.namespace}/servingendpoints"
    by_kubectl = workspace.kube(BOB, "POST", path, stealing("thief", workspace.namespace))
    assert by_kubectl.status_code == 403 and "may not read the Secret my-scope-team" in by_kubectl.text
    # Whoever may read it hands the right on.
    grant = {"scope": SCOPE, "principal": workspace.name_of(BOB), "permission": "READ"}
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/acls/put", grant).status_code == 200
    workspace.cluster.wait_for(
        lambda: workspace.ask(BOB, "POST", API, stolen).status_code == 200, 30, "the right that READ gives"
    )
    assert workspace.ask(ALICE, "GET", f"{SECRETS}/acls/list?scope={SCOPE}").json() == {
        "items": [{"principal": workspace.name_of(BOB), "permission": "READ"}]
    }
    put = {"scope": SCOPE, "key": "openai", "string_value": "other"}
    assert workspace.ask(BOB, "POST", f"{SECRETS}/put", put).status_code == 403, "READ is not WRITE"
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/acls/delete", grant).status_code == 200
    assert workspace.ask(ALICE, "GET", f"{SECRETS}/acls/list?scope={SCOPE}").json().get("items", []) == []


def test_scopes_of_one_slug_are_kept_apart(workspace: Workspace) -> None:
    for scope, value in (("Twin_Scope", "one"), ("twin-scope", "two"), ("twin.scope", "three")):
        assert workspace.ask(ALICE, "POST", f"{SECRETS}/scopes/create", {"scope": scope}).status_code == 200
        put = {"scope": scope, "key": f"k.{value}", "string_value": value}
        assert workspace.ask(ALICE, "POST", f"{SECRETS}/put", put, replica=1).status_code == 200
    for scope, key in (("Twin_Scope", "k.one"), ("twin-scope", "k.two"), ("twin.scope", "k.three")):
        listed = workspace.ask(ALICE, "GET", f"{SECRETS}/list?scope={scope}").json()["secrets"]
        assert [s["key"] for s in listed] == [key]
        assert abs(listed[0]["last_updated_timestamp"] / 1000 - time.time()) < 120
    taken = workspace.ask(ALICE, "POST", f"{SECRETS}/scopes/create", {"scope": "Twin_Scope"})
    assert taken.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    gone = {"scope": "twin-scope", "key": "k.two"}
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/delete", gone).status_code == 200
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/delete", gone).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert workspace.ask(ALICE, "POST", f"{SECRETS}/scopes/delete", {"scope": "twin-scope"}).status_code == 200
    names = [s["name"] for s in workspace.ask(ALICE, "GET", f"{SECRETS}/scopes/list").json()["scopes"]]
    assert "Twin_Scope" in names and "twin-scope" not in names


def test_a_key_in_plain_text_is_kept_and_deleted_with_the_endpoint(workspace: Workspace) -> None:
    plain = config("{{secrets/open/key}}")
    plain["served_entities"][0]["external_model"]["openai_config"] = {"openai_api_key_plaintext": KEY}
    made = workspace.ask(ALICE, "POST", API, {"name": "plain", "config": plain})
    assert made.status_code == 200 and KEY not in made.text
    uid = workspace.object("plain")["metadata"]["uid"]

    def kept() -> list[Json]:
        found = workspace.cluster.kubectl("get", "secrets", "-n", workspace.namespace, "-o", "json").stdout
        owners = [(s, s["metadata"].get("ownerReferences") or []) for s in json.loads(found)["items"]]
        return [s for s, references in owners if any(r["uid"] == uid for r in references)]

    assert len(kept()) == 1
    assert workspace.ask(ALICE, "DELETE", f"{API}/plain").status_code == 200
    workspace.cluster.wait_for(lambda: not kept(), 60, "the keys to go with their endpoint")


def test_changes_at_the_same_time_all_survive(workspace: Workspace) -> None:
    workspace.made(ALICE, "busy")

    def tag(number: int) -> int:
        body = {"add_tags": [{"key": f"tag-{number}", "value": "x"}]}
        return workspace.ask(ALICE, "PATCH", f"{API}/busy/tags", body, replica=number % 2).status_code

    for round_of in range(3):
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(tag, range(2 * round_of, 2 * round_of + 2)))
        assert codes == [200, 200]
    assert sorted(t["key"] for t in workspace.object("busy")["spec"]["tags"]) == [f"tag-{n}" for n in range(6)]


def test_one_update_runs_at_a_time(workspace: Workspace) -> None:
    workspace.made(ALICE, "updated")
    assert workspace.settled(ALICE, "updated")["state"]["ready"] == "READY"
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": {"pods": "0"}},
    }
    workspace.cluster.apply(json.dumps(quota), namespace=workspace.namespace)
    try:
        first = workspace.ask(ALICE, "PUT", f"{API}/updated/config", open_config("gpt-6"))
        assert first.status_code == 200 and first.json()["state"]["config_update"] == "IN_PROGRESS"
        second = workspace.ask(ALICE, "PUT", f"{API}/updated/config", open_config("gpt-7"), replica=1)
        assert (second.status_code, second.json()["error_code"]) == (409, "RESOURCE_CONFLICT"), second.text
        tags = {"add_tags": [{"key": "meanwhile", "value": "x"}]}
        assert workspace.ask(ALICE, "PATCH", f"{API}/updated/tags", tags, replica=1).status_code == 200
        with pytest.raises(Locked, match=r"an update is in progress|not yet observed"):
            asyncio.run(write_unaware(workspace, "updated"))
    finally:
        workspace.cluster.kubectl("delete", "resourcequota", "full", "-n", workspace.namespace)


async def write_unaware(workspace: Workspace, name: str) -> None:
    """Changes a config as if no update were known, so that the policy has to say it."""
    async with platform_of(workspace) as platform:
        stored = await platform.endpoints.find(name)
        assert stored is not None
        config = stored.endpoint.spec.config.model_copy(update={"traffic_config": None})
        external = config.served_entities[0].external_model.model_copy(update={"name": "gpt-8"})  # type: ignore[union-attr]
        entity = config.served_entities[0].model_copy(update={"external_model": external})
        spec = stored.endpoint.spec.model_copy(
            update={"config": config.model_copy(update={"served_entities": [entity]})}
        )
        unaware = stored.endpoint.model_copy(update={"status": EndpointStatus()})
        await platform.endpoints.replace(
            caller(workspace, ALICE), replace(stored, endpoint=unaware), unaware.model_copy(update={"spec": spec})
        )


def caller(workspace: Workspace, person: str) -> Caller:
    return Caller(workspace.name_of(person), token=workspace.tokens[person])


@asynccontextmanager
async def platform_of(workspace: Workspace) -> AsyncIterator[Platform]:
    """The workspace as one more replica in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = token_kubeconfig(workspace.cluster, Path(folder) / "it.kubeconfig", workspace.tokens[ACCOUNT])
        async with connect_platform(from_kubeconfig(path), workspace.namespace) as platform:
            yield platform


REFUSALS = [
    pytest.param(BOB, stealing("x", "x")["spec"], "you may not read the Secret my-scope-team", id="a policy"),
    pytest.param(
        ALICE,
        {"config": {"servedEntities": []}},
        "spec.config.servedEntities: should have at least 1 items",
        id="the schema",
    ),
    pytest.param(
        ALICE,
        {"config": {"servedEntities": [{"name": "m", "externalModel": {"name": "m", "provider": KEY}}]}},
        "supported values",
        id="a value that is not on the list",
    ),
    pytest.param(
        ALICE,
        {"endpointName": "databricks-x", "config": stealing("x", "x")["spec"]["config"]},
        "spec.endpointName: names that start with databricks- are reserved: choose another",
        id="a rule",
    ),
    pytest.param(
        ALICE,
        {"config": stealing("x", "x")["spec"]["config"], "tags": [{"key": "a"}, {"key": "a"}]},
        "spec.tags[1]: stands in the list twice: remove one",
        id="a key that stands in a list twice",
    ),
]


@pytest.mark.parametrize(("person", "spec", "text"), REFUSALS)
def test_a_refusal_names_the_field_and_no_value(workspace: Workspace, person: str, spec: Json, text: str) -> None:
    path = f"/apis/model-serving.dev/v1alpha1/namespaces/{workspace.namespace}/servingendpoints"
    manifest = {**stealing("refused", workspace.namespace), "spec": spec}
    answer = workspace.kube(person, "POST", path, manifest)
    error = error_of("making it", answer.status_code, answer.content)
    told = store_error(error, Deed(person, "create", "the serving endpoint refused", "servingendpoints", "here"))
    print(answer.text)
    assert isinstance(told, Refused)
    assert text in told.message and KEY not in told.message
    assert told.problems and all(problem.field.startswith("spec.") for problem in told.problems)


def test_the_workspace_itself_can_write_nothing(workspace: Workspace) -> None:
    base = f"/apis/model-serving.dev/v1alpha1/namespaces/{workspace.namespace}/servingendpoints"
    secrets = f"/api/v1/namespaces/{workspace.namespace}/secrets"
    stolen = stealing("own", workspace.namespace)
    assert workspace.kube(ACCOUNT, "POST", base, stolen).status_code == 403
    assert workspace.kube(ACCOUNT, "DELETE", f"{base}/of-bob").status_code == 403
    assert workspace.kube(ACCOUNT, "GET", f"{secrets}/open").status_code == 403
    assert workspace.kube(ACCOUNT, "GET", base).status_code == 200
    by_rest = workspace.ask(ACCOUNT, "DELETE", f"{API}/of-bob")
    assert by_rest.status_code == 403, by_rest.text
    # And of all that was written so far, nothing was.
    me = workspace.name_of(ACCOUNT)
    events = [e for e in workspace.cluster.audit(workspace.position) if e["user"].get("username") == me]
    written = [
        (e["verb"], e["objectRef"]["resource"])
        for e in events
        if e["verb"] in ("create", "update", "patch", "delete") and e["responseStatus"]["code"] < 300
    ]
    reviews = {("create", "selfsubjectreviews"), ("create", "selfsubjectaccessreviews")}
    assert set(written) <= reviews
    read = {e["objectRef"]["resource"] for e in events if e["verb"] in ("get", "list", "watch")}
    assert "servingendpoints" in read, "it does the reading"
