"""The admission policies about Secrets: who writes a config or names a certificate may read each Secret that it names.

Without it an endpoint would lend out keys that its author has no right to. An expression may spend 1,000,000 and one
`authorizer` check takes 350,000, hence one validation per reference; the operator itself never writes a config.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from model_serving.api.admission import CONFIG_WRITTEN, EXTERNAL_MODEL, MODELS, Json, denial, policy, variable
from model_serving.api.base import Model, camel
from model_serving.api.external_model import BLOCKS, ExternalModel
from model_serving.api.types import SecretRef

MOST_ENVIRONMENT_SECRETS = 8
"""Different Secrets that the environment variables of one endpoint may name: each costs a check."""

_TEXT = "you may not read the Secret {name}: ask an admin for the right to get it, or name one that you may read"
_TOO_MANY = (
    f"spec.config.servedEntities: environmentVars name more than {MOST_ENVIRONMENT_SECRETS} different Secrets: "
    "put the keys into fewer"
)


def secret_access_policy() -> Json:
    """One validation per reference of a provider, and one per Secret that environment variables name."""
    return policy(
        "secret-access",
        conditions=(CONFIG_WRITTEN,),
        variables=[MODELS, *_environment_secrets()],
        validations=[
            *map(_readable, secret_paths()),
            *map(_environment_readable, range(MOST_ENVIRONMENT_SECRETS)),
            denial(f"variables.secret{MOST_ENVIRONMENT_SECRETS} == ''", _TOO_MANY),
        ],
    )


def certificate_access_policy() -> Json:
    """Who names the Secret of a certificate, or of authorities, may read it: else proxies would speak in another's
    name, or tell what a Secret holds that looks like certificates."""
    names = {field: _newly_named(field) for field in ("tls", "upstreamCa")}
    named = " || ".join(f"{name} != ''" for name in names.values())
    return policy(
        "certificate-access",
        conditions=({"name": "certificate-named", "expression": named},),
        variables=[variable(field, name) for field, name in names.items()],
        validations=[
            denial(
                f"variables.{field} == '' || {_may_get(f'variables.{field}')}",
                f"spec.proxy.{field}.secretName: {_TEXT}",
                name=f"variables.{field}",
            )
            for field in names
        ],
    )


def _newly_named(field: str) -> str:
    """The Secret that a field of the proxy settings names; empty when it named the same before."""
    name = f"object.spec.?proxy.?{field}.?secretName.orValue('')"
    before = f"oldObject.spec.?proxy.?{field}.?secretName.orValue('')"
    return f"(request.operation != 'CREATE' && {name} == {before} ? '' : {name})"


def secret_paths() -> list[tuple[str, ...]]:
    """Every Secret reference of an external model: the path of its field in YAML spelling."""
    return [path for block in BLOCKS.values() for path in _references(ExternalModel, block)]


def _references(owner: type[Model], field: str) -> Iterator[tuple[str, ...]]:
    annotation = owner.model_fields[field].annotation
    for choice in (annotation, *get_args(annotation)):
        if choice is SecretRef:
            yield (camel(field),)
        elif isinstance(choice, type) and issubclass(choice, Model):
            for below in choice.model_fields:
                yield from ((camel(field), *path) for path in _references(choice, below))


def _readable(path: tuple[str, ...]) -> Json:
    dotted = ".".join(path)
    is_set = " && ".join(f"has(m.{'.'.join(path[: depth + 1])})" for depth in range(len(path)))
    return denial(
        f"variables.models.all(m, !({is_set}) || {_may_get(f'm.{dotted}.name')})",
        f"{EXTERNAL_MODEL}.{dotted}: {_TEXT}",
        name=f"variables.models.filter(m, {is_set})[0].{dotted}.name",
    )


def _environment_readable(number: int) -> Json:
    name = f"variables.secret{number}"
    return denial(
        f"{name} == '' || {_may_get(name)}", f"spec.config.servedEntities: environmentVars: {_TEXT}", name=name
    )


def _may_get(name: str) -> str:
    return f"authorizer.group('').resource('secrets').namespace(request.namespace).name({name}).check('get').allowed()"


def _environment_secrets() -> list[Json]:
    """Variables secret0, secret1, …: the different Secrets' names, taken one after the other from what is left."""
    entities = "object.spec.config.servedEntities.filter(e, has(e.environmentVars))"
    names = "e.environmentVars.filter(v, has(v.secretRef)).map(v, string(v.secretRef.name))"
    left = f"{entities}.map(e, {names})"
    variables = []
    for number in range(MOST_ENVIRONMENT_SECRETS + 1):
        this = f"variables.left{number}"
        variables.append(variable(f"left{number}", f"{left}.filter(names, names.size() > 0)"))
        variables.append(variable(f"secret{number}", f"{this}.size() == 0 ? '' : {this}[0][0]"))
        left = f"{this}.map(names, names.filter(n, n != variables.secret{number}))"
    return variables
