"""The versioned part of an endpoint: served entities and traffic."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from model_serving.api.base import Model, Rule, Transition, camel, count_set, list_map, matching
from model_serving.api.external_model import ExternalModel
from model_serving.api.foundation_model import SETTINGS, WorkloadSize, WorkloadType
from model_serving.api.types import EntityName, SecretRef, Word

_FOUNDATION_SETTINGS = (*SETTINGS, "environment_vars")


class EnvironmentVariable(Model):
    """One variable of a foundation model's server: a value or a key of a Secret."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        matching(r"[A-Za-z_][A-Za-z0-9_]*", "use only letters, digits and _, a digit not first"),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="A plain value.")
    secret_ref: SecretRef | None = Field(default=None, description="A key of a Secret.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.value) != has(self.secretRef)",
            holds=lambda m: (m.value is None) != (m.secret_ref is None),
            message="set exactly one of value and secretRef",
        ),
    )


def _ordered(least: str, most: str) -> Rule:
    low, high = camel(least), camel(most)
    return Rule(
        cel=f"!has(self.{low}) || !has(self.{high}) || self.{low} <= self.{high}",
        holds=lambda m: count_set(m, least, most) < 2 or getattr(m, least) <= getattr(m, most),
        message=f"{low} must not exceed {high}",
        field=f".{low}",
    )


class ServedEntity(Model):
    """One model behind the endpoint: an external model, or a foundation model named by `entityName`."""

    name: EntityName = Field(description="Name of the entity, unique in the endpoint; answers carry it in a header.")
    external_model: ExternalModel | None = Field(default=None, description="A model at a vendor.")
    entity_name: Word | None = Field(default=None, description="A foundation model, as catalog.schema.name.")
    entity_version: Word | None = Field(default=None, description="Version of the foundation model.")
    workload_size: WorkloadSize | None = Field(default=None, description="Concurrency class of a foundation model.")
    workload_type: WorkloadType | None = Field(default=None, description="Machine class of a foundation model.")
    scale_to_zero_enabled: bool | None = Field(default=None, description="Whether a foundation model may rest.")
    min_provisioned_concurrency: Annotated[int, Field(ge=0, le=4096)] | None = Field(
        default=None, description="Least concurrent calls."
    )
    max_provisioned_concurrency: Annotated[int, Field(ge=0, le=4096)] | None = Field(
        default=None, description="Most concurrent calls."
    )
    min_provisioned_throughput: Annotated[int, Field(ge=0, le=10_000_000)] | None = Field(
        default=None, description="Least tokens per second."
    )
    max_provisioned_throughput: Annotated[int, Field(ge=0, le=10_000_000)] | None = Field(
        default=None, description="Most tokens per second."
    )
    provisioned_model_units: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        default=None, description="Throughput in model units."
    )
    burst_scaling_enabled: bool | None = Field(default=None, description="Whether bursts may exceed the throughput.")
    instance_profile_arn: Word | None = Field(default=None, description="Refused: it has no meaning in Kubernetes.")
    environment_vars: Annotated[list[EnvironmentVariable], *list_map("name", most=30)] | None = Field(
        default=None, description="Variables of a foundation model's server."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.externalModel) != has(self.entityName)",
            holds=lambda m: (m.external_model is None) != (m.entity_name is None),
            message="set exactly one of externalModel (a model at a vendor) and entityName (a foundation model)",
        ),
        Rule(
            cel="!has(self.externalModel) || !("
            + " || ".join(f"has(self.{camel(name)})" for name in _FOUNDATION_SETTINGS)
            + ")",
            holds=lambda m: m.external_model is None or all(getattr(m, name) is None for name in _FOUNDATION_SETTINGS),
            message="an external model takes no entityVersion, workload, concurrency, throughput or environment "
            "settings: remove them",
        ),
        Rule(
            cel="!has(self.workloadSize) || !(has(self.minProvisionedConcurrency) || "
            "has(self.maxProvisionedConcurrency))",
            holds=lambda m: (
                m.workload_size is None
                or not count_set(m, "min_provisioned_concurrency", "max_provisioned_concurrency")
            ),
            message="workloadSize is a range of concurrency itself: set either it or minProvisionedConcurrency and "
            "maxProvisionedConcurrency",
            field=".workloadSize",
        ),
        _ordered("min_provisioned_concurrency", "max_provisioned_concurrency"),
        _ordered("min_provisioned_throughput", "max_provisioned_throughput"),
        Rule(
            cel="!has(self.instanceProfileArn)",
            holds=lambda m: m.instance_profile_arn is None,
            message="instanceProfileArn has no meaning in Kubernetes: remove it",
            field=".instanceProfileArn",
            reason="FieldValueForbidden",
        ),
    )


class Route(Model):
    """A share of the traffic."""

    served_entity_name: EntityName = Field(description="Name of a served entity of this config.")
    traffic_percentage: Annotated[int, Field(ge=0, le=100)] = Field(
        description="Share of the calls, 0 to 100; all routes sum to 100."
    )


Routes = Annotated[list[Route], *list_map("served_entity_name", least=1, most=15)]


class TrafficConfig(Model):
    """How calls are shared out among the served entities."""

    routes: Routes = Field(description="One route per entity that gets calls.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.routes.map(r, r.trafficPercentage).sum() == 100",
            holds=lambda m: sum(r.traffic_percentage for r in m.routes) == 100,
            message="trafficPercentage values must sum to 100",
            message_cel="'trafficPercentage values must sum to 100, got %d'"
            ".format([self.routes.map(r, r.trafficPercentage).sum()])",
            describe=lambda m: (
                f"trafficPercentage values must sum to 100, got {sum(r.traffic_percentage for r in m.routes)}"
            ),
            field=".routes",
        ),
    )


class AutoCaptureConfig(Model):
    """Databricks' deprecated inference tables; only the disabled form is accepted."""

    enabled: bool = Field(default=False, description="Must be false.")
    catalog_name: Word | None = Field(default=None, description="Echoed.")
    schema_name: Word | None = Field(default=None, description="Echoed.")
    table_name_prefix: Word | None = Field(default=None, description="Echoed.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.enabled",
            holds=lambda m: not m.enabled,
            message="autoCaptureConfig is not enforced here: remove it or set enabled to false",
        ),
    )


def _external(config: EndpointConfig) -> bool:
    return any(e.external_model is not None for e in config.served_entities)


class EndpointConfig(Model):
    """What is versioned: the served entities and how traffic is shared among them."""

    served_entities: Annotated[list[ServedEntity], *list_map("name", least=1, most=15)] = Field(
        description="The models behind the endpoint; exactly one if it is an external model."
    )
    traffic_config: TrafficConfig | None = Field(default=None, description="Default: the sole entity gets all calls.")
    auto_capture_config: AutoCaptureConfig | None = Field(default=None, description="Deprecated and not enforced.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.servedEntities.exists(e, has(e.externalModel)) || self.servedEntities.size() == 1",
            holds=lambda m: not _external(m) or len(m.served_entities) == 1,
            message="an endpoint with an external model must have exactly one served entity",
            message_cel="'an endpoint with an external model must have exactly one served entity, got %d'"
            ".format([self.servedEntities.size()])",
            describe=lambda m: (
                f"an endpoint with an external model must have exactly one served entity, got {len(m.served_entities)}"
            ),
            field=".servedEntities",
        ),
        Rule(
            cel="has(self.trafficConfig) || self.servedEntities.size() == 1",
            holds=lambda m: m.traffic_config is not None or len(m.served_entities) == 1,
            message="trafficConfig is required with more than one served entity: give each its trafficPercentage",
            field=".servedEntities",
        ),
        Rule(
            cel="!has(self.trafficConfig) || self.trafficConfig.routes.all(r, "
            "self.servedEntities.exists_one(e, e.name == r.servedEntityName))",
            holds=lambda m: (
                m.traffic_config is None
                or {r.served_entity_name for r in m.traffic_config.routes} <= {e.name for e in m.served_entities}
            ),
            message="every route must name an existing served entity",
            field=".trafficConfig.routes",
        ),
    )
    transitions: ClassVar[tuple[Transition, ...]] = (
        Transition(
            cel="self.servedEntities.exists(e, has(e.externalModel)) == "
            "oldSelf.servedEntities.exists(e, has(e.externalModel))",
            holds=lambda new, old: _external(new) == _external(old),
            message="externalModel can be neither added to nor removed from an existing endpoint: "
            "create another endpoint",
            field=".servedEntities",
        ),
    )

    @property
    def routes(self) -> list[Route]:
        """The routes, with the default of one entity filled in."""
        if self.traffic_config is not None:
            return list(self.traffic_config.routes)
        return [Route(served_entity_name=self.served_entities[0].name, traffic_percentage=100)]
