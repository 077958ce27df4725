"""A change of the operator's own image goes through a few endpoints at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from model_serving.controller.reshape_gate import ReshapeGate
from model_serving.lifecycle.decide import decide
from model_serving.lifecycle.observed import Deadlines, Observed
from model_serving.lifecycle.revision import Shape
from tests.lifecycle.test_status import MISSING
from tests.lifecycle.world import World, config

NEW = Shape(image="proxy:2")


@dataclass
class Fleet:
    """Endpoints that serve, and an operator whose image has just changed."""

    gate: ReshapeGate = field(default_factory=lambda: ReshapeGate(at_once=2))
    worlds: dict[str, World] = field(default_factory=dict)

    def add(self, *names: str) -> None:
        for name in names:
            self.worlds[name] = World().served()
            self.worlds[name].shape = NEW

    def look(self, name: str) -> bool:
        """One look; whether the endpoint runs the new image, or is on its way."""
        world, key = self.worlds[name], ("ns", name)
        world.may_reshape = self.gate.may_pass(key, world.history, NEW)
        decision = world.look()
        observed = Observed(world.endpoint, world.history, NEW, world.now, world.rollout)
        self.gate.note(key, observed, decide(observed, Deadlines()))
        return decision.target is not None and decision.target.shape.image == NEW.image


def test_a_few_at_a_time_and_the_next_when_one_is_done() -> None:
    fleet = Fleet()
    fleet.add("a", "b", "c")
    assert [fleet.look(n) for n in "abc"] == [True, True, False]
    fleet.worlds["a"].succeed()
    fleet.look("a")
    assert fleet.look("c")


def test_asking_takes_a_place_before_anything_is_decided() -> None:
    fleet = Fleet()
    fleet.add("a", "b", "c")
    asked = [fleet.gate.may_pass(("ns", n), fleet.worlds[n].history, NEW) for n in "abc"]
    assert asked == [True, True, False]


def test_the_first_failure_stops_all_others() -> None:
    fleet = Fleet()
    fleet.add("a", "b", "c")
    fleet.look("a")
    fleet.worlds["a"].fail("ImagePullFailed", "no such image")
    fleet.look("a")
    assert [fleet.look("b"), fleet.look("c")] == [False, False]


def test_what_waits_for_a_secret_blocks_nobody() -> None:
    fleet = Fleet()
    fleet.add("a", "b", "c")
    for name in "ab":
        fleet.look(name)
        fleet.worlds[name].proxies(updated=1, findings=(MISSING,))
        assert fleet.look(name), "it goes on waiting with the new image"
    assert fleet.look("c")


def test_a_users_own_update_takes_no_place() -> None:
    fleet = Fleet()
    fleet.add("a", "b", "c")
    for name in "ab":
        fleet.worlds[name].edit(config=config("another"))
        fleet.look(name)
    assert fleet.look("c")


def test_after_a_restart_what_is_under_way_goes_on() -> None:
    fleet = Fleet()
    fleet.add("a", "b", "c")
    fleet.look("a")
    fleet.look("b")
    fleet.gate = ReshapeGate(at_once=2)
    assert fleet.look("c") and fleet.look("a") and fleet.look("b")
