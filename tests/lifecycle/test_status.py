"""The situation table of design section 5, row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_serving.lifecycle.observed import Finding
from model_serving.lifecycle.revision import Shape
from model_serving.proxy_config import ProxyStatus
from tests.lifecycle.world import World, config

MISSING = Finding("SecretNotFound", "Secret my-scope does not exist: create it with the key openai")


def just_seen(w: World) -> None:
    w.look()


def first_version_starting(w: World) -> None:
    w.look()
    w.look()


def new_version_starting(w: World) -> None:
    w.served().edit(config=config("gpt-4o"))
    w.look()


def secret_missing_at_first(w: World) -> None:
    w.look()
    w.proxies(updated=1, findings=(MISSING,))
    w.look()


def secret_missing_at_first_after_grace(w: World) -> None:
    secret_missing_at_first(w)
    w.wait(91)
    w.proxies(deadline_exceeded=True)
    w.look()


def secret_missing_in_update(w: World) -> None:
    w.served().edit(config=config("gpt-4o"))
    w.look()
    w.proxies(pods=2, updated=1, findings=(MISSING,))
    w.look()


def secret_missing_in_update_after_grace(w: World) -> None:
    secret_missing_in_update(w)
    w.wait(130)
    w.proxies(deadline_exceeded=True)
    w.look()


def new_version_failed(w: World) -> None:
    new_version_starting(w)
    w.fail()


def first_version_failed(w: World) -> None:
    first_version_starting(w)
    w.fail()


def canceled(w: World) -> None:
    new_version_starting(w)
    w.annotations["model-serving.dev/cancel"] = str(w.generation)
    w.look()


def superseded(w: World) -> None:
    new_version_starting(w)
    w.edit(config=config("gpt-5"))
    w.look()


def image_rolling(w: World) -> None:
    w.served().shape = Shape(image="proxy:2")
    w.look()


def image_failed(w: World) -> None:
    image_rolling(w)
    w.fail("ImagePullFailed", "not found")


def proxies_lost(w: World) -> None:
    w.served().proxies(ready=0, updated_ready=0)
    w.look()


def name_conflict(w: World) -> None:
    w.problems = (Finding("NameConflict", "endpoint older has the name chat"),)
    w.look()


def conflict_while_serving(w: World) -> None:
    w.served()
    name_conflict(w)


def not_supported(w: World) -> None:
    w.edit(proxy={"autoscaling": {"maxReplicas": 3}})
    w.look()


def child_refused(w: World) -> None:
    w.refusal = "exceeded quota: pods"
    w.look()


def child_refused_for_long(w: World) -> None:
    child_refused(w)
    w.wait(121)
    w.look()


def some_proxies_missing(w: World) -> None:
    w.edit(proxy={"replicas": 3})
    w.served().proxies(ready=2, updated_ready=2)
    w.look()


def fine(w: World) -> None:
    w.served()


ROWS: list[tuple[Callable[[World], None], str]] = [
    (just_seen, "Unknown Unknown True - Reconciling NOT_READY/IN_PROGRESS/1:CREATING"),
    (first_version_starting, "False False True - Progressing NOT_READY/IN_PROGRESS/1:CREATING"),
    (new_version_starting, "True False True - RolloutInProgress READY/IN_PROGRESS/1:READY,2:CREATING"),
    (secret_missing_at_first, "False False True - SecretNotFound NOT_READY/IN_PROGRESS/1:CREATING"),
    (secret_missing_at_first_after_grace, "False False - True SecretNotFound NOT_READY/UPDATE_FAILED/1:FAILED"),
    (secret_missing_in_update, "True False True - SecretNotFound READY/IN_PROGRESS/1:READY,2:CREATING"),
    (secret_missing_in_update_after_grace, "True False - True SecretNotFound READY/UPDATE_FAILED/1:READY,2:FAILED"),
    (new_version_failed, "True False - True UpdateFailed READY/UPDATE_FAILED/1:READY,2:FAILED"),
    (first_version_failed, "False False - True ProgressDeadlineExceeded NOT_READY/UPDATE_FAILED/1:FAILED"),
    (canceled, "True False - True UpdateCanceled READY/UPDATE_CANCELED/1:READY,2:ABORTED"),
    (superseded, "True False True - RolloutInProgress READY/IN_PROGRESS/1:READY,2:ABORTED,3:CREATING"),
    (image_rolling, "True True True - RolloutInProgress READY/NOT_UPDATING/1:READY"),
    (image_failed, "True False - True RolloutFailed READY/NOT_UPDATING/1:READY"),
    (proxies_lost, "False False True - Recovering NOT_READY/NOT_UPDATING/1:RECOVERING"),
    (name_conflict, "False False - True NameConflict NOT_READY/UPDATE_FAILED/-"),
    (conflict_while_serving, "True False - True NameConflict READY/UPDATE_FAILED/1:READY"),
    (not_supported, "False False - True NotSupported NOT_READY/UPDATE_FAILED/-"),
    (child_refused, "False False True - ReplicaFailure NOT_READY/IN_PROGRESS/1:CREATING"),
    (child_refused_for_long, "False False - True ReplicaFailure NOT_READY/UPDATE_FAILED/1:FAILED"),
    (some_proxies_missing, "True True - - Ready READY/NOT_UPDATING/1:READY"),
    (fine, "True True - - Ready READY/NOT_UPDATING/1:READY"),
]


@pytest.mark.parametrize(("play", "row"), ROWS, ids=lambda x: x.__name__ if callable(x) else "")
def test_situation(play: Callable[[World], None], row: str) -> None:
    world = World()
    play(world)
    assert world.row == row


def test_messages_name_cause_and_remedy() -> None:
    world = World()
    new_version_failed(world)
    ready = world.condition("Ready")
    assert ready is not None
    assert "exit code 1" in ready.message and "correct spec.config" in ready.message


def test_a_provider_that_its_vendor_has_retired_is_told_with_the_remedy() -> None:
    block = {"palmApiKeySecretRef": {"name": "palm", "key": "api_key"}}
    model = {"name": "chat-bison", "provider": "palm", "task": "llm/v1/chat", "palmConfig": block}
    world = World(spec={"config": {"servedEntities": [{"name": "chat", "externalModel": model}]}})
    world.look()
    stalled = world.condition("Stalled")
    assert world.row == "False False - True NotSupported NOT_READY/UPDATE_FAILED/-"
    assert stalled and "has retired the PaLM API: use google-cloud-vertex-ai" in stalled.message


def test_nothing_changes_when_nothing_happened() -> None:
    world = World().served()
    before = world.status
    world.wait(3600)
    world.look()
    assert world.status == before


def test_transition_time_moves_only_with_the_status() -> None:
    world = World().served()
    first = world.condition("Available")
    world.wait(100)
    world.edit(config=config("gpt-4o"))
    world.look()
    ready, available = world.condition("Ready"), world.condition("Available")
    assert ready and available and first
    assert available.last_transition_time == first.last_transition_time
    assert ready.last_transition_time == "2026-11-22T12:01:40Z"
    assert ready.observed_generation == available.observed_generation == world.generation


def test_ready_says_that_nobody_may_call() -> None:
    world = World().served()
    ready = world.condition("Ready")
    assert ready and "CAN_QUERY" in ready.message
    world.edit(access=[{"kind": "User", "name": "alice", "permissionLevel": "CAN_QUERY"}])
    world.look()
    ready = world.condition("Ready")
    assert ready and "CAN_QUERY" not in ready.message


def test_limits_are_divided_among_replicas_and_it_is_said() -> None:
    world = World()
    world.edit(proxy={"replicas": 3}, rateLimits=[{"calls": 100, "key": "user"}])
    world.served()
    exact = world.condition("LimitsExact")
    assert exact and exact.status == "False" and "33 calls per user" in exact.message


STORE = "valkey://valkey:6379/0"
LOST = "the store cannot be used: refused"


@pytest.mark.parametrize(
    ("problems", "status", "reason", "words"),
    [
        pytest.param(None, "Unknown", "Reconciling", "not been asked", id="proxies were never asked"),
        pytest.param(("", "", ""), "True", "LimitsExact", "count together", id="all proxies reach the store"),
        pytest.param(("", LOST, LOST), "False", "LimitsStoreLost", "2 of 3 proxies count apart", id="some do not"),
        pytest.param((LOST,), "False", "LimitsStoreLost", "33 calls per user, 3 tokens per user_group x", id="shares"),
    ],
)
def test_limits_in_a_common_store_are_as_exact_as_the_proxies_say(
    problems: tuple[str, ...] | None, status: str, reason: str, words: str
) -> None:
    world = World(limits_store=STORE)
    limits = [{"calls": 100, "key": "user"}, {"tokens": 10, "key": "user_group", "principal": "x"}]
    world.edit(proxy={"replicas": 3}, rateLimits=limits)
    world.served()
    if problems is not None:
        world.says = tuple(ProxyStatus("chat", "r", 1, True, limits_problem=problem) for problem in problems)
        world.look()
    exact = world.condition("LimitsExact")
    assert exact and (exact.status, exact.reason) == (status, reason) and words in exact.message
    world.says = None
    world.look()
    assert world.condition("LimitsExact") == exact, "who does not look does not change the word"


def test_with_a_store_a_limit_may_be_smaller_than_the_replicas() -> None:
    world = World(limits_store=STORE)
    world.edit(proxy={"replicas": 3}, rateLimits=[{"calls": 2}])
    assert world.look().policy is not None


def test_a_limit_smaller_than_the_replicas_is_refused_with_the_remedy() -> None:
    world = World()
    world.edit(proxy={"replicas": 3}, rateLimits=[{"calls": 2}])
    world.look()
    ready = world.condition("Ready")
    assert ready and ready.reason == "InvalidSpec" and "at least 3" in ready.message


def test_grace_of_a_secret_asks_to_look_again() -> None:
    world = World()
    world.look()
    world.proxies(updated=1, findings=(MISSING,))
    again = world.look().look_again
    assert again is not None and 89 < again < 91
