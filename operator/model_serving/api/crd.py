"""The CustomResourceDefinition, generated from the models. `model-serving crd` and `make crd` print it.

pydantic's JSON schema says nearly all of it; here it becomes a *structural* schema: no references, no unions for
optional fields, bounded integers, rules as `x-kubernetes-validations` (the models put them there).
"""

from __future__ import annotations

from typing import Any

import yaml

from model_serving.api.endpoint import GROUP, KIND, PLURAL, RESERVED_PREFIX, VERSION, ObjectMeta, ServingEndpoint

Json = dict[str, Any]

CRD_NAME = f"{PLURAL}.{GROUP}"
HEADER = "# Generated from operator/model_serving/api by `make crd`; edit the models instead.\n"

_DROPPED = frozenset({"title", "$defs", "propertyNames"})
_API_VERSION_TEXT = "APIVersion defines the versioned schema of this representation of an object."
_KIND_TEXT = "Kind is a string value representing the REST resource this object represents."

COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Model", "string", ".status.model", 0),
    ("URL", "string", ".status.url", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Provider", "string", ".spec.config.servedEntities[*].externalModel.provider", 1),
    ("Task", "string", ".status.task", 1),
    ("Version", "integer", ".status.configVersion", 1),
    ("Replicas", "integer", ".status.readyReplicas", 1),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1),
)
"""Columns of `kubectl get`: name, type, path, priority (1: only with -o wide)."""

SELECTABLE = (".spec.endpointName", ".status.id", ".status.state.ready", ".status.state.configUpdate")
"""Paths for `kubectl get --field-selector`."""


def render_crd() -> str:
    """The definition as YAML, as it is committed in `crds/`."""
    return HEADER + yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True)


def crd() -> Json:
    """The definition as an object."""
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["sep"],
        "categories": ["model-serving"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version()]},
    }


def _version() -> Json:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.proxy.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
            for name, kind, path, priority in COLUMNS
        ],
        "selectableFields": [{"jsonPath": path} for path in SELECTABLE],
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> Json:
    schema = ServingEndpoint.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    properties = schema["properties"]
    name = structural(ObjectMeta.model_json_schema()["properties"]["name"], definitions)
    status = structural(properties["status"], definitions)
    return {
        "description": ServingEndpoint.__doc__,
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [_CREATE_RULE],
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION_TEXT},
            "kind": {"type": "string", "description": _KIND_TEXT},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": structural(properties["spec"], definitions),
            "status": without_defaults(status),
        },
    }


_CREATE_RULE = {
    "rule": f"oldSelf.hasValue() || has(self.spec.endpointName) || !self.metadata.name.startsWith('{RESERVED_PREFIX}')",
    "optionalOldSelf": True,
    "message": f"names that start with {RESERVED_PREFIX} are reserved: choose another, or set spec.endpointName",
    "reason": "FieldValueInvalid",
    "fieldPath": ".metadata.name",
}
"""The only rule at the root, and only for new objects: rules there are never ratcheted."""


def structural(node: Json, definitions: Json) -> Json:
    """`node` of a JSON schema as Kubernetes wants it."""
    made: Json = {}
    for keyword, value in _flat(node, definitions).items():
        made |= _translated(keyword, value, definitions)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("anyOf")
    if made.get("type") == "integer":
        made["format"] = "int64"
    return _ordered(made)


def _translated(keyword: str, value: Any, definitions: Json) -> Json:
    match keyword, value:
        case "properties", _:
            return {keyword: {name: structural(child, definitions) for name, child in value.items()}}
        case "items", _:
            return {keyword: without_defaults(structural(value, definitions))}
        case "additionalProperties", dict():
            return {keyword: structural(value, definitions)}
        case "default", dict():
            return {keyword: {}}  # what stands in it has defaults of its own
        case "const", _:
            return {"enum": [value]}
        case ("default", None) | ("additionalProperties", _):
            return {}
        case _:
            return {} if keyword in _DROPPED else {keyword: value}


def _flat(node: Json, definitions: Json) -> Json:
    """`node` with its reference or its optional type merged in; what stands at the place of use wins."""
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _flat(definitions[node["$ref"].rpartition("/")[2]] | rest, definitions)
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _flat(choices[0] | rest, definitions)
    return node


def _ordered(node: Json) -> Json:
    first = ("description", "type", "format", "enum", "default", "required")
    return {key: node[key] for key in (*first, *(k for k in node if k not in first)) if key in node}


def without_defaults(node: Json) -> Json:
    """`node` and what is below it, with nothing filled in by the API server.

    In the status a default would be something that nobody observed. In a list it would be a difference that never ends
    between a manifest and the stored object, because kubectl and Argo CD compare lists as wholes.
    """
    made = {key: value for key, value in node.items() if key != "default"}
    if "properties" in made:
        made["properties"] = {name: without_defaults(child) for name, child in made["properties"].items()}
    if "items" in made:
        made["items"] = without_defaults(made["items"])
    return made
