"""Endpoints that another release has written are read as far as they go."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.api.endpoint import KIND
from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.reading import age_of, endpoint_name_of, read_endpoint
from tests.kube.routing.objects import endpoint


def test_what_can_be_read_is_whole() -> None:
    found, problem = read_endpoint(endpoint(endpointName="Chat_1"))
    assert problem is None and found.kind == KIND
    assert (found.endpoint_name, found.status.task) == ("Chat_1", "llm/v1/chat")


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [
        pytest.param({"spec": {"endpointName": "Chat_1", "novelty": 1}}, "Chat_1", id="an unknown field"),
        pytest.param({"spec": {}}, "chat", id="no config"),
        pytest.param({"spec": {}, "status": {"conditions": 5}}, "chat", id="a status of another kind too"),
    ],
)
def test_of_what_cannot_be_read_name_and_status_count(spoilt: dict[str, Any], name: str) -> None:
    manifest = {**endpoint(), **spoilt}
    found, problem = read_endpoint(manifest)
    assert problem is not None and problem.reason == "InvalidSpec"
    assert (found.endpoint_name, found.metadata.uid) == (name, "uid-of-chat") and endpoint_name_of(manifest) == name
    assert (found.status == EndpointStatus()) is ("status" in spoilt)


def test_the_older_one_sorts_first_and_within_a_second_the_uid_decides() -> None:
    old, young = endpoint("z", created="2026-01-01T00:00:00Z"), endpoint("a", created="2026-01-01T00:00:01Z")
    assert sorted([young, old], key=age_of) == [old, young]
    assert sorted([endpoint("b"), endpoint("a")], key=age_of)[0]["metadata"]["name"] == "a"
