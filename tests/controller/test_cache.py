"""What the operator remembers: never older than what it knew, and no ghosts."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.controller.cache import DESIRED_HASH, Cache, slim
from model_serving.controller.intake import Intake
from model_serving.controller.queue import Queue
from model_serving.kube.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINTS, Resource

KEY = ("a", "e")


def thing(name: str = "e", version: int = 10, uid: str = "u1", **meta: Any) -> dict[str, Any]:
    labels = {"model-serving.dev/endpoint": "e"}
    metadata = {"name": name, "namespace": "a", "uid": uid, "resourceVersion": str(version), "labels": labels, **meta}
    return {"metadata": metadata, "spec": {"replicas": 1, "template": {"spec": {"big": 1}}}, "status": {"replicas": 1}}


@pytest.mark.parametrize(
    ("version", "uid", "news"), [(9, "u1", False), (10, "u1", False), (11, "u1", True), (3, "u2", True)]
)
def test_an_endpoint_never_steps_back_in_time(version: int, uid: str, news: bool) -> None:
    cache = Cache()
    cache.see_endpoint(thing())
    assert cache.see_endpoint(thing(version=version, uid=uid)) is news


def test_a_late_event_does_not_undo_what_we_wrote() -> None:
    cache = Cache()
    cache.remember(CONFIG_MAPS, thing(version=20))
    assert cache.see_child(CONFIG_MAPS, thing(version=15)) is None
    child = cache.child(CONFIG_MAPS, "a", "e")
    assert child is not None and child.version == "20"


def test_a_recreated_object_is_believed() -> None:
    cache = Cache()
    cache.remember(CONFIG_MAPS, thing(version=20))
    assert cache.see_child(CONFIG_MAPS, thing(version=15, uid="u2")) is not None


def test_a_change_after_our_write_is_drift_and_our_own_is_none() -> None:
    cache = Cache()
    cache.remember(CONFIG_MAPS, thing(version=20))
    child = cache.child(CONFIG_MAPS, "a", "e")
    assert child is not None and not cache.drifted(child)
    changed = cache.see_child(CONFIG_MAPS, thing(version=21))
    assert changed is not None and cache.drifted(changed)
    cache.remember(CONFIG_MAPS, thing(version=22))
    mended = cache.child(CONFIG_MAPS, "a", "e")
    assert mended is not None and not cache.drifted(mended)


def test_a_status_update_of_a_deployment_is_no_drift() -> None:
    cache = Cache()
    cache.remember(DEPLOYMENTS, thing(version=20, generation=3))
    child = cache.see_child(DEPLOYMENTS, thing(version=25, generation=3))
    assert child is not None and not cache.drifted(child)
    edited = cache.see_child(DEPLOYMENTS, thing(version=26, generation=4))
    assert edited is not None and cache.drifted(edited)


def test_the_first_sight_after_a_restart_is_the_baseline() -> None:
    cache = Cache()
    child = cache.see_child(CONFIG_MAPS, thing(version=20))
    assert child is not None and not cache.drifted(child)


def test_a_deployment_is_kept_without_its_template() -> None:
    cache = Cache()
    manifest = thing(version=20)
    manifest["spec"]["template"] = {"metadata": {"annotations": {"r": "1"}}, "spec": {"containers": ["big"]}}
    cache.see_child(DEPLOYMENTS, manifest)
    assert cache.deployment(KEY)["spec"] == {  # type: ignore[index]
        "replicas": 1,
        "template": {"metadata": {"annotations": {"r": "1"}}},
    }


def test_bulk_that_only_the_server_needs_is_dropped() -> None:
    manifest = thing(
        managedFields=["big"], annotations={"kubectl.kubernetes.io/last-applied-configuration": "big", "k": "v"}
    )
    assert slim(manifest)["metadata"]["annotations"] == {"k": "v"}
    assert "managedFields" not in slim(manifest)["metadata"]
    assert "managedFields" in manifest["metadata"], "the original is not touched"


def test_the_sweep_drops_ghosts_and_keeps_what_is_newer_than_the_list() -> None:
    cache = Cache()
    for name, version, uid in (("ghost", 10, "g"), ("alive", 11, "l"), ("newborn", 99, "n")):
        cache.see_child(CONFIG_MAPS, thing(name, version, uid))
        cache.see_endpoint(thing(name, version, uid))
    listed = [thing("alive", 11, "l")]
    assert cache.sweep(CONFIG_MAPS, listed, "50", None) == [KEY]
    assert cache.sweep(ENDPOINTS, listed, "50", "a") == [("a", "ghost")]
    assert {child.name for child in cache.children(KEY)} == {"alive", "newborn"}
    assert {key[1] for key, _ in cache.endpoints()} == {"alive", "newborn"}


def test_the_sweep_of_one_namespace_leaves_the_others_alone() -> None:
    cache = Cache()
    cache.see_child(CONFIG_MAPS, thing())
    assert cache.sweep(CONFIG_MAPS, [], "50", "elsewhere") == []


def test_only_the_very_object_is_dropped() -> None:
    cache = Cache()
    cache.see_child(CONFIG_MAPS, thing(uid="new"))
    assert cache.drop_child(CONFIG_MAPS, "a", "e", "old") is None
    cache.see_endpoint(thing(uid="new"))
    cache.drop_endpoint(KEY, "old")
    assert cache.endpoint(KEY) is not None


def test_counts_are_by_kind() -> None:
    cache = Cache()
    cache.see_endpoint(thing())
    cache.see_child(CONFIG_MAPS, thing("x"))
    cache.see_child(CONFIG_MAPS, thing("y", uid="u2"))
    assert cache.counts() == {"ServingEndpoint": 1, "ConfigMap": 2}


class Desk:
    """An intake with its cache and queue, and what was asked for."""

    def __init__(self) -> None:
        self.cache, self.queue = Cache(), Queue[tuple[str, str]]()
        self.intake = Intake(self.cache, self.queue)

    def asked(self) -> set[tuple[str, str]]:
        """The endpoints that are to be looked at, once."""
        asked, self.queue._waiting = set(self.queue._waiting), {}
        return asked


async def test_news_of_a_child_ask_for_a_look_at_its_endpoint() -> None:
    desk = Desk()
    desk.intake.changed(CONFIG_MAPS, thing("x"))
    assert desk.asked() == {KEY}
    desk.intake.changed(CONFIG_MAPS, thing("x"))
    assert desk.asked() == set(), "the same again is no news"
    desk.intake.deleted(CONFIG_MAPS, "a", "x", "u1")
    assert desk.asked() == {KEY}
    desk.intake.deleted(CONFIG_MAPS, "a", "x", "u1")
    assert desk.asked() == set()


async def test_a_child_whose_label_was_changed_concerns_both_endpoints() -> None:
    desk = Desk()
    desk.intake.changed(CONFIG_MAPS, thing("x"))
    desk.asked()
    desk.intake.changed(CONFIG_MAPS, thing("x", version=11, labels={"model-serving.dev/endpoint": "other"}))
    assert desk.asked() == {KEY, ("a", "other")}


async def test_when_an_endpoint_goes_those_who_wanted_its_name_are_looked_at() -> None:
    desk = Desk()
    for name, client_name in (("one", "chat"), ("two", "chat"), ("three", "other")):
        manifest = thing(name, uid=name)
        manifest["spec"] = {"endpointName": client_name}
        desk.intake.changed(ENDPOINTS, manifest)
    desk.asked()
    desk.intake.deleted(ENDPOINTS, "a", "one", "one")
    assert desk.asked() == {("a", "one"), ("a", "two")}
    assert desk.cache.endpoint(("a", "one")) is None


@pytest.mark.parametrize("resource", [CONFIG_MAPS, DEPLOYMENTS])
def test_the_hash_and_the_owner_are_read_from_metadata(resource: Resource) -> None:
    references = [{"kind": "Other", "uid": "x"}, {"kind": "ServingEndpoint", "uid": "me", "controller": True}]
    child = Cache().see_child(resource, thing(annotations={DESIRED_HASH: "h"}, ownerReferences=references))
    assert child is not None
    assert (child.desired_hash, child.owner_uid, child.owner_kind, child.endpoint) == (
        "h",
        "me",
        "ServingEndpoint",
        KEY,
    )
