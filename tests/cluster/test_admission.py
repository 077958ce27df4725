"""The resource's rules, enforced by a real API server with the operator switched off: CRD, CEL, admission policies."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from model_serving.api.crd import CRD_NAME, crd
from model_serving.api.hosts import LEAVE_LABEL
from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.cli import main
from tests.api.cases import CASES, Case
from tests.cluster.harness import Cluster
from tests.cluster.raw_api import MERGE, Answer, RawApi

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests" / "samples"
RUN = uuid.uuid4().hex[:6]
PUBLIC, PRIVATE = f"admission-public-{RUN}", f"admission-private-{RUN}"
CRD_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD_NAME}"
POLICIES_PATH = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
SECONDS = 60

Json = dict[str, Any]
BASE = next(case for case in CASES if case.name == "reference-example")


@dataclass(frozen=True, slots=True)
class Admission:
    """A cluster with CRD and policies in force, and nobody who acts on endpoints."""

    cluster: Cluster
    api: RawApi
    user: str

    def judged(self, case: Case) -> Answer:
        """What the API server says to a case."""
        namespace = PRIVATE if case.namespace == "private" else PUBLIC
        manifest = self._as_me(case.manifest())
        if case.old is None:
            return self.api.create(namespace, manifest)
        self.store(namespace, case)
        return self.api.replace(namespace, manifest)

    def store(self, namespace: str, case: Case) -> None:
        """Makes the object as it was before the case's update: its generation, then its status."""
        assert case.old is not None
        old = self._as_me(case.old_manifest())
        assert (made := self.api.create(namespace, old, dry_run=False)).ok, made.message
        for number in range(1, case.old_generation):
            edit = {"spec": {"description": f"edit {number}"}}
            assert self.api.patch(namespace, case.object_name, edit).ok
        if "status" in case.old:
            reported = self.api.patch(namespace, case.object_name, {"status": case.old["status"]}, below="/status")
            assert reported.ok, reported.message

    def _as_me(self, manifest: Json) -> Json:
        """With the present user where a case says `admin`."""
        annotations = manifest["metadata"].get("annotations", {})
        if annotations.get(CREATOR_ANNOTATION) != "admin":
            return manifest
        metadata = {**manifest["metadata"], "annotations": {**annotations, CREATOR_ANNOTATION: self.user}}
        return {**manifest, "metadata": metadata}


@pytest.fixture(scope="module")
def admission(control_plane: Cluster) -> Iterator[Admission]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds")
    control_plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD_NAME}", "--timeout=60s")
    control_plane.kubectl("api-resources", "--cached=false")  # kubectl's cache may be older than the short name
    control_plane.apply(ROOT / "manifests" / "policies")
    control_plane.create_namespace(PUBLIC)
    control_plane.create_namespace(PRIVATE, labels={LEAVE_LABEL: "true"})
    whoami = json.loads(control_plane.kubectl("auth", "whoami", "-o", "json").stdout)
    with RawApi(control_plane) as api:
        ready = Admission(control_plane, api, whoami["status"]["userInfo"]["username"])
        try:
            _wait_until_policies_bite(ready)
            yield ready
        finally:
            for name in (PUBLIC, PRIVATE):
                control_plane.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found", check=False)


def _wait_until_policies_bite(admission: Admission) -> None:
    """A new policy acts a few seconds after it was created: one case of each shows that it does."""
    first = ("host-never-localhost", "creator-of-another")
    for case in (case for case in CASES if case.name in first):
        admission.cluster.wait_for(lambda case=case: not admission.judged(case).ok, SECONDS, f"policy of {case.name}")  # type: ignore[misc]
    denied = {"spec": BASE.spec, **{k: v for k, v in BASE.manifest().items() if k != "spec"}}
    admission.cluster.wait_for(
        lambda: "may not read the Secret" in _by_stranger(admission, denied).message, SECONDS, "policy on Secrets"
    )
    lock = next(case for case in CASES if case.name == "lock-in-progress")
    admission.store(PUBLIC, lock)
    admission.cluster.wait_for(
        lambda: not admission.api.replace(PUBLIC, lock.manifest()).ok, SECONDS, "policy of the config lock"
    )
    assert admission.api.delete(PUBLIC, lock.object_name).ok


def _by_stranger(admission: Admission, manifest: Json) -> Answer:
    """Created by somebody who may write endpoints and read no Secret."""
    _grant(admission, "stranger", "stranger", [_endpoints()])
    return admission.api.create(PUBLIC, manifest, user="stranger")


def _endpoints() -> Json:
    verbs = ["create", "get", "list", "update", "patch"]
    return {"apiGroups": ["model-serving.dev"], "resources": ["servingendpoints"], "verbs": verbs}


def _secrets(*names: str) -> Json:
    return {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [*names], "verbs": ["get"]}


def _grant(admission: Admission, name: str, user: str, rules: list[Json]) -> None:
    """Gives `user` a Role in the public namespace, and waits until it acts."""
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    path = f"/apis/{group}/v1/namespaces/{PUBLIC}"
    for plural, manifest in (("roles", role), ("rolebindings", binding)):
        answer = admission.api.send("POST", f"{path}/{plural}", manifest)
        assert answer.ok or answer.code == 409, answer.message
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "group": rules[-1]["apiGroups"][0],
                "resource": rules[-1]["resources"][0],
                "name": rules[-1].get("resourceNames", [""])[0],
                "verb": "get",
                "namespace": PUBLIC,
            },
        },
    }
    url = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    admission.cluster.wait_for(lambda: admission.api.send("POST", url, review).body["status"]["allowed"], SECONDS, name)


def changed(manifest: Json, name: str, **spec: Any) -> Json:
    """A copy under another name, with further fields of the spec."""
    made = copy.deepcopy(manifest)
    made["metadata"]["name"] = name
    made["spec"].update(spec)
    return made


def with_secret(manifest: Json, name: str) -> Json:
    """A copy that takes its key from another Secret."""
    made = copy.deepcopy(manifest)
    block = made["spec"]["config"]["servedEntities"][0]["externalModel"]["openaiConfig"]
    block["openaiApiKeySecretRef"] = {"name": name, "key": "key"}
    return made


# --- the cases


@pytest.mark.parametrize("case", [case for case in CASES if case.accepted], ids=lambda case: case.name)
def test_accepted(admission: Admission, case: Case) -> None:
    answer = admission.judged(case)

    assert answer.ok, answer.message


@pytest.mark.parametrize("case", [case for case in CASES if not case.accepted], ids=lambda case: case.name)
def test_refused_with_field_and_remedy(admission: Admission, case: Case) -> None:
    answer = admission.judged(case)

    assert not answer.ok, "the API server took it"
    assert case.field in answer.message and (case.api_says or case.says) in answer.message, answer.message


# --- who writes


def test_a_config_names_only_secrets_that_its_author_may_read(admission: Admission) -> None:
    _grant(admission, "alice", "alice", [_endpoints(), _secrets("hers")])
    _grant(admission, "bob", "bob", [_endpoints()])
    api, hers = admission.api, with_secret(changed(BASE.manifest(), "shared"), "hers")

    refused = api.create(PUBLIC, with_secret(hers, "other"), user="alice")
    assert refused.code == 403
    assert "openaiConfig.openaiApiKeySecretRef: you may not read the Secret other" in refused.message

    assert (made := api.create(PUBLIC, hers, dry_run=False, user="alice")).ok, made.message
    assert "you may not read the Secret hers" in api.create(PUBLIC, changed(hers, "his"), user="bob").message

    limits = {"spec": {"rateLimits": [{"calls": 1}]}}
    assert api.patch(PUBLIC, "shared", limits, user="bob").ok, "limits may be edited without the right on the Secret"
    entities = copy.deepcopy(hers["spec"]["config"])
    entities["servedEntities"][0]["externalModel"]["name"] = "another-model"
    assert (
        "you may not read the Secret hers"
        in api.patch(PUBLIC, "shared", {"spec": {"config": entities}}, user="bob").message
    )
    assert (edited := api.patch(PUBLIC, "shared", {"spec": {"config": entities}}, user="alice")).ok, edited.message


@pytest.mark.parametrize("field", ["tls", "upstreamCa"])
def test_a_certificate_is_named_only_by_who_may_read_it(admission: Admission, field: str) -> None:
    _grant(admission, "pair-of-alice", "alice", [_endpoints(), _secrets("hers", "pair")])
    _grant(admission, "hers-of-bob", "bob", [_endpoints(), _secrets("hers")])
    api, manifest = admission.api, with_secret(changed(BASE.manifest(), f"certified-{field.lower()}"), "hers")
    name = manifest["metadata"]["name"]
    named = {"spec": {"proxy": {field: {"secretName": "pair"}}}}
    assert (made := api.create(PUBLIC, manifest, dry_run=False, user="bob")).ok, made.message
    refused = api.patch(PUBLIC, name, named, user="bob")
    assert f"spec.proxy.{field}.secretName: you may not read the Secret pair" in refused.message
    assert (taken := api.patch(PUBLIC, name, named, user="alice")).ok, taken.message
    resized = {"spec": {"proxy": {"replicas": 2}}}
    assert (kept := api.patch(PUBLIC, name, resized, user="bob")).ok, kept.message


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ("provider-bedrock-keys", "amazonBedrockConfig.awsAccessKeyIdSecretRef"),
        ("provider-custom-bearer", "customProviderConfig.bearerTokenAuth.tokenSecretRef"),
        ("provider-custom-header", "customProviderConfig.apiKeyAuth.valueSecretRef"),
        ("provider-openai-azuread", "openaiConfig.microsoftEntraClientSecretRef"),
        ("provider-vertex-key", "googleCloudVertexAiConfig.privateKeySecretRef"),
    ],
)
def test_every_kind_of_reference_is_checked(admission: Admission, case: str, field: str) -> None:
    manifest = next(each for each in CASES if each.name == case).manifest()

    assert f"{field}: you may not read the Secret" in _by_stranger(admission, manifest).message


def test_secrets_of_environment_variables_are_checked_one_by_one(admission: Admission) -> None:
    _grant(admission, "carol", "carol", [_endpoints(), _secrets("one", "two")])

    def entity(name: str, *secrets: str) -> Json:
        variables = [{"name": f"V{n}", "secretRef": {"name": s, "key": "k"}} for n, s in enumerate(secrets)]
        return {"name": name, "entityName": "system.ai.llama", "environmentVars": variables}

    def judged(*entities: Json, user: str = "carol") -> str:
        routes = [{"servedEntityName": entities[0]["name"], "trafficPercentage": 100}]
        config = {"servedEntities": [*entities], "trafficConfig": {"routes": routes}}
        return admission.api.create(PUBLIC, changed(BASE.manifest(), "env", config=config), user=user).message

    assert judged(entity("a", "one", "two", "one"), entity("b", "two")) == ""
    assert "you may not read the Secret three" in judged(entity("a", "one", "two"), entity("b", "two", "three"))
    assert "you may not read the Secret three" in judged(entity("a", "one", "three"), entity("b", "two"))
    most = [f"s{number}" for number in range(9)]
    assert judged(entity("a", *most[:8]), user="") == ""
    assert "more than 8 different Secrets" in judged(entity("a", *most[:4]), entity("b", *most[4:]), user="")


def test_the_creator_is_who_creates(admission: Admission) -> None:
    _grant(admission, "dave", "dave", [_endpoints(), _secrets("my-scope")])
    manifest = changed(BASE.manifest(), "created")

    def by_dave(creator: str) -> Answer:
        metadata = {**manifest["metadata"], "annotations": {CREATOR_ANNOTATION: creator}}
        return admission.api.create(PUBLIC, {**manifest, "metadata": metadata}, user="dave")

    assert by_dave("dave").ok
    refused = by_dave("erin")
    assert "only your own user name, dave, may stand there: correct or remove it" in refused.message


# --- what kubectl shows and does


def test_every_field_is_explained(admission: Admission) -> None:
    document = admission.api.send("GET", "/openapi/v3/apis/model-serving.dev/v1alpha1").body
    schema = document["components"]["schemas"]["dev.model-serving.v1alpha1.ServingEndpoint"]

    def bare(node: Json, path: str) -> Iterator[str]:
        for name, child in node.get("properties", {}).items():
            if "description" not in child:
                yield f"{path}.{name}"
            yield from bare(child, f"{path}.{name}")
        yield from bare(node["items"], f"{path}[]") if "items" in node else ()

    assert list(bare({"properties": {k: schema["properties"][k] for k in ("spec", "status")}}, "")) == []
    told = admission.cluster.kubectl("explain", "sep.spec.config.servedEntities.externalModel.openaiConfig").stdout
    assert "Base URL, up to and including /v1" in told and "enum: openai, azure, azuread" in told


@pytest.fixture(scope="module")
def shown(admission: Admission) -> str:
    """An endpoint with the status that an operator would write."""
    name, api = "shown", admission.api
    assert api.create(PUBLIC, changed(BASE.manifest(), name, endpointName="Shown"), dry_run=False).ok
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "serves",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    status = {
        "observedGeneration": 1,
        "conditions": [ready],
        "id": "88fd3f75a0d24b0380ddc40484d7a31b",
        "url": "http://shown.example/serving-endpoints/Shown/invocations",
        "model": "openai/gpt-4o",
        "task": "llm/v1/chat",
        "configVersion": 3,
        "state": {"ready": "READY", "configUpdate": "NOT_UPDATING"},
        "replicas": 1,
        "readyReplicas": 1,
        "selector": "model-serving.dev/endpoint=shown",
    }
    assert (answer := api.patch(PUBLIC, name, {"status": status}, below="/status")).ok, answer.message
    return name


def test_columns_names_and_selectors(admission: Admission, shown: str) -> None:
    def got(*words: str) -> list[str]:
        return admission.cluster.kubectl("get", *words, "-n", PUBLIC).stdout.splitlines()

    assert got("sep", shown)[0].split() == ["NAME", "READY", "REASON", "MODEL", "URL", "AGE"]
    assert got("sep", shown)[1].split()[:4] == [shown, "True", "Ready", "openai/gpt-4o"]
    wide = got("sep", shown, "-o", "wide")
    assert wide[0].split()[6:] == ["PROVIDER", "TASK", "VERSION", "REPLICAS", "MESSAGE"]
    assert wide[1].split()[6:] == ["openai", "llm/v1/chat", "3", "1", "serves"]
    assert any(line.startswith("shown ") for line in got("model-serving")), "the category lists it"
    assert not any("shown" in line for line in got("all")), "the category all does not"
    by_name = got("sep", "--field-selector", "spec.endpointName=Shown,status.state.ready=READY", "-o", "name")
    by_id = got("sep", "--field-selector", "status.id=88fd3f75a0d24b0380ddc40484d7a31b", "-o", "name")
    assert by_name == by_id == ["servingendpoint.model-serving.dev/shown"]
    waited = admission.cluster.kubectl("wait", "--for=condition=Ready", f"sep/{shown}", "-n", PUBLIC, "--timeout=20s")
    assert "condition met" in waited.stdout


def test_scale(admission: Admission, shown: str) -> None:
    path = f"/apis/model-serving.dev/v1alpha1/namespaces/{PUBLIC}/servingendpoints/{shown}/scale"
    scale = admission.api.send("GET", path).body
    assert (scale["spec"], scale["status"]["replicas"]) == ({"replicas": 1}, 1)
    assert scale["status"]["selector"] == "model-serving.dev/endpoint=shown"

    assert admission.api.send("PATCH", path, {"spec": {"replicas": 3}}, kind=MERGE).body["spec"]["replicas"] == 3
    refused = admission.api.send("PATCH", path, {"spec": {"replicas": 0}}, kind=MERGE)
    assert "spec.proxy.replicas" in refused.message and "greater than or equal to 1" in refused.message


def test_a_second_apply_changes_nothing(admission: Admission) -> None:
    cluster, text = admission.cluster, json.dumps(changed(BASE.manifest(), "twice"))
    cluster.apply(text, namespace=PUBLIC)
    first = cluster.get("sep", "twice", PUBLIC)

    assert "unchanged" in cluster.apply(text, namespace=PUBLIC)
    assert cluster.kubectl("diff", "-n", PUBLIC, "-f", "-", input=text, check=False).returncode == 0
    cluster.apply(text, "--server-side", "--field-manager=kubectl-client-side-apply", namespace=PUBLIC)
    again = cluster.get("sep", "twice", PUBLIC)
    assert first and again and again["metadata"]["generation"] == first["metadata"]["generation"] == 1
    assert "created (server dry run)" in cluster.apply(
        json.dumps(changed(BASE.manifest(), "dry")), "--dry-run=server", namespace=PUBLIC
    )
    assert cluster.get("sep", "dry", PUBLIC) is None


def test_two_appliers_keep_their_own_tags_and_access(admission: Admission) -> None:
    def apply(manager: str, **spec: Any) -> None:
        manifest = {**BASE.manifest(), "metadata": {"name": "merged"}, "spec": spec}
        admission.cluster.apply(json.dumps(manifest), "--server-side", f"--field-manager={manager}", namespace=PUBLIC)

    def person(name: str) -> Json:
        return {"kind": "User", "name": name, "permissionLevel": "CAN_QUERY"}

    apply("one", config=BASE.spec["config"], tags=[{"key": "a", "value": "1"}], access=[person("a")])
    apply("two", tags=[{"key": "b", "value": "2"}], access=[person("b")])
    found = admission.cluster.get("sep", "merged", PUBLIC)

    assert found is not None
    assert {tag["key"] for tag in found["spec"]["tags"]} == {"a", "b"}
    assert {entry["name"] for entry in found["spec"]["access"]} == {"a", "b"}


# --- what admins rely on


def test_policies_and_crd_are_sound(admission: Admission) -> None:
    policies = admission.api.send("GET", POLICIES_PATH).body["items"]
    ours = [policy for policy in policies if policy["metadata"]["name"].startswith("model-serving-")]
    bad = [c for c in admission.api.send("GET", CRD_PATH).body["status"]["conditions"] if c["status"] != "True"]

    assert len(ours) == 5
    assert [policy["status"].get("typeChecking", {}).get("expressionWarnings") for policy in ours] == [None] * 5
    assert bad == []


def test_objects_from_before_a_tighter_rule_can_still_be_lived_with(admission: Admission) -> None:
    api, name = admission.api, "older"
    loose = crd()
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["budgetPolicyId"]["x-kubernetes-validations"]
    del spec["rateLimits"]["items"]["x-kubernetes-validations"]
    old = changed(BASE.manifest(), name, budgetPolicyId=" edge ", rateLimits=[{"key": "user"}])
    _install(admission, loose, lambda: api.create(PUBLIC, old).ok)
    assert api.create(PUBLIC, old, dry_run=False).ok
    _install(admission, crd(), lambda: not api.create(PUBLIC, changed(old, "newer")).ok)

    assert (labelled := api.patch(PUBLIC, name, {"metadata": {"labels": {"a": "b"}}})).ok, labelled.message
    assert (reported := api.patch(PUBLIC, name, {"status": {"observedGeneration": 1}}, below="/status")).ok, (
        reported.message
    )
    assert (tagged := api.patch(PUBLIC, name, {"spec": {"tags": [{"key": "a"}]}})).ok, tagged.message
    assert not api.patch(PUBLIC, name, {"spec": {"rateLimits": [{"key": "endpoint"}]}}).ok, (
        "what is touched must be right"
    )
    assert api.delete(PUBLIC, name).ok


def _install(admission: Admission, definition: Json, acts: Any) -> None:
    patch = {"spec": {"versions": definition["spec"]["versions"]}}
    assert (answer := admission.api.send("PATCH", CRD_PATH, patch, kind=MERGE)).ok, answer.message
    admission.cluster.wait_for(acts, SECONDS, "the changed CRD to act")


NOT_HERE = ("local.yaml", "httproute.yaml")
"""For one machine; and of a kind that clusters have only with the Gateway API (tests/kube/routing reads it)."""


def test_every_sample_is_taken_strictly(admission: Admission) -> None:
    texts = {path.name: path.read_text() for path in SAMPLES.glob("*.yaml") if path.name not in NOT_HERE}
    texts["demo"] = admission.cluster.kubectl("kustomize", SAMPLES / "demo").stdout
    for name, text in texts.items():
        documents = [document for document in yaml.safe_load_all(text) if document["kind"] != "Namespace"]
        for document in documents:
            document["metadata"].pop("namespace", None)
        manifests = "\n---\n".join(json.dumps(document) for document in documents)
        taken = admission.cluster.apply(manifests, "--dry-run=server", "--validate=strict", namespace=PRIVATE)
        assert taken.count("(server dry run)") == len(documents) > 0, name


def test_the_local_sample_is_for_this_machine_only(admission: Admission) -> None:
    documents = [d for d in yaml.safe_load_all((SAMPLES / "local.yaml").read_text()) if d["kind"] == "ServingEndpoint"]

    assert all("never called" in admission.api.create(PRIVATE, document).message for document in documents)


# A plan


def _plan(admission: Admission, folder: Path, manifest: Json) -> tuple[int, Json]:
    """Exit code and plan of `model-serving plan` for one manifest in the public namespace."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "namespace"}
    file = folder / "endpoint.yaml"
    file.write_text(yaml.safe_dump({**manifest, "metadata": metadata}))
    environ = {"KUBECONFIG": str(admission.cluster.kubeconfig())}
    words = ["plan", "-f", str(file), "-n", PUBLIC, "--exit-code", "--output", "json"]
    result = CliRunner().invoke(main, words, env=environ)
    assert result.exit_code in (0, 1, 3), result.output
    (planned,) = json.loads(result.stdout)["endpoints"]
    return result.exit_code, planned


def test_a_plan_hears_the_policies_and_writes_nothing(admission: Admission, tmp_path: Path) -> None:
    hosts = next(case for case in CASES if case.name == "host-never-localhost")
    code, planned = _plan(admission, tmp_path, hosts.manifest())
    assert code == 1
    assert "the API server refuses it" in planned["refused"][0]["message"]
    fresh = BASE.manifest()
    fresh["metadata"] = {**fresh["metadata"], "name": "planned"}
    fresh["spec"] = {name: value for name, value in fresh["spec"].items() if name != "endpointName"}
    code, planned = _plan(admission, tmp_path, fresh)
    assert (code, planned["action"], planned["refused"]) == (3, "create", [])
    missing = admission.cluster.kubectl("-n", PUBLIC, "get", "sep", "planned", "--ignore-not-found", "-o", "name")
    assert not missing.stdout.strip()


def test_a_plan_sees_what_is_there_and_the_lock_on_it(admission: Admission, tmp_path: Path) -> None:
    lock = next(case for case in CASES if case.name == "lock-in-progress")
    admission.api.delete(PUBLIC, lock.object_name)  # where the case itself has left it
    admission.store(PUBLIC, lock)
    try:
        code, planned = _plan(admission, tmp_path, lock.manifest())
        assert (code, planned["action"]) == (1, "update")
        assert planned["refused"][0]["field"] == "spec.config"
        code, planned = _plan(admission, tmp_path, lock.old_manifest())
        assert (code, planned["action"]) == (0, "nothing")
        limited = lock.old_manifest()
        limited["spec"] = {**limited["spec"], "rateLimits": [{"calls": 7}]}
        code, planned = _plan(admission, tmp_path, limited)
        assert (code, planned["refused"]) == (3, [])
        assert {change["kind"] for change in planned["changes"]} == {"live"}
    finally:
        admission.api.delete(PUBLIC, lock.object_name)
