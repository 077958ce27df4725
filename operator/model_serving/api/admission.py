"""How a ValidatingAdmissionPolicy is put together; `api/policies.py` and `api/secret_policy.py` say what they hold."""

from __future__ import annotations

from string import Formatter
from typing import Any

from model_serving.api.endpoint import GROUP, PLURAL

Json = dict[str, Any]

EXTERNAL_MODEL = "spec.config.servedEntities[0].externalModel"
"""Path of the external model: a rule of the CRD makes it the only entity."""

CONFIG_WRITTEN = {
    "name": "config-written",
    "expression": "request.operation == 'CREATE' || object.spec.config != oldObject.spec.config",
}
MODELS = {
    "name": "models",
    "expression": "object.spec.config.servedEntities.filter(e, has(e.externalModel)).map(e, e.externalModel)",
}


def policy(
    name: str,
    *,
    variables: list[Json],
    validations: list[Json],
    conditions: tuple[Json, ...] = (),
    operations: tuple[str, ...] = ("CREATE", "UPDATE"),
) -> Json:
    """A policy over servingendpoints. It fails closed: what cannot be judged is refused."""
    rule = {"apiGroups": [GROUP], "apiVersions": ["*"], "operations": [*operations], "resources": [PLURAL]}
    spec: Json = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}}
    if conditions:
        spec["matchConditions"] = [*conditions]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": f"model-serving-{name}"},
        "spec": {**spec, "variables": variables, "validations": validations},
    }


def binding(bound: Json) -> Json:
    """Puts a policy in force in all namespaces."""
    name = bound["metadata"]["name"]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }


def variable(name: str, expression: str) -> Json:
    """A named expression, evaluated when first needed and seen as `variables.NAME`."""
    return {"name": name, "expression": expression}


def denial(unless: str, template: str, **values: str) -> Json:
    """Refuses what `unless` does not hold for; `values` are the CEL expressions of the fields in `template`."""
    validation = {
        "expression": unless,
        "message": Formatter().vformat(template, (), _Names(values)),
        "reason": "Forbidden",
    }
    if values:
        validation["messageExpression"] = message(template, **values)
    return validation


def message(template: str, **values: str) -> str:
    """A format template as a CEL expression."""
    parts = []
    for text, field, _, _ in Formatter().parse(template):
        if text:
            parts.append("'" + text.replace("'", "\\'") + "'")
        if field:
            parts.append(values[field])
    return " + ".join(parts)


class _Names(dict[str, str]):
    """Formats every field as its own name in capitals."""

    def __getitem__(self, name: str) -> str:
        return name.upper()
