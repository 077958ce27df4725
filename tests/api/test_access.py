"""Levels that an endpoint gives."""

from __future__ import annotations

import pytest

from model_serving.api.access import includes, level_given
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.policy import PermissionLevel

VIEW, QUERY, MANAGE = PermissionLevel


def endpoint(creator: str = "carla", *access: dict[str, str]) -> ServingEndpoint:
    model = {
        "name": "m",
        "provider": "openai",
        "task": "llm/v1/chat",
        "openaiConfig": {"openaiApiKeySecretRef": {"name": "s", "key": "k"}},
    }
    return ServingEndpoint.model_validate(
        {
            "metadata": {
                "name": "e",
                "namespace": "gen-ai",
                "annotations": {"model-serving.dev/creator": creator} if creator else {},
            },
            "spec": {"config": {"servedEntities": [{"name": "a", "externalModel": model}]}, "access": access},
        }
    )


def entry(kind: str, name: str, level: str, **more: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "permissionLevel": level, **more}


EVERYBODY = endpoint(
    "carla",
    entry("User", "ute", "CAN_VIEW"),
    entry("Group", "ds", "CAN_QUERY"),
    entry("Group", "admins", "CAN_MANAGE"),
    entry("ServiceAccount", "bot", "CAN_QUERY"),
    entry("ServiceAccount", "other", "CAN_MANAGE", namespace="ops"),
)


@pytest.mark.parametrize(
    ("name", "groups", "level"),
    [
        pytest.param("carla", (), MANAGE, id="the creator manages"),
        pytest.param("ute", (), VIEW, id="a user has the level of its entry"),
        pytest.param("ute", ("ds",), QUERY, id="the highest of user and groups counts"),
        pytest.param("ute", ("admins", "ds"), MANAGE, id="the highest of several groups counts"),
        pytest.param("ds", (), None, id="a user called as a group is not its member"),
        pytest.param("otto", ("ute",), None, id="a group called as a user is not that user"),
        pytest.param("system:serviceaccount:gen-ai:bot", (), QUERY, id="a ServiceAccount of the endpoint's namespace"),
        pytest.param("system:serviceaccount:ops:bot", (), None, id="its namesake elsewhere is another"),
        pytest.param("system:serviceaccount:ops:other", (), MANAGE, id="a ServiceAccount of a named namespace"),
        pytest.param("bot", (), None, id="a user called as a ServiceAccount is not it"),
        pytest.param("otto", (), None, id="nobody else has a level"),
    ],
)
def test_the_level_that_is_given(name: str, groups: tuple[str, ...], level: PermissionLevel | None) -> None:
    assert level_given(EVERYBODY, name, groups) is level


def test_without_creator_a_caller_without_a_name_is_nobody() -> None:
    assert level_given(endpoint(""), "", ()) is None


@pytest.mark.parametrize(
    ("level", "wanted", "may"),
    [(MANAGE, VIEW, True), (QUERY, QUERY, True), (QUERY, MANAGE, False), (VIEW, QUERY, False), (None, VIEW, False)],
)
def test_levels_include_the_lower_ones(level: PermissionLevel | None, wanted: PermissionLevel, may: bool) -> None:
    assert includes(level, wanted) is may
