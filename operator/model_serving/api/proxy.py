"""How the proxies of an endpoint run in the cluster; read by the operator only."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from model_serving.api.base import Model, Rule, atomic_list, atomic_map, matching, value_rule
from model_serving.api.types import ObjectName, SecretKey

_QUANTITY = r"([0-9]+(\.[0-9]*)?)([KMGTPE]i|[numkMGTPE]|[eE][0-9]{1,2})?"
_SUFFIXES = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?{_NAME}"
_KEY_MESSAGE = "keys must look like name or example.com/name: letters, digits, - _ and ., the name at most 63"


def _amount(value: int | str) -> Decimal:
    """A quantity as a number; `value` matches `_QUANTITY`."""
    text = str(value)
    suffix = text.lstrip("0123456789.")
    number = Decimal(text.removesuffix(suffix))
    if suffix in _BINARY:
        return number * Decimal(1024 ** _BINARY[suffix])
    return number.scaleb(_SUFFIXES[suffix] if suffix in _SUFFIXES else int(suffix[1:] or 0))


Quantity = Annotated[
    int | str,
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "maxLength": 32}),
    value_rule(
        f"type(self) == int ? self >= 0 : self.matches(r'^({_QUANTITY})$')",
        lambda value: len(str(value)) <= 32 and re.fullmatch(_QUANTITY, str(value)) is not None,
        "give a Kubernetes quantity such as 500m or 128Mi, not negative",
    ),
]
LabelKey = Annotated[str, Field(max_length=316), matching(rf"({_KEY})?", _KEY_MESSAGE)]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    matching(rf"({_NAME})?", "use only letters, digits, - _ and ., as in the value of a label"),
]


class ResourceAmounts(Model):
    """Amounts in Kubernetes quantities, kept as they were written."""

    cpu: Quantity | None = Field(default=None, description="For example 500m.")
    memory: Quantity | None = Field(default=None, description="For example 128Mi.")


def _within(resource: str) -> Rule:
    both = f"has(self.requests) && has(self.limits) && has(self.requests.{resource}) && has(self.limits.{resource})"
    low, high = (f"string(self.{side}.{resource})" for side in ("requests", "limits"))

    def holds(m: Resources) -> bool:
        least, most = getattr(m.requests, resource, None), getattr(m.limits, resource, None)
        return least is None or most is None or _amount(least) <= _amount(most)

    return Rule(
        cel=f"!({both}) || !isQuantity({low}) || !isQuantity({high}) || "
        f"quantity({low}).compareTo(quantity({high})) <= 0",
        holds=holds,
        message=f"requests.{resource} must not exceed limits.{resource}: lower the one or raise the other",
        field=".requests",
    )


class Resources(Model):
    """Requests and limits of a proxy container. Unset: 100m and 64Mi requested, memory limited to 256Mi."""

    requests: ResourceAmounts | None = Field(default=None, description="What is reserved.")
    limits: ResourceAmounts | None = Field(default=None, description="What is never exceeded.")

    rules: ClassVar[tuple[Rule, ...]] = (_within("cpu"), _within("memory"))


class Autoscaling(Model):
    """Horizontal autoscaling of the proxies."""

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="Least proxies.")
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = Field(description="Most proxies.")
    target_cpu_utilization_percentage: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=70, description="Of the requested CPU, in percent."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            holds=lambda m: m.min_replicas <= m.max_replicas,
            message="minReplicas must not exceed maxReplicas",
            field=".minReplicas",
        ),
    )


class Toleration(Model):
    """A taint that the proxies put up with, as in a pod."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; unset with operator Exists: any.")
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Exists or Equal (default).")
    value: LabelValue | None = Field(default=None, description="Value of the taint, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="NoSchedule, PreferNoSchedule or NoExecute; unset: any."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = Field(
        default=None, description="How long a pod stays after the taint came, for effect NoExecute."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.key) && self.key != '' || has(self.operator) && self.operator == 'Exists'",
            holds=lambda m: bool(m.key) or m.operator == "Exists",
            message="a toleration without key must have operator Exists: set one of them",
        ),
        Rule(
            cel="!(has(self.operator) && self.operator == 'Exists' && has(self.value) && self.value != '')",
            holds=lambda m: not (m.operator == "Exists" and m.value),
            message="operator Exists takes no value: remove it, or use Equal",
            field=".value",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            holds=lambda m: m.toleration_seconds is None or m.effect == "NoExecute",
            message="tolerationSeconds belongs to effect NoExecute: set the effect or remove the seconds",
            field=".tolerationSeconds",
        ),
    )


class TlsSecret(Model):
    """A kubernetes.io/tls Secret for the data port. Replacing its content takes effect without a restart."""

    secret_name: ObjectName = Field(description="Name of the Secret, in the endpoint's own namespace.")


class UpstreamCa(Model):
    """Authorities that vouch for upstreams besides the system's. Replacing them takes effect without a restart."""

    secret_name: ObjectName = Field(description="Name of the Secret, in the endpoint's own namespace.")
    key: SecretKey = Field(default="ca.crt", description="Key inside the Secret: certificates in PEM.")


class ProxySettings(Model):
    """How the endpoint's proxies run here. An endpoint with an external model has at least one replica."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="Number of proxy pods.")
    resources: Resources | None = Field(default=None, description="Requests and limits of a proxy container.")
    autoscaling: Autoscaling | None = Field(default=None, description="Scale with load instead of replicas.")
    service_account_annotations: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=1024)]], *atomic_map(most=20, key=_KEY, message=_KEY_MESSAGE)
        ]
        | None
    ) = Field(default=None, description="Annotations of the owned ServiceAccount, for a cloud identity.")
    node_selector: Annotated[dict[str, LabelValue], *atomic_map(most=20, key=_KEY, message=_KEY_MESSAGE)] | None = (
        Field(default=None, description="Labels that a node must have to run the proxies.")
    )
    tolerations: Annotated[list[Toleration], atomic_list(most=20)] | None = Field(
        default=None, description="Taints that the proxies put up with."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the proxies.")
    tls: TlsSecret | None = Field(default=None, description="Serve TLS on the data port; the Service's is then 443.")
    upstream_ca: UpstreamCa | None = Field(
        default=None, description="Trust a private authority for the TLS certificates of upstreams."
    )
