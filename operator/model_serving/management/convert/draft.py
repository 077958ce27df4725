"""REST bodies that create an endpoint or replace its config, as the spec of a resource. Pure.

Two steps, because secrets need I/O in between: a `Draft` lists them, handlers check or write each, `filled` then gives
the spec. A draft has passed every rule of the resource that needs no platform: what a handler still has to ask is
`check_create` or `check_update` (hosts, lock, transitions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_serving.api.endpoint import API_VERSION, KIND, EndpointSpec
from model_serving.api.validation import InvalidEndpoint, parse_endpoint
from model_serving.management.convert.config_body import config_fields
from model_serving.management.convert.fields import rest_names
from model_serving.management.convert.problems import InvalidBody, rest_problems
from model_serving.management.convert.reading import Json, Reading, read_mapping, sound
from model_serving.management.convert.secret_text import Plaintext, SecretUse

__all__ = ["Draft", "Plaintext", "SecretUse", "draft_config", "draft_create", "filled", "judge"]

_SOME_REF = {"name": "some-secret", "key": "some-key"}


@dataclass(frozen=True, slots=True)
class Draft:
    """`spec` is the manifest of the spec (camelCase, with `endpointName`) in which each `…SecretRef` holds a
    `SecretUse` or `Plaintext`; `secrets` lists them all."""

    name: str
    spec: Mapping[str, Any]
    secrets: tuple[SecretUse | Plaintext, ...] = ()


def draft_create(body: Mapping[str, Any]) -> Draft:
    """The endpoint that the body of POST /serving-endpoints describes. Raises `InvalidBody`."""
    given = read_mapping(sound(body), "")
    name = given.get("name")
    if name is None:
        raise InvalidBody("name: is required: the name that clients will use")
    if "config" not in given:
        raise InvalidBody("config: is required: give it served_entities, the models behind the endpoint")
    fields = {field: given[field] for field in rest_names(EndpointSpec) if field in given}
    fields["config"] = config_fields(given["config"], "config")
    _no_telemetry(given, fields["config"])
    reading = Reading()
    spec = {"endpointName": name, **reading.read(EndpointSpec, fields, "")}
    return _judged(_tidy(spec), reading)


def draft_config(body: Mapping[str, Any], current: EndpointSpec) -> Draft:
    """`current` with the config that the body of PUT …/config describes in full. Its name may be empty.
    Raises `InvalidBody`."""
    before = tuple(entity.name for entity in current.config.served_entities)
    fields = config_fields(sound(body), "config", before)
    reading = Reading()
    spec = {**current.written(), **reading.read(EndpointSpec, {"config": fields}, "")}
    return _judged(spec, reading)


def filled(draft: Draft, refs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The spec's manifest with a reference {name, key, scope?} for each path of `draft.secrets`."""
    spec: dict[str, Any] = _filled(draft.spec, refs)
    return spec


def judge(spec: Mapping[str, Any]) -> None:
    """Raises `InvalidBody` with all that the resource's rules say against the manifest of a spec."""
    try:
        parse_endpoint({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "endpoint"}, "spec": spec})
    except InvalidEndpoint as error:
        raise InvalidBody(rest_problems(error.problems)) from None


def _judged(spec: Json, reading: Reading) -> Draft:
    draft = Draft(str(spec.get("endpointName", "")), spec, tuple(reading.secrets))
    judge(filled(draft, {secret.path: _SOME_REF for secret in draft.secrets}))
    return draft


def _tidy(spec: Json) -> Json:
    """Without a gateway block that says nothing: GET must not show an empty one."""
    return {name: value for name, value in spec.items() if name != "aiGateway" or value}


def _no_telemetry(given: Json, config: Json) -> None:
    """Databricks drops `telemetry_config` of external endpoints; of others it would mean something."""
    entities = config.get("served_entities")
    if not given.get("telemetry_config") or not isinstance(entities, list):
        return
    if not any(isinstance(each, Mapping) and "external_model" in each for each in entities):
        raise InvalidBody("telemetry_config: is not enforced here: remove it")


def _filled(value: Any, refs: Mapping[str, Mapping[str, str]]) -> Any:
    match value:
        case SecretUse() | Plaintext():
            return dict(refs[value.path])
        case Mapping():
            return {name: _filled(each, refs) for name, each in value.items()}
        case list():
            return [_filled(each, refs) for each in value]
        case _:
            return value
