"""What REST tells of an endpoint in every situation of its updates: a row per situation, with a real life cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from model_serving.api.names import CANCEL_ANNOTATION, RETRY_ANNOTATION
from model_serving.lifecycle.observed import Finding
from model_serving.management.convert.history import history_body, version_config
from model_serving.management.convert.rest import endpoint_body
from model_serving.stores import Stored
from tests.management.convert.bodies import CREATE, OPENAI_CHAT, UPDATE, create
from tests.management.convert.factory import CREATED_MS, created, looked, respecified, served, updated

THIRD = {"served_entities": [{"name": "third", "external_model": OPENAI_CHAT}]}


def fresh() -> Stored:
    return created(CREATE)


def first() -> Stored:
    return served(fresh())


def annotated(stored: Stored, name: str, value: str) -> Stored:
    meta = stored.endpoint.metadata
    meta = meta.model_copy(update={"annotations": {**meta.annotations, name: value}})
    return replace(stored, endpoint=stored.endpoint.model_copy(update={"metadata": meta}))


def edited(stored: Stored, **parts: Any) -> Stored:
    """A change of policy: another generation, the same config."""
    return respecified(stored, {**stored.endpoint.spec.written(), **parts}, 200)


def tagged(stored: Stored) -> Stored:
    return edited(stored, tags=[{"key": "a", "value": "b"}])


def asked() -> Stored:
    return updated(first(), UPDATE)


def under_way() -> Stored:
    return looked(asked(), 61)


def failed() -> Stored:
    return looked(under_way(), 300, late=True)


def cancelled() -> Stored:
    pending = under_way()
    return looked(annotated(pending, CANCEL_ANNOTATION, str(pending.endpoint.metadata.generation)), 90)


def retried() -> Stored:
    return annotated(failed(), RETRY_ANNOTATION, "again")


def begun_again() -> Stored:
    """The operator has noted the new attempt in the history, the status is not written yet."""
    before = retried()
    return replace(before, history=looked(before, 400).history)


def history_first() -> Stored:
    """The operator has noted the new version in the history, the status is not written yet."""
    return replace(asked(), history=under_way().history)


def status_first() -> Stored:
    """The status was read after the history: it speaks of a version that the history does not hold."""
    done = served(asked(), 61)
    return replace(done, history=first().history)


def problem(stored: Stored) -> Stored:
    return looked(stored, 400, problems=(Finding("InvalidSpec", "spec.rateLimits: too small"),))


def first_failed() -> Stored:
    return looked(looked(fresh(), 1), 300, late=True)


def lost() -> Stored:
    """The history of a serving endpoint is gone."""
    return replace(first(), history=())


ROWS: list[tuple[str, Callable[[], Stored], str, str, str | None, str | None]] = [
    # situation, made by, ready, update, entity of config, entity of pending_config
    ("just created", fresh, "NOT_READY", "IN_PROGRESS", None, "openai_embeddings 1 CREATING"),
    ("just created, then tagged", lambda: tagged(fresh()), "NOT_READY", "IN_PROGRESS", None,
     "openai_embeddings 1 CREATING"),
    ("first version starts", lambda: looked(fresh(), 1), "NOT_READY", "IN_PROGRESS", None,
     "openai_embeddings 1 CREATING"),
    ("first version starts, tagged", lambda: tagged(looked(fresh(), 1)), "NOT_READY", "IN_PROGRESS", None,
     "openai_embeddings 1 CREATING"),
    ("first version starts, config corrected", lambda: updated(looked(fresh(), 1), UPDATE), "NOT_READY", "IN_PROGRESS",
     None, "openai_chat 2 CREATING"),
    ("first version failed", first_failed, "NOT_READY", "UPDATE_FAILED", None, "openai_embeddings 1 FAILED"),
    ("first version failed, config corrected", lambda: updated(first_failed(), UPDATE), "NOT_READY", "IN_PROGRESS",
     None, "openai_chat 2 CREATING"),
    ("first version lacks a Secret", lambda: looked(looked(fresh(), 1), 20, lacking=True), "NOT_READY", "IN_PROGRESS",
     None, "openai_embeddings 1 CREATING"),
    ("first version lacks a Secret for long", lambda: looked(looked(fresh(), 1), 200, lacking=True), "NOT_READY",
     "UPDATE_FAILED", None, "openai_embeddings 1 FAILED"),
    ("first version refused", lambda: problem(fresh()), "NOT_READY", "UPDATE_FAILED", None,
     "openai_embeddings 1 FAILED"),
    ("serves", first, "READY", "NOT_UPDATING", "openai_embeddings 1 READY", None),
    ("serves, tagged", lambda: tagged(first()), "READY", "NOT_UPDATING", "openai_embeddings 1 READY", None),
    ("serves, same config again", lambda: updated(first(), CREATE["config"]), "READY", "NOT_UPDATING",
     "openai_embeddings 1 READY", None),
    ("update asked for", asked, "READY", "IN_PROGRESS", "openai_embeddings 1 READY", "openai_chat 2 CREATING"),
    ("update asked for, then tagged", lambda: tagged(asked()), "READY", "IN_PROGRESS", "openai_embeddings 1 READY",
     "openai_chat 2 CREATING"),
    ("update in the history, not in the status", history_first, "READY", "IN_PROGRESS", "openai_embeddings 1 READY",
     "openai_chat 2 CREATING"),
    ("update under way", under_way, "READY", "IN_PROGRESS", "openai_embeddings 1 READY", "openai_chat 2 CREATING"),
    ("update under way, tagged", lambda: tagged(under_way()), "READY", "IN_PROGRESS", "openai_embeddings 1 READY",
     "openai_chat 2 CREATING"),
    ("update under way, superseded", lambda: updated(under_way(), THIRD), "READY", "IN_PROGRESS",
     "openai_embeddings 1 READY", "third 3 CREATING"),
    ("update under way, asked back", lambda: updated(under_way(), CREATE["config"]), "READY", "NOT_UPDATING",
     "openai_embeddings 1 READY", None),
    ("update done", lambda: served(asked(), 61), "READY", "NOT_UPDATING", "openai_chat 2 READY", None),
    ("update done, history read before", status_first, "READY", "NOT_UPDATING", "openai_chat 2 READY", None),
    ("update lacks a Secret", lambda: looked(under_way(), 70, lacking=True), "READY", "IN_PROGRESS",
     "openai_embeddings 1 READY", "openai_chat 2 CREATING"),
    ("update lacks a Secret for long", lambda: looked(under_way(), 300, lacking=True), "READY", "UPDATE_FAILED",
     "openai_embeddings 1 READY", None),
    ("update failed", failed, "READY", "UPDATE_FAILED", "openai_embeddings 1 READY", None),
    ("update failed, tagged", lambda: tagged(failed()), "READY", "UPDATE_FAILED", "openai_embeddings 1 READY", None),
    ("update failed, retried", retried, "READY", "IN_PROGRESS", "openai_embeddings 1 READY", "openai_chat 2 CREATING"),
    ("update failed, retry begun", begun_again, "READY", "IN_PROGRESS", "openai_embeddings 1 READY",
     "openai_chat 2 CREATING"),
    ("update failed, another asked for", lambda: updated(failed(), THIRD), "READY", "IN_PROGRESS",
     "openai_embeddings 1 READY", "third 3 CREATING"),
    ("update failed, asked back", lambda: updated(failed(), CREATE["config"]), "READY", "NOT_UPDATING",
     "openai_embeddings 1 READY", None),
    ("update cancelled", cancelled, "READY", "UPDATE_CANCELED", "openai_embeddings 1 READY", None),
    ("serves, then a limit that cannot be", lambda: problem(edited(first(), rateLimits=[{"calls": 1}])), "NOT_READY",
     "UPDATE_FAILED", "openai_embeddings 1 RECOVERING", None),
    ("serves, history lost", lost, "READY", "NOT_UPDATING", "openai_embeddings 1 READY", None),
]  # fmt: skip


def told(config: dict[str, Any] | None) -> str | None:
    if config is None:
        return None
    (entity,) = config["served_entities"]
    deployment = entity["state"]["deployment"].removeprefix("DEPLOYMENT_")
    return f"{entity['name']} {config['config_version']} {deployment}"


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_rest_tells(row: tuple[str, Callable[[], Stored], str, str, str | None, str | None]) -> None:
    _, make, ready, update, config, pending = row
    body = endpoint_body(make(), "CAN_VIEW")
    assert body["state"] == {"ready": ready, "config_update": update}
    assert (told(body.get("config")), told(body.get("pending_config"))) == (config, pending)
    assert update == "IN_PROGRESS" or pending is None or config is None, "pending only during an update"
    assert update != "NOT_UPDATING" or config is not None, "Terraform breaks without"
    assert body["permission_level"] == "CAN_VIEW"


REASONS: list[tuple[str, Callable[[], Stored], str, str]] = [
    (
        "update failed",
        failed,
        "config",
        "the update to config version 2 failed: ContainerFailing: the proxy does not st",
    ),
    ("update cancelled", cancelled, "config", "the update to config version 2 was cancelled"),
    ("first version failed", first_failed, "pending_config", "did not become ready in time"),
    ("first version refused", lambda: problem(fresh()), "pending_config", "InvalidSpec: rate_limits: too small"),
]


@pytest.mark.parametrize("row", REASONS, ids=[row[0] for row in REASONS])
def test_the_reason_stands_where_get_shows_it(row: tuple[str, Callable[[], Stored], str, str]) -> None:
    _, make, where, words = row
    (entity,) = endpoint_body(make(), "CAN_VIEW")[where]["served_entities"]
    assert words in entity["state"]["deployment_state_message"]


def test_times_are_milliseconds_and_the_start_of_an_update_is_its_request() -> None:
    body = endpoint_body(asked(), "CAN_VIEW")
    assert (body["creation_timestamp"], body["last_updated_timestamp"]) == (CREATED_MS, CREATED_MS + 60_000)
    assert body["pending_config"]["start_time"] == CREATED_MS + 60_000
    assert all(type(body[name]) is int for name in ("creation_timestamp", "last_updated_timestamp"))


def test_the_task_is_that_of_what_serves() -> None:
    assert endpoint_body(asked(), "CAN_VIEW")["task"] == "llm/v1/embeddings"
    assert "capabilities" not in endpoint_body(asked(), "CAN_VIEW")
    done = endpoint_body(served(asked(), 61), "CAN_VIEW")
    assert (done["task"], done["capabilities"]) == ("llm/v1/chat", {"function_calling": True})


def test_the_old_config_is_shown_without_defaults_while_the_new_one_starts() -> None:
    (entity,) = endpoint_body(asked(), "CAN_VIEW")["config"]["served_entities"]
    assert entity["external_model"] == CREATE["config"]["served_entities"][0]["external_model"]


def test_history_and_rollback() -> None:
    stored = served(asked(), 61)
    versions = history_body(stored)["versions"]
    outcomes = [(v["config_version"], v["outcome"], v["serving"]) for v in versions]
    assert outcomes == [(2, "SERVED", True), (1, "SERVED", False)]
    assert versions[1]["started_at"] == CREATED_MS + 1000
    back = version_config(stored, 1)
    assert back == first().endpoint.spec.config.written()
    assert version_config(stored, 7) is None
    again = respecified(stored, {**stored.endpoint.spec.written(), "config": back})
    body = endpoint_body(again, "CAN_VIEW")
    assert (body["state"]["config_update"], told(body["pending_config"])) == (
        "IN_PROGRESS",
        "openai_embeddings 3 CREATING",
    )


def test_a_key_in_plain_text_is_not_in_the_history() -> None:
    block = {"openai_config": {"openai_api_key_plaintext": "sk-secret"}}
    stored = served(created(create(OPENAI_CHAT | block)))
    (version,) = history_body(stored)["versions"]
    (entity,) = version["config"]["served_entities"]
    assert entity["external_model"]["openai_config"] == {}
