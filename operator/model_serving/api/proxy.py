"""How the proxies of an endpoint run in the cluster; read by the operator only."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from model_serving.api.base import Model, ObjectName, Rule, atomic_list

Quantity = Annotated[int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]
Label = Annotated[str, Field(max_length=253)]
Value = Annotated[str, Field(max_length=1024)]


class ResourceAmounts(Model):
    """Amounts in Kubernetes quantities, kept as they were written."""

    cpu: Quantity | None = Field(default=None, description="For example 500m.")
    memory: Quantity | None = Field(default=None, description="For example 128Mi.")


class Resources(Model):
    """Requests and limits of a proxy container. Unset: 100m and 64Mi requested, memory limited to 256Mi."""

    requests: ResourceAmounts | None = Field(default=None, description="What is reserved.")
    limits: ResourceAmounts | None = Field(default=None, description="What is never exceeded.")


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
    """As in a pod."""

    key: Label | None = Field(default=None, description="Taint key.")
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Exists or Equal.")
    value: Label | None = Field(default=None, description="Taint value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(default=None, description="Effect.")
    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = Field(default=None, description="Seconds.")


class TlsSecret(Model):
    """A kubernetes.io/tls Secret for the data port."""

    secret_name: ObjectName = Field(description="Name of the Secret, in the endpoint's own namespace.")


class ProxySettings(Model):
    """How the endpoint's proxies run here. An endpoint with an external model has at least one replica."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="Number of proxy pods.")
    resources: Resources | None = Field(default=None, description="Requests and limits of a proxy container.")
    autoscaling: Autoscaling | None = Field(default=None, description="Scale with load instead of replicas.")
    service_account_annotations: Annotated[dict[Label, Value], Field(max_length=20)] | None = Field(
        default=None, description="Annotations of the owned ServiceAccount, for a cloud identity."
    )
    node_selector: Annotated[dict[Label, Label], Field(max_length=20)] | None = Field(
        default=None, description="As in a pod."
    )
    tolerations: Annotated[list[Toleration], atomic_list(most=20)] | None = Field(
        default=None, description="As in a pod."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="As in a pod.")
    tls: TlsSecret | None = Field(default=None, description="Serve TLS on the data port.")
