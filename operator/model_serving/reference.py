"""Renders docs/reference.md from the models: every field, condition, reason, annotation and gap. For `generate.py`.

What cannot be read from a model is one sentence in front of a table, so that nothing here can grow stale.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from model_serving.api import names
from model_serving.api.base import Model
from model_serving.api.conditions import Cause, ConditionType, Reason
from model_serving.api.config import EndpointConfig, ServedEntity
from model_serving.api.crd import COLUMNS, SELECTABLE
from model_serving.api.endpoint import API_VERSION, KIND, EndpointSpec, ServingEndpoint
from model_serving.api.external_model import BLOCKS, AmazonBedrockConfig, ExternalModel, Provider, Task
from model_serving.api.hosts import LEAVE_LABEL
from model_serving.api.not_supported import not_supported
from model_serving.api.proxy import Autoscaling, ProxySettings
from model_serving.markdown import Row, table

Json = dict[str, Any]

NOT_REPORTED = (
    ConditionType.PROVIDERS_REACHABLE,
    Reason.CALLS_SUCCEED,
    Reason.CALLS_FAIL,
    Cause.SECRET_KEY_NOT_FOUND,
    Cause.CONFIG_INVALID,
)
"""Words that are set aside and that nothing says yet; a test compares with the code that speaks."""

_INTRO = f"""\
<!-- Generated from operator/model_serving/api by `make crd`; edit the models instead. -->
# Reference

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `sep`, category `model-serving`.
On a cluster `kubectl explain servingendpoint.spec.config` says the same. Field names are Databricks' in camelCase,
values are Databricks' own. The object's name has at most 48 characters, a letter first; unknown fields are refused.

Contents: [spec](#spec) · [status](#status) · [conditions](#conditions) ·
[annotations and labels](#annotations-and-labels) · [fields without effect](#fields-without-effect) ·
[not supported yet](#not-supported-yet) · [columns and selectors](#columns-and-selectors)

The rules below the tables are enforced by the API server, also while no operator runs, in these words.
"""
_EFFECTLESS = re.compile(r"echoed|^Must be|^Refused|[Nn]ot enforced|: only empty forms")


def render_reference() -> str:
    """The page as Markdown."""
    schema = ServingEndpoint.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    sections = [
        _INTRO,
        "## spec\n",
        *_models("spec", "EndpointSpec", definitions),
        "## status\n\nWhat was observed. Written by the operator alone; usage and secrets never stand in it.\n",
        *_models("status", "EndpointStatus", definitions),
        _conditions(),
        _annotations(),
        _effectless(definitions),
        _not_supported(),
        _columns(),
    ]
    return "\n".join(sections)


# Models


def _models(root: str, name: str, definitions: Json) -> Iterator[str]:
    """One section per model below `name`, in the order of first use."""
    for found, paths in _places(root, name, definitions).items():
        yield _model(found, paths, definitions)


def _places(root: str, name: str, definitions: Json) -> dict[str, list[str]]:
    """Each model below `name` with the paths at which it stands."""
    places: dict[str, list[str]] = {}
    waiting = [(root, name)]
    while waiting:
        path, model = waiting.pop(0)
        places.setdefault(model, []).append(path)
        for field, node in definitions[model]["properties"].items():
            node = _bare(node)
            many = "[]" if node.get("type") == "array" else ""
            target = _target(_bare(node.get("items", node)))
            if target and "properties" in definitions[target]:
                waiting.append((f"{path}.{field}{many}", target))
    return places


def _model(name: str, paths: list[str], definitions: Json) -> str:
    model = definitions[name]
    shown = ", ".join(f"`{path}`" for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    required = model.get("required", ())
    rows = [
        (f"`{field}`", _type(node, definitions), _default(field, node, required), str(node["description"]))
        for field, node in model["properties"].items()
    ]
    head: Row = ("field", "type", "default", "meaning")
    if paths[0].startswith("status"):  # nothing there is filled in: a default would be something nobody observed
        return _section(name, shown, model, table((*head[:2], head[3]), [(*row[:2], row[3]) for row in rows]))
    return _section(name, shown, model, table(head, rows) if rows else "")


def _section(name: str, shown: str, model: Json, table: str) -> str:
    rules = "".join(f"* {rule}\n" for rule in _rules(model))
    return (
        f"### {name}\n\n{shown}: {model['description']}\n"
        + (f"\n{table}" if table else "")
        + (f"\nRules:\n\n{rules}" if rules else "")
    )


def _rules(model: Json) -> Iterator[str]:
    for field, node in model["properties"].items():
        for rule in _bare(node).get("x-kubernetes-validations", ()):
            yield f"`{field}`: {rule['message']}"
    for rule in model.get("x-kubernetes-validations", ()):
        field = rule.get("fieldPath", "").lstrip(".")
        yield f"`{field}`: {rule['message']}" if field else rule["message"]


def _bare(node: Json) -> Json:
    """`node` without the choice of being unset."""
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else node


def _target(node: Json) -> str:
    """The model that a node refers to; empty for a plain value."""
    return str(node.get("$ref", "")).rpartition("/")[2]


def _default(field: str, node: Json, required: Iterable[str]) -> str:
    if field in required or (_target(node) and "default" not in node):
        return "required"
    default = node.get("default")
    return "–" if default is None or default == "" or isinstance(default, dict) else f"`{_plain(default)}`"


def _type(node: Json, definitions: Json) -> str:
    node = _bare(node)
    target = _target(node)
    if target and "enum" in definitions[target]:
        node = definitions[target]
    elif target:
        return f"[{target}](#{target.lower()})"
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    words = [*(node.get("enum") or ()), *([node["const"]] if "const" in node else [])]
    if words:
        return ("one of " if len(words) > 1 else "") + ", ".join(f"`{_plain(word)}`" for word in words)
    return _plain_type(node, definitions)


def _plain_type(node: Json, definitions: Json) -> str:
    match node["type"]:
        case "array":
            keys = node.get("x-kubernetes-list-map-keys", ())
            by = ", by " + " and ".join(f"`{key}`" for key in keys) if keys else ""
            return f"list of {_type(node['items'], definitions)}{_range(node, 'minItems', 'maxItems')}{by}"
        case "object":
            return f"map of strings{_range(node, 'minProperties', 'maxProperties')}"
        case "string":
            return f"string{_range(node, 'minLength', 'maxLength', unit=' characters')}"
        case "integer":
            return f"integer{_range(node, 'minimum', 'maximum')}"
        case kind:
            return str(kind)


def _range(node: Json, least: str, most: str, unit: str = "") -> str:
    if most not in node:
        return ""
    low = node.get(least)
    return f", {low} to {node[most]}{unit}" if low is not None else f", at most {node[most]}{unit}"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# Words


def _conditions() -> str:
    def rows(words: Iterable[ConditionType | Reason | Cause]) -> list[Row]:
        later = dict.fromkeys(NOT_REPORTED, " (Set aside: this release does not report it.)")
        return [(f"`{word}`", word.description + later.get(word, "")) for word in words]

    return (
        "## Conditions\n\n"
        "`Available` and `Ready` always stand; what to do about each reason: [troubleshooting](troubleshooting.md).\n\n"
        + table(("type", "meaning"), rows(ConditionType))
        + "\n### Reasons\n\n"
        + table(("reason", "meaning"), rows(Reason))
        + "\n### Causes\n\nWhat stands in the message after a reason such as `UpdateFailed`.\n\n"
        + table(("cause", "meaning"), rows(Cause))
    )


def _annotations() -> str:
    rows = [(f"`{value}`", text) for value, text in documented_names()]
    scopes = [
        (f"`{names.SCOPE_ANNOTATION}`", "On a Secret: the Databricks spelling of the scope that it stands for."),
        (f"`{names.SCOPE_HASH_LABEL}`", "On a Secret, a label: a digest of the scope, to find it in a list."),
        (f"`{LEAVE_LABEL}`", 'On a namespace, a label: "true" lets its endpoints call private hosts and `http://`.'),
    ]
    return "## Annotations and labels\n\n" + table(("name", "meaning"), [*rows, *scopes])


def documented_names() -> list[tuple[str, str]]:
    """The annotations of an endpoint, each with the sentence that stands below it in `api/names.py`."""
    body = ast.parse(inspect.getsource(names)).body
    found = []
    for node, below in pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(below, ast.Expr):
            name = node.targets[0].id
            if name.endswith("_ANNOTATION") and isinstance(below.value, ast.Constant):
                found.append((str(getattr(names, name)), " ".join(str(below.value.value).split())))
    return found


def _effectless(definitions: Json) -> str:
    rows = [
        (f"`{paths[0] if len(paths) < 4 else model}.{field}`", str(node["description"]))
        for model, paths in _places("spec", "EndpointSpec", definitions).items()
        for field, node in definitions[model]["properties"].items()
        if _EFFECTLESS.search(node.get("description", ""))
    ]
    return (
        "## Fields without effect\n\n"
        "Databricks' fields that mean nothing here are stored as they are. Those that would protect or change\n"
        "something are refused unless empty or disabled, rather than ignored. What is *echoed* comes back by the\n"
        "[REST API](rest-fields.md).\n\n" + table(("field", "what happens"), rows)
    )


# Gaps


def _not_supported() -> str:
    rows = [(f"`spec.{field}`", text) for field, text in unsupported_fields()]
    return (
        "## Not supported yet\n\n"
        "The resource can say this, and the release or the vendor does not do it. Such an endpoint is `Stalled` with\n"
        "reason `NotSupported` and changes nothing; `model-serving validate` says so beforehand.\n\n"
        + table(("field", "message"), rows)
    )


def unsupported_fields() -> list[tuple[str, str]]:
    """Every field that `api/not_supported.py` complains about, with its message, from specs that ask for all of it."""
    found = [(re.sub(r"\[\d+\]", "[]", field), text) for spec in _everything() for field, text in not_supported(spec)]
    return list(dict.fromkeys(found))


def _everything() -> Iterator[EndpointSpec]:
    """Specs that together ask for everything that the resource can say. Not validated, so that they stay short."""
    proxy = ProxySettings.model_construct(autoscaling=Autoscaling(max_replicas=2))
    foundation = ServedEntity.model_construct(name="e", entity_name="catalog.schema.model")
    yield _spec(foundation, proxy=proxy)
    for provider in Provider:
        yield _spec(_external(provider))
    yield _spec(_external(Provider.AMAZON_BEDROCK, AmazonBedrockConfig.model_construct(bedrock_provider="anthropic")))
    for name in ("claude-sonnet-4-5", "meta/llama"):
        yield _spec(_external(Provider.GOOGLE_CLOUD_VERTEX_AI, name=name))


def _external(provider: Provider, block: Model | None = None, name: str = "m") -> ServedEntity:
    fields: Json = {"name": name, "provider": provider, "task": Task.EMBEDDINGS, BLOCKS[provider]: block}
    return ServedEntity.model_construct(name="e", external_model=ExternalModel.model_construct(**fields))


def _spec(entity: ServedEntity, **fields: Any) -> EndpointSpec:
    return EndpointSpec.model_construct(config=EndpointConfig.model_construct(served_entities=[entity]), **fields)


def _columns() -> str:
    rows = [(name, f"`{path}`", "`-o wide`" if priority else "") for name, _, path, priority in COLUMNS]
    selectors = ", ".join(f"`{path.lstrip('.')}`" for path in SELECTABLE)
    return (
        "## Columns and selectors\n\n"
        f"`kubectl get sep` shows these; `--field-selector` takes {selectors}.\n\n"
        + table(("column", "path", "shown with"), rows)
    )
