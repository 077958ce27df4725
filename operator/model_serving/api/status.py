"""The status of an endpoint: what was observed, never what is hoped for. Written by the operator alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_serving.api.base import camel


class StatusModel(BaseModel):
    """Base of status models: lenient on reading, because an older or newer operator may have written it."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(StatusModel):
    """A Kubernetes condition."""

    type: str = Field(max_length=316, description="Available, Ready, Reconciling, Stalled, …")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int = Field(default=0, description="The generation that this speaks of.")
    last_transition_time: str = Field(default="", max_length=64, description="When the status last changed.")
    reason: str = Field(max_length=1024, description="One word, listed in the documentation.")
    message: str = Field(default="", max_length=32768, description="Cause and remedy, for people.")


class ReadyState(StrEnum):
    """Databricks' `state.ready`."""

    READY = "READY"
    NOT_READY = "NOT_READY"


class ConfigUpdateState(StrEnum):
    """Databricks' `state.config_update`."""

    NOT_UPDATING = "NOT_UPDATING"
    IN_PROGRESS = "IN_PROGRESS"
    UPDATE_FAILED = "UPDATE_FAILED"
    UPDATE_CANCELED = "UPDATE_CANCELED"


class DeploymentState(StrEnum):
    """Databricks' `state.deployment` of a served entity."""

    CREATING = "DEPLOYMENT_CREATING"
    READY = "DEPLOYMENT_READY"
    RECOVERING = "DEPLOYMENT_RECOVERING"
    FAILED = "DEPLOYMENT_FAILED"
    ABORTED = "DEPLOYMENT_ABORTED"


class EndpointState(StatusModel):
    """Databricks' two words about an endpoint."""

    ready: ReadyState = Field(default=ReadyState.NOT_READY, description="READY or NOT_READY.")
    config_update: ConfigUpdateState = Field(
        default=ConfigUpdateState.IN_PROGRESS, description="NOT_UPDATING, IN_PROGRESS, UPDATE_FAILED, UPDATE_CANCELED."
    )


class EntityState(StatusModel):
    """Databricks' words about a served entity."""

    deployment: DeploymentState = Field(description="How far the entity is.")
    deployment_state_message: str = Field(default="", max_length=32768, description="Why, for people.")


class ServedEntityStatus(StatusModel):
    """A served entity of one config version; during an update both versions may hold the same name."""

    config_version: int = Field(description="The config version that this speaks of.")
    name: str = Field(max_length=63, description="Name of the served entity.")
    state: EntityState = Field(description="How far it is.")


class CredentialStatus(StatusModel):
    """A Secret key that proxies have loaded; never its value or a digest of it."""

    name: str = Field(max_length=253, description="Name of the Secret.")
    key: str = Field(max_length=253, description="Key inside the Secret.")
    loaded_at: str = Field(default="", max_length=64, description="When the present value was loaded.")
    pods: int = Field(default=0, description="How many ready pods have loaded it.")


class EndpointStatus(StatusModel):
    """What was observed."""

    observed_generation: int = Field(default=0, description="The generation that the rest speaks of.")
    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = Field(default=[], description="Available, Ready and, while abnormal, Reconciling and Stalled.")
    id: str = Field(default="", max_length=64, description="The id of the REST API.")
    url: str = Field(default="", max_length=2048, description="Where to send calls.")
    creator: str = Field(default="", max_length=1024, description="Who created the endpoint through REST.")
    task: str = Field(default="", max_length=64, description="The common task of the serving version.")
    model: str = Field(default="", max_length=512, description="Provider and model of the serving version.")
    config_version: int = Field(default=0, description="What serves now; 0: nothing yet.")
    pending_config_version: int | None = Field(default=None, description="What is being rolled out.")
    state: EndpointState = Field(default=EndpointState(), description="Databricks' words.")
    served_entities: Annotated[
        list[ServedEntityStatus],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["configVersion", "name"],
            }
        ),
    ] = Field(default=[], description="The served entities of the serving and the pending version.")
    policy_version: str = Field(default="", max_length=64, description="Digest of the limits and access in force.")
    policy_pods: int = Field(default=0, description="How many ready pods enforce that policy.")
    credentials: Annotated[
        list[CredentialStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "key"]}),
    ] = Field(default=[], description="Secret keys in use; never their values.")
    replicas: int = Field(default=0, description="Proxy pods, ready or not.")
    ready_replicas: int = Field(default=0, description="Ready proxy pods.")
    selector: str = Field(default="", max_length=512, description="Label selector of the proxy pods, for /scale.")
