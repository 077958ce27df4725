"""What holds whatever happens to an endpoint, in any order (hypothesis makes the stories up)."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from model_serving.lifecycle.revision import Outcome, Shape, serving
from tests.lifecycle.test_status import MISSING
from tests.lifecycle.world import World, config

MODELS = st.sampled_from(["a", "b", "c"])


class Endpoint(RuleBasedStateMachine):
    """One endpoint, its owner, its operator and its proxies."""

    @initialize()
    def create(self) -> None:
        self.world = World()
        self.world.look()
        self.highest = 0

    @rule(model=MODELS)
    def edit(self, model: str) -> None:
        self.world.edit(config=config(model))
        self.world.look()

    @rule(image=st.sampled_from(["proxy:1", "proxy:2", "proxy:3"]))
    def upgrade(self, image: str) -> None:
        self.world.shape = Shape(image=image)
        self.world.look()

    @rule(memory=st.sampled_from(["64Mi", "1Gi"]))
    def resize(self, memory: str) -> None:
        self.world.shape = Shape(self.world.shape.image, {"memory": memory})
        self.world.look()

    @rule(back=st.integers(0, 2))
    def cancel(self, back: int) -> None:
        self.world.annotations["model-serving.dev/cancel"] = str(self.world.generation - back)
        self.world.look()

    @rule(word=st.sampled_from(["1", "2", "3"]))
    def retry(self, word: str) -> None:
        self.world.annotations["model-serving.dev/retry"] = word
        self.world.look()

    @rule()
    def close_the_gate(self) -> None:
        self.world.may_reshape = not self.world.may_reshape
        self.world.look()

    @rule()
    def succeed(self) -> None:
        self.world.succeed()

    @rule()
    def fail(self) -> None:
        self.world.fail()

    @rule()
    def lack_a_secret(self) -> None:
        self.world.proxies(updated=1, updated_ready=0, deadline_exceeded=True, findings=(MISSING,))
        self.world.look()

    @rule()
    def lose_proxies(self) -> None:
        self.world.proxies(ready=0, updated_ready=0)
        self.world.look()

    @rule(seconds=st.integers(1, 200))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)
        self.world.look()

    @invariant()
    def one_version_is_pending_at_most(self) -> None:
        pending = [r for r in self.world.history if r.outcome is Outcome.PENDING]
        assert len(pending) <= 1

    @invariant()
    def versions_never_go_back(self) -> None:
        assert self.world.status.config_version >= self.highest
        self.highest = self.world.status.config_version

    @invariant()
    def the_status_names_what_serves(self) -> None:
        base = serving(self.world.history)
        assert self.world.status.config_version == (base.config_version if base else 0)

    @invariant()
    def a_settled_endpoint_stays_as_it_is(self) -> None:
        first = self.world.look()
        second = self.world.look()
        assert (first.history, first.target, first.status) == (second.history, second.target, second.status)

    @invariant()
    def ready_means_that_the_spec_serves(self) -> None:
        ready, base = self.world.condition("Ready"), serving(self.world.history)
        if ready and ready.status == "True":
            assert base is not None and self.world.status.state.config_update == "NOT_UPDATING"
            assert base.config == self.world.endpoint.spec.config.manifest()

    @invariant()
    def the_target_is_what_serves_or_what_is_pending(self) -> None:
        target = self.world.look().target
        assert target is not None
        assert target == serving(self.world.history) or target.outcome is Outcome.PENDING


Endpoint.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestEndpoint = Endpoint.TestCase
