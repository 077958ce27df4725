"""REST bodies as a plan takes them: the endpoint that a body asks for, and a plan's fields in REST's spelling.

Called by `plan.py`. Secrets are not looked up: a plan needs no right on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_serving.api.endpoint import API_VERSION, KIND, ServingEndpoint, secret_refs
from model_serving.api.names import CREATOR_ANNOTATION, kept_keys_name, object_name, secret_names
from model_serving.api.problems import Problem
from model_serving.api.types import SecretRef
from model_serving.api.validation import InvalidEndpoint, parse_endpoint
from model_serving.management.convert.draft import Draft, draft_config, draft_create, filled
from model_serving.management.convert.problems import InvalidBody, rest_problems
from model_serving.management.convert.secret_text import Plaintext, SecretUse, reference_text

_YOU = "you"


class Refused(Exception):
    """The body is refused; `problem` is in REST's spelling."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def configures(body: Mapping[str, Any]) -> str:
    """The endpoint whose config a body of PUT …/config is, where it says so itself, as clients do; empty for others."""
    return str(body.get("name") or "") if _is_config(body) else ""


def _is_config(body: Mapping[str, Any]) -> bool:
    return "served_entities" in body and "config" not in body


def created(body: Mapping[str, Any], present: ServingEndpoint | None, namespace: str) -> ServingEndpoint:
    """The endpoint that a create body asks for. Raises `Refused`."""
    if _is_config(body):
        raise Refused(Problem("", "this is the body of PUT …/config: say with --endpoint which endpoint is meant"))
    try:
        draft = draft_create(body)
    except InvalidBody as error:
        raise Refused(Problem("", error.message)) from None
    if present is not None:
        text = f"an endpoint {draft.name} exists already: choose another name, or plan its config alone with --endpoint"
        raise Refused(Problem("name", text))
    return _endpoint({"name": object_name(draft.name), "namespace": namespace}, draft, None)


def made_by_you(endpoint: ServingEndpoint) -> ServingEndpoint:
    """As REST will write it: whoever sends the body is the creator."""
    metadata = endpoint.metadata.model_copy(update={"annotations": {CREATOR_ANNOTATION: _YOU}})
    return endpoint.model_copy(update={"metadata": metadata})


def configured(body: Mapping[str, Any], present: ServingEndpoint) -> ServingEndpoint:
    """`present` with the config that a body of PUT …/config asks for. Raises `Refused`."""
    try:
        draft = draft_config(body, present.spec)
    except InvalidBody as error:
        raise Refused(Problem("", error.message)) from None
    return _endpoint({"name": present.metadata.name, "namespace": present.metadata.namespace}, draft, present)


def _endpoint(metadata: dict[str, Any], draft: Draft, present: ServingEndpoint | None) -> ServingEndpoint:
    refs = {secret.path: _reference(secret, metadata["name"], present) for secret in draft.secrets}
    manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": filled(draft, refs)}
    try:
        return parse_endpoint(manifest)
    except InvalidEndpoint as error:
        raise Refused(Problem("", rest_problems(error.problems))) from None


def _reference(secret: SecretUse | Plaintext, name: str, present: ServingEndpoint | None) -> dict[str, str]:
    """As the present config names that secret, else as it most likely will be."""
    if isinstance(secret, Plaintext):
        return {"name": kept_keys_name(name), "key": f"{secret.path.rpartition('.')[2]}-new"}
    for _, ref in secret_refs(present.spec) if present else ():
        if (ref.scope or ref.name, ref.key) == (secret.scope, secret.key):
            return ref.manifest()
    return {"name": secret_names(secret.scope)[0], "key": secret.key, "scope": secret.scope}


def rest_field(field: str) -> str:
    """A field's path as REST spells it."""
    return rest_problems([Problem(field, "")]).removesuffix(": ")


def rest_value(value: Any) -> Any:
    """A field's value as REST shows it."""
    if isinstance(value, Mapping):
        return {rest_field(name): _rest_member(name, each) for name, each in value.items()}
    return [rest_value(each) for each in value] if isinstance(value, list) else value


def _rest_member(name: str, value: Any) -> Any:
    is_reference = name.endswith("SecretRef") or name == "secretRef"
    return reference_text(SecretRef.model_validate(value)) if is_reference else rest_value(value)
