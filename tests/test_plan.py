"""`model-serving plan`: files and REST bodies against nothing, a file, the state of a run, and a cluster."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from model_serving.cli import main
from model_serving.kube.config import Connection
from model_serving.kube.revisions import revision_annotations, revision_body
from model_serving.lifecycle.revision import Revision
from model_serving.local.folder import StateFolder
from model_serving.local.store import Record, open_store
from tests.article import CREATE
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.lifecycle.world import World

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "manifests" / "samples" / "openai.yaml"
VALUE = "sk-very-secret"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cluster, whatever the machine has."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["plan", *map(str, arguments)])


def told(*arguments: object) -> Any:
    """The plan of the only endpoint, as JSON."""
    result = run(*arguments, "--output", "json")
    (endpoint,) = json.loads(result.stdout)["endpoints"]
    return endpoint


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
    return path


def config_body(**model: Any) -> dict[str, Any]:
    entity = CREATE["config"]["served_entities"][0]
    return {"served_entities": [{**entity, "external_model": {**entity["external_model"], **model}}]}


def manifest(world: World) -> dict[str, Any]:
    """The world's endpoint as `kubectl get -o yaml` shows it."""
    made: dict[str, Any] = world.endpoint.model_dump(mode="json", by_alias=True, exclude_none=True)
    return made


def controller_revision(world: World, revision: Revision) -> dict[str, Any]:
    owner = {"uid": world.endpoint.metadata.uid}
    metadata = {"name": f"chat-{revision.name}", "namespace": "gen-ai", "ownerReferences": [owner]}
    metadata |= {"annotations": revision_annotations(revision), "labels": {"model-serving.dev/endpoint": "chat"}}
    return {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, **revision_body(revision)}


def wanted(world: World, **spec: Any) -> dict[str, Any]:
    """What somebody would apply over the world's endpoint."""
    return {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": "chat", "namespace": "gen-ai"},
        "spec": {**world.spec, **spec},
    }


LIMITED = {"rateLimits": [{"calls": 5}]}
OTHER = {"config": json.loads(json.dumps(World().spec["config"]).replace("gpt-4", "gpt-5"))}


# Exit codes

CODES: dict[str, tuple[list[object], int]] = {
    "an endpoint that would be made": ([], 0),
    "the same, for scripts that ask": (["--exit-code"], 3),
    "nothing to change": (["--against", SAMPLE], 0),
    "nothing to change, for scripts that ask": (["--against", SAMPLE, "--exit-code"], 0),
    "two presents": (["--against", SAMPLE, "--offline"], 2),
    "a state folder without endpoints": (["--state", ROOT / "docs"], 2),
    "a body's option with YAML": (["--endpoint", "x"], 2),
}


@pytest.mark.parametrize("case", CODES)
def test_exit_codes(case: str) -> None:
    options, code = CODES[case]
    result = run("-f", SAMPLE, *options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "content", ["", "kind: Secret\nmetadata: {name: x}\n", "a: [", "[1, 2]", "\x00", '{"name": "a", "name": "b"}']
)
def test_a_file_without_endpoints_is_no_plan(tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)
    result = run("-f", file)
    assert result.exit_code == 2, result.output
    assert "cannot plan" in result.stderr


def test_what_is_refused_is_told_by_field_and_ends_with_1(tmp_path: Path) -> None:
    broken = wanted(World())
    broken["spec"]["confg"] = broken["spec"].pop("config")
    result = run("-f", write(tmp_path / "x.yaml", broken))
    assert result.exit_code == 1
    assert "spec.confg: unknown field: did you mean config?" in result.stdout
    assert "1 endpoint: 0 to change, 1 refused, 0 as they are" in result.stdout


def test_hosts_are_judged_by_the_leave_that_is_named() -> None:
    local = ROOT / "manifests" / "samples" / "local.yaml"
    assert run("-f", local).exit_code == 1
    assert run("-f", local, "--upstreams", "local").exit_code == 0


# A file


def test_the_table_names_field_values_and_effect(tmp_path: Path) -> None:
    world = World().served()
    present = write(tmp_path / "present.yaml", manifest(world))
    result = run("-f", write(tmp_path / "x.yaml", wanted(world, **OTHER)), "--against", present)
    assert result.exit_code == 0
    assert "chat: is updated, config version 2 is new" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "externalModel.name" in line)
    assert row.split() == [
        "spec.config.servedEntities[chat].externalModel.name", "gpt-4", "gpt-5", "roll-out",
    ]  # fmt: skip
    assert "• calls go on: version 1 serves until version 2 is ready" in result.stdout


def test_the_history_in_the_file_counts(tmp_path: Path) -> None:
    world = World().served()
    world.edit(**OTHER)
    world.look()
    world.look()
    world.fail()
    items = [manifest(world), *(controller_revision(world, revision) for revision in world.history)]
    present = write(tmp_path / "present.yaml", {"apiVersion": "v1", "kind": "List", "items": items})
    back = told("-f", write(tmp_path / "x.yaml", wanted(World())), "--against", present)
    assert (back["config_version"], back["new_config_version"]) == (1, False)
    assert back["effects"][0].startswith("version 1 serves on: version 2 is taken back")


def test_a_locked_config_is_refused(tmp_path: Path) -> None:
    world = World().served()
    world.edit(**OTHER)
    world.look()
    present = write(tmp_path / "present.yaml", manifest(world))
    locked = told("-f", write(tmp_path / "x.yaml", wanted(World())), "--against", present)
    (refusal,) = locked["refused"]
    assert refusal["field"] == "spec.config"
    assert "an update is in progress" in refusal["message"]


def test_a_name_that_another_object_has_is_refused(tmp_path: Path) -> None:
    world = World().served()
    world.spec["endpointName"] = "taken"
    present = write(tmp_path / "present.yaml", manifest(world))
    other = wanted(World())
    other["metadata"]["name"] = "taken"
    (refusal,) = told("-f", write(tmp_path / "x.yaml", other), "--against", present)["refused"]
    assert refusal["field"] == "spec.endpointName"
    assert "the object chat has that name" in refusal["message"]


def test_of_two_namespaces_one_has_to_be_named(tmp_path: Path) -> None:
    one, other = manifest(World().served()), manifest(World().served())
    other["metadata"] = {**other["metadata"], "namespace": "other", "uid": "1"}
    present = write(tmp_path / "present.yaml", {"kind": "List", "items": [one, other]})
    bare = wanted(World())
    del bare["metadata"]["namespace"]
    file = write(tmp_path / "x.yaml", bare)
    result = run("-f", file, "--against", present)
    assert result.exit_code == 2
    assert "several namespaces (gen-ai, other)" in result.stderr
    assert told("-f", file, "--against", present, "-n", "other")["action"] == "nothing"


# REST


def test_a_create_body_is_told_in_rest_spelling(tmp_path: Path) -> None:
    plan = told("-f", write(tmp_path / "create.json", CREATE))
    assert (plan["endpoint"], plan["action"], plan["config_version"]) == ("openai_endpoint", "create", 1)
    assert [change["field"] for change in plan["changes"]] == ["name", "config", "rate_limits", "tags"]
    entity = plan["changes"][1]["after"]["served_entities"][0]["external_model"]
    assert entity["openai_config"]["openai_api_key"] == "{{secrets/my_scope/my_openai_api_key}}"
    assert not any("nobody may call" in effect for effect in plan["effects"]), "the creator may"


def test_a_config_body_changes_the_config_alone(tmp_path: Path) -> None:
    body = write(tmp_path / "config.json", config_body(name="gpt-4o", task="llm/v1/chat"))
    plan = told("-f", body, "--endpoint", "openai_endpoint", "--against", SAMPLE)
    changed = {change["field"]: change["after"] for change in plan["changes"]}
    model = "config.served_entities[openai_embeddings].external_model"
    assert changed == {f"{model}.name": "gpt-4o", f"{model}.task": "llm/v1/chat"}


def test_a_config_body_may_name_its_endpoint_itself(tmp_path: Path) -> None:
    body = write(tmp_path / "config.json", {"name": "openai_endpoint", **config_body(name="gpt-4o")})
    plan = told("-f", body, "--against", SAMPLE)
    assert [change["after"] for change in plan["changes"]] == ["gpt-4o"]


def test_the_same_config_is_nothing(tmp_path: Path) -> None:
    body = write(tmp_path / "config.json", CREATE["config"])
    assert told("-f", body, "--endpoint", "openai_endpoint", "--against", SAMPLE)["action"] == "nothing"


BODIES: dict[str, tuple[dict[str, Any], list[object], str]] = {
    "a name that is taken": (CREATE, ["--against", SAMPLE], "exists already"),
    "a config of nobody": (CREATE["config"], ["--endpoint", "chat", "--against", SAMPLE], "there is no endpoint chat"),
    "a config whose endpoint nobody names": (CREATE["config"], [], "say with --endpoint which"),
    "a body without name": ({"config": CREATE["config"]}, [], "name: is required"),
    "two models": (
        {"served_entities": [*CREATE["config"]["served_entities"], {"name": "b", "entity_name": "x"}]},
        ["--endpoint", "openai_endpoint", "--against", SAMPLE],
        "config",
    ),
    "a host that may not be called": (
        {**CREATE, "config": config_body(openai_config={
            "openai_api_key": "{{secrets/a/b}}", "openai_api_base": "http://10.0.0.1/v1"
        })},
        [], "openai_api_base",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_refused(tmp_path: Path, case: str) -> None:
    body, options, expected = BODIES[case]
    file = write(tmp_path / "body.json", body)
    result = run("-f", file, *options)
    assert result.exit_code == 1, result.output
    refused = " ".join(result.stdout.split("refused:")[1].split())
    assert expected in refused
    assert "servedEntities" not in result.stdout


def test_a_key_in_plain_text_is_never_shown(tmp_path: Path) -> None:
    body = write(tmp_path / "config.json", config_body(openai_config={"openai_api_key_plaintext": VALUE}))
    for extra in ([], ["--output", "json"]):
        result = run("-f", body, "--endpoint", "openai_endpoint", "--against", SAMPLE, *extra)
        assert result.exit_code == 0, result.output
        assert VALUE not in result.output
        assert "of the Secret" not in result.output


# A run


def test_against_the_state_of_a_run(tmp_path: Path) -> None:
    world = World().served()
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    store = open_store(folder.database)
    store.apply(world.endpoint, "x.yaml", NOW)
    made = store.find(world.endpoint.key)
    assert made is not None
    store.write_outcome(Record(made.endpoint, (), "x.yaml"), world.history, world.status)
    store.close()
    changed = wanted(world, **OTHER, proxy={"replicas": 2})
    plan = told("-f", write(tmp_path / "x.yaml", changed), "--state", folder.root)
    assert (plan["config_version"], plan["new_config_version"]) == (2, True)
    assert {c["field"]: c["kind"] for c in plan["changes"]}["spec.proxy.replicas"] == "none"


# A cluster

ENDPOINTS = "/apis/model-serving.dev/v1alpha1/namespaces/gen-ai/servingendpoints"
REVISIONS = "/apis/apps/v1/namespaces/gen-ai/controllerrevisions"


def kubeconfig(path: Path, connection: Connection) -> Path:
    return write(
        path / "kubeconfig.yaml",
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "gen-ai"}}],
            "clusters": [{"name": "c", "cluster": {"server": connection.server}}],
            "users": [{"name": "u", "user": {"token": "a-token"}}],
        },
    )


async def ask(api: FakeKubeApi, path: Path, *arguments: object) -> Result:
    """Runs the command with a kubeconfig that leads to `api`."""
    environ = {"KUBECONFIG": str(kubeconfig(path, api.connection))}
    words = ["plan", *map(str, arguments)]
    return await asyncio.to_thread(CliRunner().invoke, main, words, env=environ)


def store_world(api: FakeKubeApi, world: World) -> None:
    api.put(ENDPOINTS, manifest(world))
    for revision in world.history:
        api.put(REVISIONS, controller_revision(world, revision))


async def test_a_cluster_tells_the_present_and_judges_a_dry_run(tmp_path: Path) -> None:
    world = World().served()
    async with FakeKubeApi() as api:
        store_world(api, world)
        before = json.dumps(api.get(ENDPOINTS, "chat"))
        file = write(tmp_path / "x.yaml", wanted(world, **OTHER, **LIMITED))
        result = await ask(api, tmp_path, "-f", file, "--output", "json", "--exit-code")
        (sent,) = [request for request in api.requests if request[0] != "GET"]
        assert json.dumps(api.get(ENDPOINTS, "chat")) == before
    assert result.exit_code == 3, result.output
    (plan,) = json.loads(result.stdout)["endpoints"]
    assert (plan["config_version"], plan["new_config_version"], plan["refused"]) == (2, True, [])
    method, path, query, body = sent
    assert (method, path) == ("PUT", f"{ENDPOINTS}/chat")
    assert query == {"fieldManager": "model-serving-plan", "dryRun": "All"}
    assert json.loads(body)["spec"]["rateLimits"][0]["calls"] == 5


async def test_a_new_endpoint_is_a_dry_create_in_the_namespace_of_the_kubeconfig(tmp_path: Path) -> None:
    body = write(tmp_path / "create.json", CREATE)
    async with FakeKubeApi() as api:
        result = await ask(api, tmp_path, "-f", body)
        ((method, path, query, sent),) = [request for request in api.requests if request[0] != "GET"]
        assert not api.objects
    assert result.exit_code == 0, result.output
    assert (method, path, query["dryRun"]) == ("POST", ENDPOINTS, "All")
    assert "annotations" not in json.loads(sent)["metadata"], "the creator is the server's to judge"


async def test_what_a_policy_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    world = World().served()
    words = "ValidatingAdmissionPolicy 'x' denied request: alice may not read the Secret my-scope"
    async with FakeKubeApi() as api:
        store_world(api, world)
        file = write(tmp_path / "x.yaml", wanted(world, **OTHER))
        denial = {"kind": "Status", "reason": "Forbidden", "message": words}
        api.failures = [Failure(403, lambda request: request.method == "PUT", body=denial)]
        result = await ask(api, tmp_path, "-f", file, "--output", "json")
    assert result.exit_code == 1
    (plan,) = json.loads(result.stdout)["endpoints"]
    assert plan["refused"] == [{"field": "", "message": f"the API server refuses it: {words}"}]


async def test_nothing_to_change_asks_for_no_dry_run_and_no_right_on_the_history(tmp_path: Path) -> None:
    world = World().served()
    async with FakeKubeApi() as api:
        store_world(api, world)
        api.failures = [Failure(403, lambda request: "controllerrevisions" in request.path)]
        result = await ask(api, tmp_path, "-f", write(tmp_path / "x.yaml", wanted(world)))
        assert api.writes() == []
    assert result.exit_code == 0
    assert "chat: nothing changes" in result.stdout


async def test_a_config_body_finds_its_endpoint_by_the_name_of_clients(tmp_path: Path) -> None:
    world = World().served()
    world.spec["endpointName"] = "Chat_It"
    async with FakeKubeApi() as api:
        store_world(api, world)
        body = write(tmp_path / "config.json", config_body(name="gpt-5", task="llm/v1/chat"))
        result = await ask(api, tmp_path, "-f", body, "--endpoint", "Chat_It", "--output", "json")
    assert result.exit_code == 0, result.output
    (plan,) = json.loads(result.stdout)["endpoints"]
    assert plan["endpoint"] == "Chat_It"
    assert plan["changes"][0]["field"].startswith("config.served_entities[")


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_cluster_that_does_not_answer_is_no_plan(tmp_path: Path, status: int) -> None:
    async with FakeKubeApi() as api:
        api.failures = [Failure(status, lambda request: request.method == "POST", times=9)]
        result = await ask(api, tmp_path, "-f", SAMPLE)
    assert result.exit_code == 2, result.output
    assert "a dry run of openai_endpoint in namespace gen-ai" in result.stderr
    assert "Traceback" not in result.output


def test_a_kubeconfig_that_leads_nowhere_is_no_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    result = run("-f", SAMPLE)
    assert result.exit_code == 2
    assert "--offline" in result.stderr
