"""A config as clients send it, made regular: aliases, defaults and leftovers of older clients. Called by `draft.py`.

What is not as it should be is left as it is: the models say what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from model_serving.api.foundation_model import SETTINGS
from model_serving.management.convert.problems import InvalidBody, shown
from model_serving.management.convert.reading import Json, plain_number, read_list, read_mapping

_INPUT = ("served_entities", "traffic_config", "auto_capture_config")
"""What counts in a config. The rest (`name`, `tags`, `rate_limits`, …) is sent by real clients and means nothing."""
OUTPUT_ONLY = ("state", "creator", "creation_timestamp", "foundation_model", "type")
"""Fields of a served entity that an answer adds and that clients send back."""
_ALIASES = {"model_name": "entity_name", "model_version": "entity_version"}
_NEUTRAL = {"workload_type": "CPU"}
_MAX_NAME = 63
_SOME_NAME = "entity"


def config_fields(value: Any, path: str, before: Sequence[str] = ()) -> Json:
    """The fields of the config at `path`, in REST spelling. `before`: names of the entities that it replaces."""
    given = read_mapping(value, path)
    fields = {name: given[name] for name in _INPUT if name in given}
    entities = "served_entities"
    if entities not in fields and "served_models" in given:
        models = read_list(given["served_models"], f"{path}.served_models")
        fields[entities] = [_aliased(each, f"{path}.served_models[{i}]") for i, each in enumerate(models)]
    if entities in fields:
        listed = read_list(fields[entities], f"{path}.{entities}")
        fields[entities] = [_entity(each, f"{path}.{entities}[{i}]") for i, each in enumerate(listed)]
        _traffic(fields, path, before)
    else:
        fields.pop("traffic_config", None)  # that there are no entities comes first
    if isinstance(capture := fields.get("auto_capture_config"), Mapping):
        fields["auto_capture_config"] = {name: each for name, each in capture.items() if name != "state"}
    return fields


def default_entity_name(model: str, version: str = "") -> str:
    """The name of an entity that was given none: Databricks' rule, kept within what a name may hold."""
    text = f"{model}-{version}" if version else model
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:_MAX_NAME].strip("-_") or _SOME_NAME


def _aliased(value: Any, path: str) -> Json:
    given = read_mapping(value, path)
    return {_ALIASES.get(name, name): each for name, each in given.items()}


def _entity(value: Any, path: str) -> Json:
    given = read_mapping(value, path)
    fields = {name: each for name, each in given.items() if name not in OUTPUT_ONLY}
    external = fields.get("external_model")
    if external is not None:
        # What Databricks itself shows of an external model, and other clients repeat, says nothing.
        neutral = {n for n in (*SETTINGS, "environment_vars") if n in fields and _says_nothing(n, fields[n])}
        fields = {name: each for name, each in fields.items() if name not in neutral}
    if not fields.get("name"):
        fields |= _named(fields, external)
    return fields


def _says_nothing(name: str, value: Any) -> bool:
    return not value or value == _NEUTRAL.get(name)


def _named(fields: Json, external: Any) -> Json:
    model = external.get("name") if isinstance(external, Mapping) else fields.get("entity_name")
    version = fields.get("entity_version")
    if not isinstance(model, str):
        return {"name": _SOME_NAME}  # what is missing will be said, and it is not the name
    told = version if external is None and isinstance(version, str) else ""
    return {"name": default_entity_name(model, told)}


def _traffic(fields: Json, path: str, before: Sequence[str]) -> None:
    """Makes the routes of `fields` regular, or leaves them out where they mean the default."""
    if "traffic_config" not in fields:
        return
    traffic = read_mapping(fields["traffic_config"], f"{path}.traffic_config")
    if "routes" not in traffic:
        if not traffic:
            del fields["traffic_config"]
        return
    at = f"{path}.traffic_config.routes"
    routes = [_route(each, f"{at}[{i}]") for i, each in enumerate(read_list(traffic["routes"], at))]
    names = [each.get("name") for each in fields["served_entities"]]
    if _is_old_default(routes, names, before):
        del fields["traffic_config"]
        return
    for i, route in enumerate(routes):
        name = route.get("served_entity_name")
        if isinstance(name, str) and name not in names:
            known = ", ".join(shown(str(each)) for each in names[:10])
            raise InvalidBody(f"{at}[{i}].served_entity_name: names unknown entity {shown(name)}; entities: {known}")
    fields["traffic_config"] = {**traffic, "routes": routes}


def _is_old_default(routes: list[Json], names: list[Any], before: Sequence[str]) -> bool:
    """Whether these are the routes of the only entity before it was renamed: Terraform repeats what GET had shown."""
    if len(names) != 1 or len(routes) != 1:
        return False
    name = routes[0].get("served_entity_name")
    return routes[0].get("traffic_percentage") == 100 and name not in names and name in before


def _route(value: Any, path: str) -> Json:
    given = read_mapping(value, path)
    model, entity = given.pop("served_model_name", None), given.get("served_entity_name")
    if model is not None and entity is not None and model != entity:
        raise InvalidBody(f"{path}: served_entity_name and served_model_name differ: remove one of them")
    if entity is None and model is not None:
        given["served_entity_name"] = model
    if "traffic_percentage" in given:
        given["traffic_percentage"] = plain_number(given["traffic_percentage"])
    return given
