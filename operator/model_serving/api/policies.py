"""The ValidatingAdmissionPolicies, generated from the models. `make crd` writes them to `manifests/policies/`.

They hold what a CRD cannot say: rules about the namespace, the status, the requesting user and other objects. They are
generated, so that declaring a new provider's URLs and Secrets is enough to cover them. (That nobody anonymous is given
access is a rule of the CRD: it needs nothing but the object.)
"""

from __future__ import annotations

import yaml

from model_serving import host_names
from model_serving.api import hosts, lock
from model_serving.api.admission import CONFIG_WRITTEN, EXTERNAL_MODEL, MODELS, Json, binding, denial, policy, variable
from model_serving.api.base import camel
from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.names import CREATOR_ANNOTATION, OVERRIDE_ANNOTATION
from model_serving.api.secret_policy import certificate_access_policy, secret_access_policy
from model_serving.api.status import ConfigUpdateState

HEADER = "# Generated from operator/model_serving/api by `make crd`; edit the models instead.\n"

_HOST = "variables.host"
_CREATOR = f"metadata.annotations[{CREATOR_ANNOTATION}]"


def render_policies() -> dict[str, str]:
    """Every file of `manifests/policies/`, by name."""
    policies = {
        "hosts.yaml": hosts_policy(),
        "config-lock.yaml": config_lock_policy(),
        "secret-access.yaml": secret_access_policy(),
        "certificate-access.yaml": certificate_access_policy(),
        "creator.yaml": creator_policy(),
    }
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [*policies]}
    files = {name: f"{_yaml(made)}---\n{_yaml(binding(made))}" for name, made in policies.items()}
    return {name: HEADER + text for name, text in {**files, "kustomization.yaml": _yaml(kustomization)}.items()}


def hosts_policy() -> Json:
    """Hosts that are never called, and those that need the admin's leave on the namespace; twin: `hosts.refusals`."""
    leave = f"namespaceObject.metadata.?labels[?'{hosts.LEAVE_LABEL}'].orValue('') == 'true'"
    spelled = f"isIP({_HOST}) || !({_HOST}.contains(':') || {_HOST}.matches(r'^({host_names.NUMBER_NAMES})$'))"
    never = _inside(
        (*hosts.LOOPBACK_RANGES, *hosts.NEVER_RANGES), f"{host_names.LOOPBACK_NAMES}|{host_names.NEVER_NAMES}"
    )
    private = _inside(hosts.PRIVATE_RANGES, host_names.PRIVATE_NAMES)
    return policy(
        "hosts",
        conditions=(CONFIG_WRITTEN,),
        variables=[
            variable("leave", leave),
            MODELS,
            variable("found", " + ".join(_url_of(block, field) for block, field in hosts.URL_FIELDS)),
            variable("field", f"variables.found.size() == 0 ? '' : '{EXTERNAL_MODEL}.' + variables.found[0][0]"),
            variable("url", "variables.found.size() == 0 ? 'https://none.example' : variables.found[0][1]"),
            variable("name", "url(variables.url).getHostname().lowerAscii()"),
            variable(
                "host",
                "variables.name.endsWith('.') ? variables.name.substring(0, variables.name.size() - 1) : "
                "variables.name",
            ),
        ],
        validations=[
            _refused_host(spelled, hosts.MALFORMED_TEXT),
            _refused_host(f"!({never})", hosts.NEVER_TEXT),
            _refused_host(f"variables.leave || !({private})", hosts.PRIVATE_TEXT),
            _refused_host("variables.leave || url(variables.url).getScheme() == 'https'", hosts.HTTP_TEXT),
        ],
    )


def config_lock_policy() -> Json:
    """`spec.config` rests while an update is in progress; `lock.config_lock` is the twin and tells the exceptions."""
    conditions = "oldObject.?status.?conditions.orValue([])"
    stalled = f"{conditions}.exists(c, c.type == '{ConditionType.STALLED}' && c.status == 'True')"
    waits = f"{conditions}.exists(c, c.type == '{ConditionType.READY}' && c.reason == '{Reason.SECRET_NOT_FOUND}')"
    override = f"object.metadata.?annotations[?'{OVERRIDE_ANNOTATION}'].orValue('')"
    update = "oldObject.?status.?state.?configUpdate.orValue('')"
    return policy(
        "config-lock",
        operations=("UPDATE",),
        conditions=({"name": "config-changed", "expression": "object.spec.config != oldObject.spec.config"},),
        variables=[
            variable("generation", "string(oldObject.metadata.generation)"),
            variable("overridden", f"{override} == variables.generation"),
            variable("observed", "oldObject.?status.?observedGeneration.orValue(0)"),
            variable("unobserved", "variables.observed > 0 && variables.observed < oldObject.metadata.generation"),
            variable("running", f"variables.observed > 0 && {update} == '{ConfigUpdateState.IN_PROGRESS}'"),
            variable("updating", f"variables.running && !{stalled} && !{waits}"),
        ],
        validations=[
            denial(
                "variables.overridden || !variables.unobserved",
                f"spec.config: {lock.UNOBSERVED_TEXT}",
                generation="variables.generation",
            ),
            denial(
                "variables.overridden || !variables.updating",
                f"spec.config: {lock.UPDATING_TEXT}",
                generation="variables.generation",
            ),
        ],
    )


def creator_policy() -> Json:
    """The annotation that says who created an endpoint, and so may manage it, is true."""
    before = f"oldObject.metadata.?annotations[?'{CREATOR_ANNOTATION}'].orValue('')"
    return policy(
        "creator",
        variables=[
            variable("creator", f"object.metadata.?annotations[?'{CREATOR_ANNOTATION}'].orValue('')"),
            variable("before", f"request.operation == 'CREATE' ? '' : {before}"),
        ],
        validations=[
            denial(
                "request.operation != 'CREATE' || variables.creator in ['', request.userInfo.username]",
                f"{_CREATOR}: only your own user name, {{user}}, may stand there: correct or remove it",
                user="request.userInfo.username",
            ),
            denial(
                "request.operation != 'UPDATE' || variables.creator == variables.before",
                f'{_CREATOR}: set when the endpoint is created and never changed: restore "{{before}}"',
                before="variables.before",
            ),
        ],
    )


def _url_of(block: str, field: str) -> str:
    path = f"{camel(block)}.{camel(field)}"
    return f"variables.models.filter(m, has(m.{camel(block)}) && has(m.{path})).map(m, ['{path}', string(m.{path})])"


def _inside(ranges: tuple[str, ...], names: str) -> str:
    addresses = f"{list(ranges)}.exists(r, cidr(r).containsIP({_HOST}))"
    return f"isIP({_HOST}) ? {addresses} : {_HOST}.matches(r'^({names})$')"


def _refused_host(unless: str, text: str) -> Json:
    return denial(unless, f"{{field}}: host {{host}}: {text}", field="variables.field", host=_HOST)


def _yaml(document: Json) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)
