"""Objects of the API server as endpoints, and back."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.api.policy import LimitKey, RateLimit, Tag
from model_serving.kube.workspace.stored import changed_manifest, new_manifest, parse_stored
from model_serving.stores import Stored
from tests.kube.workspace.conftest import endpoint


def stored(manifest: dict[str, Any]) -> Stored:
    found = parse_stored(manifest)
    assert found is not None
    return found


OWNERS = [
    pytest.param({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD", id="Argo CD by annotation"),
    pytest.param({"labels": {"app.kubernetes.io/instance": "argocd-app"}}, "Argo CD", id="Argo CD by label"),
    pytest.param({"labels": {"app.kubernetes.io/instance": "mine"}}, "", id="an instance of something else"),
    pytest.param({"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}}, "Flux", id="Flux by Kustomization"),
    pytest.param({"labels": {"helm.toolkit.fluxcd.io/name": "x"}}, "Flux", id="Flux by HelmRelease"),
    pytest.param(
        {
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "x"},
        },
        "Helm",
        id="Helm",
    ),
    pytest.param({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "", id="a label alone"),
    pytest.param({}, "", id="nobody"),
]


@pytest.mark.parametrize(("metadata", "owner"), OWNERS)
def test_who_writes_it_back(metadata: dict[str, Any], owner: str) -> None:
    manifest = endpoint("chat")
    manifest["metadata"] |= metadata
    assert stored(manifest).owner == owner


def test_the_status_is_no_update_of_a_user() -> None:
    manifest = endpoint("chat")
    assert stored(manifest).updated_at == "2026-01-02T00:00:00Z"
    manifest["metadata"]["managedFields"] = [
        {"manager": "kubectl", "time": "2026-01-03T00:00:00Z"},
        {"manager": "management", "time": "2026-01-04T00:00:00Z"},
        {"manager": "operator", "time": "2026-01-05T00:00:00Z", "subresource": "status"},
    ]
    assert stored(manifest).updated_at == "2026-01-04T00:00:00Z"


def test_what_is_ending_or_cannot_be_read_is_not_there() -> None:
    ending = endpoint("chat")
    ending["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    assert parse_stored(ending) is None
    assert parse_stored(endpoint("chat", inventedLater=True)) is None


def test_a_status_of_another_release_hides_no_endpoint() -> None:
    assert parse_stored({**endpoint("chat"), "status": {"conditions": "none"}}) is not None


def test_an_edit_changes_nothing_beside_it() -> None:
    """Defaults that nobody wrote, and labels, belong to whoever wrote the object."""
    manifest = endpoint("chat", proxy={}, rateLimits=[{"calls": 5}])
    manifest["metadata"] |= {"labels": {"team": "x"}, "resourceVersion": "7", "annotations": {"a": "b"}}
    found = stored(manifest)
    spec = found.endpoint.spec.model_copy(update={"tags": [Tag(key="k")]})
    written = changed_manifest(found, found.endpoint.model_copy(update={"spec": spec}))
    assert written == {**manifest, "spec": {**manifest["spec"], "tags": [{"key": "k"}]}}


def test_a_default_that_is_written_out_is_stored() -> None:
    """Else it would not come back to who sent it."""
    found = stored(endpoint("chat", rateLimits=[{"calls": 5}]))
    spec = found.endpoint.spec.model_copy(update={"rate_limits": [RateLimit(calls=5, key=LimitKey.ENDPOINT)]})
    written = changed_manifest(found, found.endpoint.model_copy(update={"spec": spec}))
    assert written["spec"]["rateLimits"] == [{"calls": 5, "key": "endpoint"}]


def test_annotations_are_exchanged_as_a_whole() -> None:
    manifest = endpoint("chat")
    manifest["metadata"]["annotations"] = {"a": "b"}
    found = stored(manifest)
    metadata = found.endpoint.metadata.model_copy(update={"annotations": {}})
    written = changed_manifest(found, found.endpoint.model_copy(update={"metadata": metadata}))
    assert "annotations" not in written["metadata"]


def test_a_part_that_is_taken_away_is_gone() -> None:
    found = stored(endpoint("chat", tags=[{"key": "k"}]))
    spec = found.endpoint.spec.model_copy(update={"tags": None})
    assert "tags" not in changed_manifest(found, found.endpoint.model_copy(update={"spec": spec}))["spec"]


def test_a_new_object_holds_what_was_said_and_no_more() -> None:
    found = stored(endpoint("chat"))
    made = new_manifest(found.endpoint, "gen-ai")
    assert made["metadata"] == {"name": "chat", "namespace": "gen-ai"}
    assert made["spec"] == endpoint("chat")["spec"]
    assert "status" not in made
