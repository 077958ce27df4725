"""The story that `kubectl describe` tells."""

from __future__ import annotations

from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.events import transitions
from tests.lifecycle.test_status import MISSING
from tests.lifecycle.world import World, config


def told(world: World, before: EndpointStatus) -> list[tuple[str, str]]:
    return [(e.type, e.reason) for e in transitions(before, world.status)]


def test_a_happy_life() -> None:
    world, empty = World(), EndpointStatus()
    world.look()
    assert told(world, empty) == [("Normal", "Reconciling")]
    before = world.status
    world.look()
    assert told(world, before) == [("Normal", "Progressing")]
    before = world.status
    world.succeed()
    assert told(world, before) == [("Normal", "ConfigVersionServing"), ("Normal", "Ready")]


def test_nothing_is_told_twice() -> None:
    world = World().served()
    before = world.status
    world.wait(600)
    world.look()
    assert told(world, before) == []


def test_failures_and_stalls_are_warnings() -> None:
    world = World().served()
    world.edit(config=config("b"))
    world.look()
    before = world.status
    world.fail()
    assert told(world, before) == [("Warning", "UpdateFailed")]


def test_a_missing_secret_is_told_when_seen_and_when_the_grace_is_over() -> None:
    world = World()
    world.look()
    before = world.status
    world.proxies(updated=1, findings=(MISSING,))
    world.look()
    assert told(world, before) == [("Warning", "SecretNotFound")]
    before = world.status
    world.wait(100)
    world.look()
    assert told(world, before) == [("Warning", "SecretNotFound")]
