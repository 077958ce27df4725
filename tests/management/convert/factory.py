"""Endpoints for the tests of this folder: made from REST bodies as handlers make them, observed as platforms do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from model_serving.api.endpoint import API_VERSION, KIND, ServingEndpoint
from model_serving.api.names import CREATOR_ANNOTATION, kept_keys_name, object_name
from model_serving.api.validation import parse_endpoint
from model_serving.lifecycle.decide import decide
from model_serving.lifecycle.observed import Deadlines, Finding, Observed, Rollout
from model_serving.lifecycle.revision import Shape, serving
from model_serving.lifecycle.update import plan_update
from model_serving.management.convert.draft import Draft, Plaintext, draft_config, draft_create, filled
from model_serving.stores import Stored

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
CREATED_MS = 1767225600000
FAILING = Finding("ContainerFailing", "the proxy does not start")
LACKING = Finding("SecretNotFound", "create the Secret")
UID = "69962db6-b9db-47c4-a8a2-22d2ac79d7f8"
ID = "69962db6b9db47c4a8a222d2ac79d7f8"


def stamp(seconds: int) -> str:
    """RFC 3339, so many seconds after the creation."""
    return (CREATED + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def refs(draft: Draft, object_name: str) -> dict[str, dict[str, str]]:
    """References for the secrets of a draft: scopes under a name of their own, plaintext in the endpoint's Secret."""
    found: dict[str, dict[str, str]] = {}
    for i, secret in enumerate(draft.secrets):
        if isinstance(secret, Plaintext):
            found[secret.path] = {"name": kept_keys_name(object_name), "key": f"key-{i}"}
        else:
            found[secret.path] = {"name": f"scope-{len(secret.scope)}", "key": secret.key, "scope": secret.scope}
    return found


def endpoint_of(name: str, spec: dict[str, Any], generation: int = 1) -> ServingEndpoint:
    """A valid endpoint with this spec, as a platform gives it back."""
    metadata = {
        "name": name,
        "namespace": "gen-ai",
        "uid": UID,
        "generation": generation,
        "creationTimestamp": stamp(0),
        "annotations": {CREATOR_ANNOTATION: "user@email.com"},
    }
    return parse_endpoint({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})


def created(body: dict[str, Any]) -> Stored:
    """The endpoint of a create body, seen by no operator yet."""
    draft = draft_create(body)
    name = object_name(draft.name)
    return Stored(endpoint_of(name, filled(draft, refs(draft, name))), updated_at=stamp(0))


def updated(stored: Stored, body: dict[str, Any], at: int = 60) -> Stored:
    """After PUT config, seen by no operator yet."""
    name = stored.endpoint.metadata.name
    draft = draft_config(body, stored.endpoint.spec)
    return respecified(stored, filled(draft, refs(draft, name)), at)


def respecified(stored: Stored, spec: dict[str, Any], at: int = 60) -> Stored:
    """After any write of the spec: one generation later, with the status of before."""
    endpoint = endpoint_of(stored.endpoint.metadata.name, spec, stored.endpoint.metadata.generation + 1)
    return replace(
        stored, endpoint=endpoint.model_copy(update={"status": stored.endpoint.status}), updated_at=stamp(at)
    )


def looked(
    stored: Stored, at: int = 1, *, ready: bool = False, late: bool = False, lacking: bool = False, **seen: Any
) -> Stored:
    """After one look of an operator. `ready`: the proxies of what it wants are; `late`: past the progress deadline,
    `lacking`: they wait for a Secret."""
    observed = Observed(stored.endpoint, stored.history, Shape("image:1"), CREATED + timedelta(seconds=at), **seen)
    if stored.history and "problems" not in seen:
        target = plan_update(replace(observed, rollout=None)).target
        old = 1 if serving(stored.history) else 0
        causes = (FAILING,) * late + (LACKING,) * lacking
        rollout = Rollout(target.name, True, 1, 2, 1 if ready else old, 1, int(ready), late, findings=causes)
        observed = replace(observed, rollout=rollout)
    decision = decide(observed, Deadlines())
    endpoint = stored.endpoint.model_copy(update={"status": decision.status})
    return replace(stored, endpoint=endpoint, history=decision.history)


def served(stored: Stored, at: int = 1) -> Stored:
    """The endpoint once the version that it asks for serves."""
    for step in range(3):
        stored = looked(stored, at + step, ready=True)
    return stored
