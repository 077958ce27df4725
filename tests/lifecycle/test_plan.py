"""What a plan says: versions as the operator will number them, what rolls, what is live, what callers notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import (
    CANCEL_ANNOTATION,
    CREATOR_ANNOTATION,
    OVERRIDE_ANNOTATION,
    RELOAD_ANNOTATION,
    RETRY_ANNOTATION,
)
from model_serving.lifecycle.difference import differences
from model_serving.lifecycle.plan import Action, Kind, Plan, Present, plan
from tests.lifecycle.world import World, config


def planned(world: World, *, annotations: dict[str, str] | None = None, pods: bool = True, **spec: Any) -> Plan:
    """The plan for writing `spec` (over the present one) as YAML with these annotations."""
    wanted = ServingEndpoint.model_validate(
        {
            "metadata": {"name": "chat", "namespace": "gen-ai", "annotations": annotations or {}},
            "spec": {**world.spec, **spec},
        }
    )
    return plan(Present(world.endpoint, world.history), wanted, "public", pods=pods)


def kinds(result: Plan) -> dict[str, str]:
    return {change.field: str(change.kind) for change in result.changes}


def served(**spec: Any) -> World:
    world = World()
    world.spec |= spec
    return world.served()


def updating() -> World:
    """Version 1 serves, version 2 is being rolled out."""
    world = served()
    world.edit(config=config("gpt-5"))
    world.look()
    return world


def failed() -> World:
    """Version 1 serves, version 2 has failed."""
    world = updating()
    world.look()
    world.fail()
    return world


# Versions


def test_a_new_endpoint_is_version_1() -> None:
    wanted = World().endpoint
    result = plan(None, wanted, "public")
    assert (result.action, result.version, result.new_version, result.refusals) == (Action.CREATE, 1, True, ())
    assert kinds(result) == {"spec.config": "rollout"}
    assert result.effects[0] == "calls are answered as soon as config version 1 is ready"
    assert "the key openai of the Secret my-scope" in result.effects[1]


def test_the_same_again_is_nothing() -> None:
    result = planned(served())
    assert (result.action, result.version, result.new_version) == (Action.NOTHING, 1, False)
    assert (result.changes, result.effects, result.refusals) == ((), (), ())
    assert not result.changes_anything


VERSIONS: dict[str, tuple[Callable[[], World], dict[str, Any], tuple[int, bool], str]] = {
    "another model": (
        served, {"config": config("gpt-5")}, (2, True),
        "calls go on: version 1 serves until version 2 is ready",
    ),
    "back to what serves, from a failed version": (
        failed, {"config": config()}, (1, False),
        "version 1 serves on: version 2 is taken back, no new version is made",
    ),
    "on from a failed version": (
        failed, {"config": config("gpt-6")}, (3, True),
        "calls go on: version 1 serves until version 3 is ready",
    ),
    "a version that was never ready": (
        World, {"config": config("gpt-5")}, (1, True),
        "no version serves yet: calls are answered as soon as version 1 is ready",
    ),
    "other proxies": (
        served, {"proxy": {"priorityClassName": "high"}}, (1, False),
        "calls go on: the proxies of version 1 are replaced one after the other",
    ),
    "more proxies": (
        served, {"proxy": {"replicas": 3}}, (1, False),
        "3 instead of 1 proxies: calls under way are finished, nothing is rolled out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", VERSIONS)
def test_which_version_is_asked_for(case: str) -> None:
    make, spec, expected, told = VERSIONS[case]
    world = make()
    result = planned(world, **spec)
    assert (result.version, result.new_version) == expected
    assert result.effects[0] == told


@pytest.mark.parametrize(
    "case", ["another model", "back to what serves, from a failed version", "on from a failed version"]
)
def test_the_version_is_the_one_that_comes_about(case: str) -> None:
    make, spec, _, _ = VERSIONS[case]
    world = make()
    foretold = planned(world, **spec).version
    world.edit(**spec)
    world.look()
    world.look()
    world.succeed()
    assert world.status.config_version == foretold


def test_without_a_history_the_status_counts() -> None:
    world = served()
    bare = Present(world.endpoint)
    wanted = world.endpoint.model_copy(update={"spec": planned_spec(world, config=config("gpt-5"))})
    assert (plan(bare, world.endpoint, "public").version, plan(bare, wanted, "public").version) == (1, 2)
    assert plan(bare, wanted, "public").effects[0] == "calls go on: version 1 serves until version 2 is ready"


def test_a_file_that_somebody_wrote_knows_no_numbers() -> None:
    before = ServingEndpoint.model_validate({"metadata": {"name": "chat"}, "spec": served().spec})
    after = before.model_copy(update={"spec": planned_spec(served(), config=config("gpt-5"))})
    result = plan(Present(before), after, "public")
    assert (result.version, result.new_version) == (0, True)
    assert result.effects[0] == "calls go on: the present version serves until the new one is ready"


def planned_spec(world: World, **spec: Any) -> Any:
    return ServingEndpoint.model_validate({"metadata": {"name": "chat"}, "spec": {**world.spec, **spec}}).spec


def test_a_retry_rolls_and_a_retry_of_nothing_does_not() -> None:
    field = f"metadata.annotations[{RETRY_ANNOTATION}]"
    result = planned(failed(), annotations={RETRY_ANNOTATION: "again"})
    assert (result.version, result.new_version, kinds(result)) == (2, False, {field: "rollout"})
    assert result.effects == ("calls go on: version 1 serves until version 2 is ready again",)
    result = planned(served(), annotations={RETRY_ANNOTATION: "again"})
    assert (kinds(result), result.effects) == ({field: "none"}, ())


def test_a_cancel_takes_back_what_is_pending_of_that_generation() -> None:
    world = updating()
    result = planned(world, annotations={CANCEL_ANNOTATION: str(world.generation)})
    assert kinds(result) == {f"metadata.annotations[{CANCEL_ANNOTATION}]": "rollout"}
    assert result.effects == ("version 1 serves on: version 2 is cancelled",)
    assert planned(world, annotations={CANCEL_ANNOTATION: "1"}).effects == ()


# Fields

LIMIT = {"calls": 100, "key": "user", "renewalPeriod": "minute"}
GROUP = {"kind": "Group", "name": "ds", "permissionLevel": "CAN_QUERY"}

FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "a model's name": (
        {}, {"config": config("gpt-5")}, {"spec.config.servedEntities[chat].externalModel.name": "rollout"}
    ),
    "an entity's name": (
        {}, {"config": config(name="other")},
        {"spec.config.servedEntities[chat]": "rollout", "spec.config.servedEntities[other]": "rollout"},
    ),
    "a limit": (
        {"rateLimits": [LIMIT]}, {"rateLimits": [LIMIT | {"calls": 5}]}, {"spec.rateLimits[user].calls": "live"}
    ),
    "a limit of the gateway": ({}, {"aiGateway": {"rateLimits": [LIMIT]}}, {"spec.aiGateway.rateLimits[user]": "live"}),
    "one of two limits for one key": (
        {"rateLimits": [LIMIT, {"tokens": 9, "key": "user"}]}, {"rateLimits": [LIMIT]}, {"spec.rateLimits": "live"}
    ),
    "access": ({"access": []}, {"access": [GROUP]}, {"spec.access[Group ds]": "live"}),
    "a level": (
        {"access": [GROUP]}, {"access": [GROUP | {"permissionLevel": "CAN_VIEW"}]},
        {"spec.access[Group ds].permissionLevel": "live"},
    ),
    "access, in another order": (
        {"access": [GROUP, GROUP | {"name": "b"}]}, {"access": [GROUP | {"name": "b"}, GROUP]}, {}
    ),
    "a tag": (
        {"tags": [{"key": "team", "value": "a"}]}, {"tags": [{"key": "team", "value": "b"}]},
        {"spec.tags[team].value": "none"},
    ),
    "a description": ({}, {"description": "for tests"}, {"spec.description": "none"}),
    "nodes": ({}, {"proxy": {"nodeSelector": {"a": "b"}}}, {"spec.proxy.nodeSelector": "rollout"}),
    "replicas": ({}, {"proxy": {"replicas": 2}}, {"spec.proxy.replicas": "live"}),
    "replicas that are left open": ({"proxy": {"replicas": 2}}, {"proxy": {}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", FIELDS)
def test_each_field_says_what_it_sets_in_motion(case: str) -> None:
    before, after, expected = FIELDS[case]
    assert kinds(planned(served(**before), **after)) == expected


def test_on_one_machine_there_are_no_pods_to_shape() -> None:
    result = planned(served(), pods=False, proxy={"replicas": 3, "tls": {"secretName": "x"}})
    assert set(kinds(result).values()) == {"none"}
    assert result.effects == ()


def test_annotations_of_others_stay_and_reload_is_live() -> None:
    world = served()
    world.annotations = {"somebody/else": "x"}
    result = planned(world, annotations={RELOAD_ANNOTATION: "1"})
    assert kinds(result) == {f"metadata.annotations[{RELOAD_ANNOTATION}]": "live"}


def test_values_stand_beside_the_field() -> None:
    (change,) = planned(served(), config=config("gpt-5")).changes
    assert (change.before, change.after, change.kind) == ("gpt-4", "gpt-5", Kind.ROLLOUT)


def test_what_cannot_be_named_is_compared_whole() -> None:
    assert list(differences({"rateLimits": "x"}, {"rateLimits": []})) == [("rateLimits", "x", [])]
    assert list(differences({"tags": None}, {"tags": [{"key": "a"}]})) == [("tags[a]", None, {"key": "a"})]


# Callers

BOB = {"kind": "User", "name": "bob", "permissionLevel": "CAN_MANAGE"}
ROBOT = {"kind": "ServiceAccount", "name": "robot", "permissionLevel": "CAN_QUERY"}

EFFECTS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "access that is taken away": (
        {"access": [GROUP, ROBOT]}, {"access": [GROUP]},
        ["system:serviceaccount:gen-ai:robot loses CAN_QUERY: calls will end with 403, unless another entry gives it"],
    ),
    "access below querying": (
        {"access": [GROUP, BOB]}, {"access": [GROUP, BOB | {"permissionLevel": "CAN_VIEW"}]},
        ["bob has CAN_VIEW instead of CAN_MANAGE: calls will end with 403, unless another entry gives it"],
    ),
    "access that still queries": (
        {"access": [BOB]}, {"access": [BOB | {"permissionLevel": "CAN_QUERY"}]},
        ["bob has CAN_QUERY instead of CAN_MANAGE"],
    ),
    "access that is given": ({"access": [BOB]}, {"access": [BOB, GROUP]}, ["group ds gets CAN_QUERY"]),
    "all access taken away": (
        {"access": [GROUP | {"permissionLevel": "CAN_VIEW"}, BOB]}, {"access": []},
        [
            "group ds loses CAN_VIEW: may no longer see the endpoint, unless another entry gives it",
            "bob loses CAN_MANAGE: calls will end with 403, unless another entry gives it",
            "nobody may call the endpoint: neither a creator nor spec.access gives CAN_QUERY",
        ],
    ),
    "a limit lowered": (
        {"access": [GROUP], "rateLimits": [LIMIT]}, {"rateLimits": [LIMIT | {"calls": 5}]},
        ["calls of each user are limited to 5 instead of 100 per minute at once: more end with 429"],
    ),
    "a limit raised": (
        {"access": [GROUP], "rateLimits": [LIMIT]}, {"rateLimits": [LIMIT | {"calls": 500}]},
        ["calls of each user are limited to 500 instead of 100 per minute at once"],
    ),
    "a limit more": (
        {"access": [GROUP]}, {"aiGateway": {"rateLimits": [{"tokens": 7, "key": "user_group", "principal": "ds"}]}},
        ["tokens of group ds together are limited to 7 per minute at once: more end with 429"],
    ),
    "a limit less": (
        {"access": [GROUP], "rateLimits": [{"calls": 9}]}, {"rateLimits": []},
        ["calls of all callers together are no longer limited (until now 9 per minute)"],
    ),
    "another task and another name": (
        {"access": [GROUP]}, {"config": config("text-embedding", "llm/v1/embeddings", "embed")},
        [
            "calls go on: version 1 serves until version 2 is ready",
            "calls to /serving-endpoints/chat/served-models/chat/invocations will end with 404: "
            "the entity chat is gone",
            "callers have to send other requests: the task changes from llm/v1/chat to llm/v1/embeddings",
        ],
    ),
    "TLS": (
        {"access": [GROUP]}, {"proxy": {"tls": {"secretName": "cert"}}},
        [
            "calls go on: the proxies of version 1 are replaced one after the other",
            "the endpoint's Service changes to https:// on port 443",
        ],
    ),
    "limits that cannot be shared out": (
        {"access": [GROUP], "rateLimits": [{"calls": 2}]}, {"proxy": {"replicas": 3}},
        [
            "3 instead of 1 proxies: calls under way are finished, nothing is rolled out",
            "without a common store for limits the endpoint would be InvalidSpec: spec.rateLimits: a limit of 2 "
            "per minute cannot be shared among 3 replicas: raise it to at least 3, or lower proxy.replicas",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EFFECTS)
def test_what_callers_notice(case: str) -> None:
    before, after, expected = EFFECTS[case]
    assert list(planned(served(**before), **after).effects) == expected


def test_the_creator_loses_nothing() -> None:
    world = served(access=[BOB])
    world.annotations = {CREATOR_ANNOTATION: "bob"}
    assert planned(world, access=[]).effects == ()


def test_another_secret_is_named() -> None:
    other = config()
    other["servedEntities"][0]["externalModel"]["openaiConfig"]["openaiApiKeySecretRef"] = {"name": "s", "key": "k"}
    result = planned(served(access=[GROUP]), config=other)
    assert result.effects[1] == "the new version needs the key k of the Secret s, and does not serve without it"


# Refused

REFUSED: dict[str, tuple[Callable[[], World], dict[str, Any], str]] = {
    "a config while an update runs": (updating, {"config": config("gpt-6")}, "spec.config"),
    "another name": (served, {"endpointName": "other"}, "spec.endpointName"),
    "a host that may not be called": (
        served,
        {"config": {"servedEntities": [{"name": "chat", "externalModel": {
            "name": "m", "provider": "custom", "task": "llm/v1/chat",
            "customProviderConfig": {
                "customProviderUrl": "http://llm.internal/v1",
                "bearerTokenAuth": {"tokenSecretRef": {"name": "s", "key": "k"}},
            },
        }}]}},
        "customProviderUrl",
    ),
    "what is not supported yet": (
        served, {"proxy": {"autoscaling": {"maxReplicas": 3}}}, "spec.proxy.autoscaling"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_refused(case: str) -> None:
    make, spec, field = REFUSED[case]
    refusals = planned(make(), **spec).refusals
    assert any(field in problem.field for problem in refusals), refusals


def test_the_lock_leaves_limits_alone_and_can_be_overridden() -> None:
    world = updating()
    assert planned(world, rateLimits=[LIMIT]).refusals == ()
    override = {OVERRIDE_ANNOTATION: str(world.generation)}
    result = planned(world, annotations=override, config=config("gpt-6"))
    assert (result.refusals, result.version) == ((), 3)


def test_a_new_endpoint_is_judged_too() -> None:
    wanted = ServingEndpoint.model_validate({"metadata": {"name": "databricks-chat"}, "spec": World().spec})
    assert [problem.field for problem in plan(None, wanted, "public").refusals] == ["metadata.name"]
