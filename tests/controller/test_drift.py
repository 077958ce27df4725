"""Whether a live object still holds all that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.controller.drift import covers

WANTED: dict[str, Any] = {
    "replicas": 2,
    "minReadySeconds": 0,
    "off": False,
    "containers": [{"name": "proxy", "resources": {"cpu": "0.1", "memory": "64Mi"}, "args": ["a", "b"]}],
}
LIVE: dict[str, Any] = {
    "replicas": 2,
    "off": False,
    "added": "by the server",
    "containers": [
        {"name": "sidecar"},
        {"name": "proxy", "image": "x", "resources": {"cpu": "100m", "memory": "64Mi"}, "args": ["a", "b"]},
    ],
}
CASES = [
    pytest.param({}, True, id="additions and defaults do not matter"),
    pytest.param({"replicas": 3}, False, id="another number"),
    pytest.param({"off": None}, False, id="a false that was taken away"),
    pytest.param({"containers": [{"name": "sidecar"}]}, False, id="an item that was taken away"),
    pytest.param({"containers": [{**LIVE["containers"][1], "args": ["b", "a"]}]}, False, id="another order"),
    pytest.param({"containers": [{**LIVE["containers"][1], "args": ["a", "b", "c"]}]}, False, id="an argument more"),
    pytest.param(
        {"containers": [{**LIVE["containers"][1], "resources": {"cpu": "100m", "memory": "64M"}}]}, False, id="less"
    ),
    pytest.param({"containers": "gone"}, False, id="another type"),
]


@pytest.mark.parametrize(("change", "expected"), CASES)
def test_covers(change: dict[str, Any], expected: bool) -> None:
    assert covers(LIVE | change, WANTED) is expected


@pytest.mark.parametrize(("a", "b"), [("1", 1), ("1000m", "1"), ("1Gi", "1024Mi"), ("1k", "1000")])
def test_quantities_are_equal_however_they_are_written(a: Any, b: Any) -> None:
    assert covers({"x": a}, {"x": b})


def test_true_is_not_one() -> None:
    assert covers({"x": True}, {"x": True})
    assert not covers({"x": "true"}, {"x": True})
