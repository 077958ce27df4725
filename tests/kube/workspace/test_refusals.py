"""What an API server refuses, in the words of a workspace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model_serving.api.problems import Problem
from model_serving.kube.errors import error_of
from model_serving.kube.workspace.refusals import Deed, store_error
from model_serving.stores import Away, Changed, Denied, Locked, Refused, StoreError, Taken, Unknown

DEED = Deed("alice", "update", "the serving endpoint chat", "servingendpoints", "gen-ai", "its owner for CAN_MANAGE")
POLICY = "ValidatingAdmissionPolicy '{0}' with binding '{0}' denied request: {1}"
FORBIDDEN = 'servingendpoints.model-serving.dev "chat" is forbidden: '


def told(status: int, message: str = "", reason: str = "", *causes: tuple[str, str]) -> StoreError:
    listed = [{"reason": "FieldValueInvalid", "field": field, "message": text} for field, text in causes]
    body = {"message": message, "reason": reason, "details": {"causes": listed}}
    return store_error(error_of("PUT /apis/…/chat", status, json.dumps(body).encode()), DEED)


KINDS = [
    pytest.param((404, "not found", "NotFound"), Unknown, id="gone"),
    pytest.param((409, "already exists", "AlreadyExists"), Taken, id="the name is taken"),
    pytest.param((409, "the object has been modified", "Conflict"), Changed, id="somebody was first"),
    pytest.param((401, "Unauthorized", "Unauthorized"), Denied, id="the token has expired"),
    pytest.param((403, FORBIDDEN + POLICY.format("model-serving-config-lock", "x")), Locked, id="the config's lock"),
    pytest.param((403, FORBIDDEN + POLICY.format("model-serving-hosts", "x")), Refused, id="another policy"),
    pytest.param((403, FORBIDDEN + 'User "alice" cannot update resource "x"'), Denied, id="RBAC"),
    pytest.param((403, FORBIDDEN + "exceeded quota: full"), Refused, id="a quota"),
    pytest.param(
        (403, 'roles "x" is forbidden: user "a" is attempting to grant RBAC permissions not currently held:\n{}'),
        Denied,
        id="rights that somebody does not have to give",
    ),
    pytest.param((403, 'admission webhook "w.example" denied the request: no'), Refused, id="a foreign webhook"),
    pytest.param((422, "is invalid", "Invalid"), Refused, id="content"),
    pytest.param((429, "slow down", "TooManyRequests"), Away, id="too many requests"),
    pytest.param((503, "apiserver is away"), Away, id="no answer"),
]


@pytest.mark.parametrize(("answer", "expected"), KINDS)
def test_each_answer_has_its_kind(answer: tuple[Any, ...], expected: type[StoreError]) -> None:
    error = told(*answer)
    assert type(error) is expected
    assert "PUT /apis" not in error.message, "paths are not for people"


def test_a_missing_right_is_told_with_both_remedies() -> None:
    message = told(403, FORBIDDEN + 'User "alice" cannot update resource "servingendpoints"').message
    assert message == (
        "alice may not update the serving endpoint chat in namespace gen-ai: ask an admin of the namespace for the "
        "right to update servingendpoints, or its owner for CAN_MANAGE"
    )


def test_a_policy_is_told_by_its_message_and_field() -> None:
    error = told(403, FORBIDDEN + POLICY.format("model-serving-hosts", "spec.config.x[0].y: host h: never called"))
    assert isinstance(error, Refused)
    assert error.message == "spec.config.x[0].y: host h: never called"
    assert error.problems == (Problem("spec.config.x[0].y", "host h: never called"),)


def test_a_lock_is_told_by_its_message() -> None:
    text = "spec.config: an update is in progress (generation 3): wait until it ends"
    assert told(403, FORBIDDEN + POLICY.format("model-serving-config-lock", text)).message == text


FIELDS = [
    pytest.param('Invalid value: "sk-canary": must be shorter', "must be shorter", id="a text"),
    pytest.param('Invalid value: {"a":{"b":"sk-canary"}}: is wrong', "is wrong", id="an object"),
    pytest.param("Invalid value: 0: spec.f in body should have 1 items", "should have 1 items", id="a number"),
    pytest.param("Invalid value: sk-canary: is wrong", "is not valid: see its rules in the reference", id="no JSON"),
    pytest.param(
        'Unsupported value: "sk-canary": supported values: "a"', 'supported values: "a"', id="not on the list"
    ),
    pytest.param('Duplicate value: {"key":"sk-canary"}', "stands in the list twice: remove one", id="twice"),
    pytest.param("Required value", "is required", id="missing"),
    pytest.param("Forbidden: endpointName is immutable", "endpointName is immutable", id="a transition"),
    pytest.param("Too long: may not be more than 63 bytes", "may not be more than 63 bytes", id="too long"),
]


@pytest.mark.parametrize(("text", "expected"), FIELDS)
def test_a_field_is_told_without_its_value(text: str, expected: str) -> None:
    error = told(
        422, f"is invalid: spec.f: {text}", "Invalid", ("spec.f", text), ("<nil>", "Invalid value: null: more")
    )
    assert isinstance(error, Refused)
    assert error.problems == (Problem("spec.f", expected),)
    assert error.message == f"spec.f: {expected}"


@pytest.mark.parametrize("status", [401, 404, 409, 422, 429, 500])
def test_words_that_no_policy_spoke_are_not_handed_on(status: int) -> None:
    assert "sk-canary" not in told(status, 'Secret "x" is invalid: data: Invalid value: "sk-canary": no').message
