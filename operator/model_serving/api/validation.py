"""Every rule of the resource in Python, as the API server enforces them: for `validate`, REST and the local platform.

`parse_endpoint` is the CRD (schema and CEL), `check_update` its transitions and the config lock, `validate_manifest`
all that concerns a new object, hosts included. The cases of `tests/cases` run against this and a real API server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from model_serving.api.base import Model, camel
from model_serving.api.endpoint import API_VERSION, KIND, RESERVED_PREFIX, ServingEndpoint
from model_serving.api.hosts import Leave, refusals
from model_serving.api.lock import config_lock
from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.problems import Problem, problems


class InvalidEndpoint(ValueError):
    """A manifest is not a valid ServingEndpoint; `str` has one line per problem."""

    def __init__(self, found: list[Problem]) -> None:
        super().__init__("\n".join(map(str, found)))
        self.problems = found


def parse_endpoint(manifest: Mapping[str, Any]) -> ServingEndpoint:
    """The endpoint that `manifest` (YAML spelling, as plain data) describes. Its status is ignored.

    Raises `InvalidEndpoint`.
    """
    found = list(_identity(manifest))
    if not found:
        given = {name: value for name, value in manifest.items() if name != "status"}
        if isinstance(metadata := given.get("metadata"), Mapping):
            given["metadata"] = {name: value for name, value in metadata.items() if value is not None}
        try:
            # As JSON, strictly: the API server does not take "100" for 100 either.
            return ServingEndpoint.model_validate_json(_json(given), strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            found = problems(error, ServingEndpoint)
    raise InvalidEndpoint(found)


def validate_manifest(manifest: Mapping[str, Any], leave: Leave) -> list[Problem]:
    """All that the API server would refuse about a new object, in a namespace with this leave."""
    try:
        endpoint = parse_endpoint(manifest)
    except InvalidEndpoint as error:
        return error.problems
    return check_create(endpoint, leave)


def check_create(endpoint: ServingEndpoint, leave: Leave) -> list[Problem]:
    """What holds for new endpoints beyond their shape: a name that is free, hosts that may be called."""
    found = [Problem(*refusal) for refusal in refusals(endpoint.spec, leave)]
    if endpoint.endpoint_name.startswith(RESERVED_PREFIX):
        text = f"names that start with {RESERVED_PREFIX} are reserved: choose another, or set spec.endpointName"
        found.append(Problem("metadata.name", text))
    return found


def check_update(old: ServingEndpoint, new: ServingEndpoint, leave: Leave = "local") -> list[Problem]:
    """What forbids the step from `old` (with its generation and status) to `new`: transitions, lock, hosts, creator.

    Hosts are judged only when the config changes, as the policy does: an edit of limits never fails for them.
    """
    found = list(_transitions("spec", old.spec, new.spec))
    if old.metadata.annotations.get(CREATOR_ANNOTATION, "") != new.metadata.annotations.get(CREATOR_ANNOTATION, ""):
        text = "set when the endpoint is created and never changed: restore it"
        found.append(Problem(f"metadata.annotations[{CREATOR_ANNOTATION}]", text))
    if locked := config_lock(old, new):
        found.append(Problem("spec.config", locked))
    if old.spec.config != new.spec.config:
        found += [Problem(*refusal) for refusal in refusals(new.spec, leave)]
    return found


def _identity(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if manifest.get(field) != expected:
            yield Problem(field, f"must be {expected}")


def _json(manifest: Mapping[str, Any]) -> str:
    try:
        return json.dumps(manifest, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidEndpoint([Problem("", f"not plain YAML: {error}: put dates and numbers into quotes")]) from None


def _transitions(path: str, old: Model, new: Model) -> Iterator[Problem]:
    for transition in type(new).transitions:
        if not transition.holds(new, old):
            yield Problem(path + transition.field, transition.message)
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, Model) and type(before) is type(after):
            yield from _transitions(f"{path}.{camel(name)}", before, after)
