"""The update state machine, told as stories."""

from __future__ import annotations

from model_serving.lifecycle.observed import Finding
from model_serving.lifecycle.revision import Outcome, Shape
from tests.lifecycle.test_status import MISSING
from tests.lifecycle.world import World, config

CANCEL, RETRY = "model-serving.dev/cancel", "model-serving.dev/retry"
A, B, C = config("gpt-4"), config("gpt-4o"), config("gpt-5")


def test_versions_count_from_one_and_pending_lasts_until_the_switch() -> None:
    world = World().served()
    assert (world.status.config_version, world.status.pending_config_version) == (1, None)
    world.edit(config=B)
    world.look()
    assert (world.status.config_version, world.status.pending_config_version) == (1, 2)
    world.proxies(pods=2, ready=2, updated=1, updated_ready=1)
    world.look()
    assert world.status.config_version == 1, "an old proxy still answers"
    world.succeed()
    assert (world.status.config_version, world.status.pending_config_version) == (2, None)
    assert world.outcomes == [(1, "Served"), (2, "Served")]


def test_policy_edits_make_no_version_and_no_rollout() -> None:
    world = World().served()
    before = world.look().target
    world.edit(rateLimits=[{"calls": 5}], tags=[{"key": "team", "value": "x"}])
    decision = world.look()
    assert decision.target == before and len(world.history) == 1
    assert decision.policy is not None and decision.policy.limits[0].calls == 5


def test_scaling_is_no_revision() -> None:
    world = World().served()
    world.edit(proxy={"replicas": 4})
    world.look()
    assert len(world.history) == 1


def test_the_serving_config_takes_a_pending_version_back() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.edit(config=A)
    decision = world.look()
    assert decision.target and decision.target.config_version == 1
    assert world.outcomes == [(1, "Served"), (2, "Superseded")]
    world.succeed()
    assert world.status.state.config_update == "NOT_UPDATING"


def test_a_failed_version_is_taken_back_and_not_tried_again_for_other_edits() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    decision = world.fail()
    assert decision.target and decision.target.config_version == 1
    world.succeed()
    world.edit(tags=[{"key": "a"}])
    world.wait(1000)
    assert world.look().target == decision.target
    assert world.status.state.config_update == "UPDATE_FAILED"


def test_correcting_the_spec_recovers() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.fail()
    world.edit(config=C)
    assert world.look().target and world.status.pending_config_version == 3
    world.succeed()
    assert world.status.config_version == 3


def test_going_back_to_the_serving_config_clears_a_failure_and_the_same_config_may_be_tried_again() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.fail()
    world.edit(config=A)
    world.look()
    world.succeed()
    assert world.status.state.config_update == "NOT_UPDATING"
    world.edit(config=B)
    world.look()
    assert world.status.pending_config_version == 3


def test_retry_with_a_new_value_starts_a_failed_version_again_once() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.fail()
    world.annotations[RETRY] = "1"
    decision = world.look()
    assert decision.target and decision.target.config_version == 2
    world.fail()
    assert world.look().target and world.status.state.config_update == "UPDATE_FAILED"
    world.annotations[RETRY] = "2"
    world.look()
    world.succeed()
    assert world.status.config_version == 2


def test_a_retry_takes_back_the_other_shape_that_was_under_way_meanwhile() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.fail()
    world.shape = Shape("proxy:1", {"memory": "64Mi"})
    assert (decision := world.look()).target and decision.target.config_version == 1
    world.annotations[RETRY] = "1"
    assert (decision := world.look()).target and decision.target.config_version == 2
    assert [r.config_version for r in world.history if r.outcome is Outcome.PENDING] == [2]


def test_cancel_takes_the_pending_version_back_and_a_stale_one_does_nothing() -> None:
    world = World().served()
    world.edit(config=B)
    world.annotations[CANCEL] = str(world.generation - 1)
    assert world.look().target and world.status.pending_config_version == 2
    world.annotations[CANCEL] = str(world.generation)
    decision = world.look()
    assert decision.target and decision.target.config_version == 1
    world.edit(config=C)
    world.look()
    assert world.status.pending_config_version == 3, "the annotation names an older generation"


def test_cancel_may_name_a_later_generation_that_still_asks_for_the_same_config() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.edit(tags=[{"key": "a"}])
    world.annotations[CANCEL] = str(world.generation)
    world.look()
    assert world.status.state.config_update == "UPDATE_CANCELED"


def test_cancelling_the_first_version_does_nothing_there_is_nothing_to_go_back_to() -> None:
    world = World()
    world.look()
    world.annotations[CANCEL] = "1"
    assert world.look().target and world.outcomes == [(1, "Pending")]


def test_only_one_version_is_ever_pending_the_newest_supersedes() -> None:
    world = World().served()
    for wanted in (B, C, config("gpt-6")):
        world.edit(config=wanted)
        world.look()
    assert [o for _, o in world.outcomes] == ["Served", "Superseded", "Superseded", "Pending"]
    world.succeed()
    assert world.status.config_version == 4


def test_a_version_that_lacks_only_a_secret_waits_and_completes() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.proxies(pods=2, updated=1, deadline_exceeded=True, findings=(MISSING,))
    world.wait(500)
    decision = world.look()
    assert decision.target and decision.target.config_version == 2
    assert world.status.state.config_update == "UPDATE_FAILED"
    world.succeed()
    assert world.status.config_version == 2 and world.status.state.config_update == "NOT_UPDATING"


def test_a_first_version_is_kept_trying_and_may_still_come_up() -> None:
    world = World()
    world.look()
    world.fail()
    assert world.look().target is not None
    world.succeed()
    assert world.status.config_version == 1


def test_rollback_is_a_new_version_with_an_old_config() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.succeed()
    world.edit(config=A)
    world.look()
    world.succeed()
    assert world.status.config_version == 3


def test_an_image_is_a_revision_of_the_same_version() -> None:
    world = World().served()
    world.shape = Shape(image="proxy:2")
    decision = world.look()
    assert decision.target and decision.target.shape.image == "proxy:2" and decision.target.config_version == 1
    world.succeed()
    assert world.row.endswith("Ready READY/NOT_UPDATING/1:READY")


def test_a_failed_image_is_taken_back_and_the_next_one_recovers() -> None:
    world = World().served()
    world.shape = Shape(image="proxy:2")
    world.look()
    decision = world.fail("ImagePullFailed", "no such image")
    assert decision.target and decision.target.shape.image == "proxy:1"
    world.succeed()
    assert world.look().target == decision.target
    world.shape = Shape(image="proxy:3")
    world.look()
    world.succeed()
    assert world.row.endswith("Ready READY/NOT_UPDATING/1:READY")


def test_going_back_to_the_old_image_clears_a_failure() -> None:
    world = World().served()
    world.shape = Shape(image="proxy:2")
    world.look()
    world.fail()
    world.shape = Shape(image="proxy:1")
    world.look()
    world.succeed()
    assert world.row.endswith("Ready READY/NOT_UPDATING/1:READY")


def test_an_older_shape_can_be_rolled_out_again() -> None:
    world = World().served()
    for image in ("proxy:2", "proxy:1"):
        world.shape = Shape(image=image)
        world.look()
        world.succeed()
    target = world.look().target
    assert target and target.shape.image == "proxy:1" and len(world.history) == 2


def test_a_failed_version_does_not_come_back_with_a_new_image_which_the_serving_version_follows() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.fail()
    world.succeed()
    world.shape = Shape(image="proxy:2")
    decision = world.look()
    assert decision.target and (decision.target.config_version, decision.target.shape.image) == (1, "proxy:2")
    decision = world.succeed()
    assert world.status.state.config_update == "UPDATE_FAILED" and len(world.history) == 3
    assert world.look().target == decision.target


def test_a_pending_version_follows_a_new_image_and_stays_the_same_version() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.shape = Shape(image="proxy:2")
    decision = world.look()
    assert decision.target and (decision.target.config_version, decision.target.shape.image) == (2, "proxy:2")
    world.succeed()
    assert world.status.config_version == 2


def test_an_operator_setting_waits_for_its_turn_while_the_endpoints_own_settings_do_not() -> None:
    world = World().served()
    world.may_reshape = False
    world.shape = Shape(image="proxy:2")
    target = world.look().target
    assert target and target.shape.image == "proxy:1"
    world.shape = Shape(image="proxy:2", proxy={"resources": {"limits": {"memory": "1Gi"}}})
    target = world.look().target
    assert target and target.shape.image == "proxy:1" and target.shape.proxy


def test_a_lost_history_is_recognised_by_what_runs() -> None:
    world = World().served()
    running = world.look().target
    world.history = ()
    assert world.look().target == running or world.history[0].name == running.name  # type: ignore[union-attr]
    world.succeed()
    assert world.status.config_version == 1


def test_quota_as_the_cause_of_a_failed_update() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.proxies(updated=0, deadline_exceeded=True, refusal="exceeded quota", findings=())
    world.look()
    ready = world.condition("Ready")
    assert ready and ready.reason == "UpdateFailed" and "exceeded quota" in ready.message


def test_the_history_keeps_serving_pending_and_ten_versions() -> None:
    world = World().served()
    for n in range(15):
        world.edit(config=config(f"m{n}"))
        world.look()
        world.succeed()
    assert [r.config_version for r in world.history] == list(range(7, 17))


def test_a_mixed_cause_is_not_only_a_secret() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    crash = Finding("ProxyCrashLooping", "exit code 1")
    world.proxies(updated=1, deadline_exceeded=True, findings=(crash, MISSING))
    target = world.look().target
    assert target and target.config_version == 1


def test_a_cancelled_version_can_be_retried_although_the_cancel_annotation_still_stands() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.annotations[CANCEL] = str(world.generation)
    world.look()
    world.annotations[RETRY] = "1"
    decision = world.look()
    assert decision.target and decision.target.config_version == 2
    assert world.look().target == decision.target, "the old word does not cancel it again"
    world.succeed()
    assert world.status.config_version == 2


def test_one_look_that_hears_nothing_does_not_end_the_wait_for_a_secret() -> None:
    world = World().served()
    world.edit(config=B)
    world.look()
    world.proxies(pods=2, updated=1, deadline_exceeded=True, findings=(MISSING,))
    world.look()
    world.proxies(findings=())
    decision = world.look()
    assert decision.target and decision.target.config_version == 2


def test_a_corrected_first_version_is_not_judged_by_the_old_ones_rollout() -> None:
    world = World()
    world.look()
    world.fail()
    world.edit(config=B)
    world.look()
    assert world.status.state.config_update == "IN_PROGRESS"


def test_many_images_do_not_grow_the_history_without_end() -> None:
    world = World().served()
    for n in range(30):
        world.shape = Shape(image=f"proxy:{n + 2}")
        world.look()
        world.succeed()
    assert len(world.history) <= 11
