"""The resource as a whole: `ServingEndpoint`, its spec and its identity."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from model_serving.api.base import Model, Transition, camel, value_rule
from model_serving.api.config import EndpointConfig
from model_serving.api.policy import Access, AiGateway, Description, EmailNotifications, RateLimits, Tags
from model_serving.api.proxy import ProxySettings
from model_serving.api.status import EndpointStatus
from model_serving.api.types import EntityName, SecretRef, Word

GROUP = "model-serving.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ServingEndpoint"
PLURAL = "servingendpoints"

RESERVED_PREFIX = "databricks-"
"""Names of endpoints that Databricks itself provides begin so."""

EndpointName = Annotated[
    EntityName,
    value_rule(
        f"!self.startsWith('{RESERVED_PREFIX}')",
        lambda name: not name.startswith(RESERVED_PREFIX),
        f"names that start with {RESERVED_PREFIX} are reserved: choose another",
    ),
]
Off = Annotated[
    bool, value_rule("!self", lambda value: not value, "this has no meaning here: remove it or set it to false")
]


class EndpointSpec(Model):
    """What a user asks for."""

    endpoint_name: EndpointName | None = Field(
        default=None, description="The name that clients use; immutable; default: the object's name."
    )
    config: EndpointConfig = Field(description="What is versioned: served entities and traffic.")
    rate_limits: RateLimits | None = Field(default=None, description="Limits, effective without a roll-out.")
    ai_gateway: AiGateway | None = Field(default=None, description="Databricks' AI gateway block.")
    tags: Tags | None = Field(default=None, description="Labels for people; stored and echoed.")
    access: Access | None = Field(default=None, description="Who may view, query and manage the endpoint.")
    proxy: ProxySettings = Field(default=ProxySettings(), description="How the endpoint's proxies run here.")
    description: Description | None = Field(default=None, description="Stored and echoed.")
    email_notifications: EmailNotifications | None = Field(default=None, description="Stored and echoed.")
    budget_policy_id: Word | None = Field(default=None, description="Stored and echoed.")
    route_optimized: Off | None = Field(default=None, description="Must be false or unset.")

    transitions: ClassVar[tuple[Transition, ...]] = (
        Transition(
            cel="has(self.endpointName) == has(oldSelf.endpointName) && "
            "(!has(self.endpointName) || self.endpointName == oldSelf.endpointName)",
            holds=lambda new, old: new.endpoint_name == old.endpoint_name,
            message="endpointName is immutable, and unset counts as a value: create another endpoint",
            field=".endpointName",
        ),
    )


class ObjectMeta(BaseModel):
    """The parts of an object's metadata that anything here reads; the rest is ignored."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, extra="ignore", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=48, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ServingEndpoint(BaseModel):
    """A generative-AI serving endpoint: models at vendors or in the cluster behind one name, with Databricks' API."""

    # Unknown fields of the spec are refused; those of metadata and status, which others write, are ignored.

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, extra="forbid", frozen=True)

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: EndpointSpec
    status: EndpointStatus = EndpointStatus()

    @property
    def endpoint_name(self) -> str:
        """The name that clients use."""
        return self.spec.endpoint_name or self.metadata.name

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name of the object."""
        return self.metadata.namespace, self.metadata.name

    @property
    def databricks_id(self) -> str:
        """The `id` of the REST API: the UID without dashes."""
        return self.metadata.uid.replace("-", "")


def secret_refs(value: Any, path: str = "") -> list[tuple[str, SecretRef]]:
    """All Secret references below a model, each with its path in YAML spelling."""
    if isinstance(value, SecretRef):
        return [(path, value)]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in secret_refs(item, f"{path}[{i}]")]
    if not isinstance(value, BaseModel):
        return []
    return [
        found
        for name in type(value).model_fields
        for found in secret_refs(getattr(value, name), f"{path}.{camel(name)}".lstrip("."))
    ]
