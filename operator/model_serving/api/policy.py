"""The live part of an endpoint: limits, access and tags take effect without a roll-out."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from model_serving.api.base import Model, Rule, atomic_list, list_map, matching
from model_serving.api.types import Text, Word


class LimitKey(StrEnum):
    """Whose calls a limit counts together (Databricks' words)."""

    USER = "user"
    USER_GROUP = "user_group"
    SERVICE_PRINCIPAL = "service_principal"
    ENDPOINT = "endpoint"


Amount = Annotated[int, Field(ge=0, le=1_000_000_000)]


_KEY = "self.?key.orValue('endpoint')"


class RateLimit(Model):
    """At most so many calls or tokens in any minute; 0 blocks."""

    calls: Amount | None = Field(default=None, description="Most calls per minute; 0 blocks.")
    tokens: Amount | None = Field(default=None, description="Most tokens per minute; 0 blocks.")
    key: LimitKey = Field(
        default=LimitKey.ENDPOINT,
        description="endpoint: all calls; user: each user, or the named one; user_group: all members of the named "
        "group together; service_principal: the named ServiceAccount (system:serviceaccount:NS:NAME) or a key owner.",
    )
    principal: Word | None = Field(default=None, description="The user, group or service principal that is meant.")
    renewal_period: Literal["minute"] = Field(default="minute", description="minute.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.calls) || has(self.tokens)",
            holds=lambda m: m.calls is not None or m.tokens is not None,
            message="a rate limit needs calls or tokens: set at least one",
        ),
        Rule(
            cel=f"!({_KEY} in ['user_group', 'service_principal']) || has(self.principal)",
            holds=lambda m: m.key not in (LimitKey.USER_GROUP, LimitKey.SERVICE_PRINCIPAL) or m.principal is not None,
            message="principal is required with key user_group or service_principal: name the group or the principal",
            field=".principal",
        ),
        Rule(
            cel=f"{_KEY} != 'endpoint' || !has(self.principal)",
            holds=lambda m: m.key is not LimitKey.ENDPOINT or m.principal is None,
            message="key endpoint counts all callers together and takes no principal: remove it or change the key",
            field=".principal",
        ),
    )


RateLimits = Annotated[list[RateLimit], atomic_list(most=20)]


class Tag(Model):
    """A label for people; stored and echoed."""

    key: Annotated[str, Field(min_length=1, max_length=127)] = Field(description="Key, unique among the tags.")
    value: Annotated[str, Field(max_length=255)] = Field(default="", description="Value, may be empty.")


class PermissionLevel(StrEnum):
    """CAN_MANAGE includes CAN_QUERY includes CAN_VIEW."""

    CAN_VIEW = "CAN_VIEW"
    CAN_QUERY = "CAN_QUERY"
    CAN_MANAGE = "CAN_MANAGE"


class PrincipalKind(StrEnum):
    """Who may be given access."""

    USER = "User"
    GROUP = "Group"
    SERVICE_ACCOUNT = "ServiceAccount"


FORBIDDEN_PRINCIPALS = ("system:anonymous", "system:unauthenticated")
_ACCOUNT = "[a-z0-9]([-.a-z0-9]*[a-z0-9])?"


class AccessEntry(Model):
    """One principal and what it may do with this endpoint."""

    kind: PrincipalKind = Field(description="User, Group or ServiceAccount.")
    name: Word = Field(
        description="Name of the principal; a ServiceAccount's without its namespace. Kind and name stand in the list "
        "once: a second ServiceAccount of that name is the User system:serviceaccount:NAMESPACE:NAME."
    )
    namespace: Annotated[
        str,
        Field(max_length=63),
        matching(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)?", "use only lower-case letters, digits and -, as in a namespace"),
    ] = Field(default="", description="Of a ServiceAccount only; empty: the endpoint's own namespace.")
    permission_level: PermissionLevel = Field(description="CAN_VIEW, CAN_QUERY or CAN_MANAGE.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.kind == 'ServiceAccount' || self.?__namespace__.orValue('') == ''",
            holds=lambda m: m.kind is PrincipalKind.SERVICE_ACCOUNT or not m.namespace,
            message="namespace belongs to kind ServiceAccount: remove it",
            field=".namespace",
        ),
        Rule(
            cel=f"!(self.name in {list(FORBIDDEN_PRINCIPALS)})",
            holds=lambda m: m.name not in FORBIDDEN_PRINCIPALS,
            message="anonymous callers cannot be given access: name a user, a group or a ServiceAccount",
            field=".name",
        ),
        Rule(
            cel=f"self.kind != 'ServiceAccount' || self.name.matches('^{_ACCOUNT}$')",
            holds=lambda m: m.kind is not PrincipalKind.SERVICE_ACCOUNT or bool(re.fullmatch(_ACCOUNT, m.name)),
            message="a ServiceAccount is named without its namespace: put the namespace into the field of that name",
            field=".name",
        ),
    )


class Switch(Model):
    """A block that can only be turned on or off."""

    enabled: bool = Field(default=False, description="Whether it is on.")


class Pii(Model):
    """What to do with personal data."""

    behavior: Literal["NONE", "BLOCK", "MASK"] = Field(default="NONE", description="NONE, BLOCK or MASK.")


Keywords = Annotated[list[Annotated[str, Field(max_length=255)]], atomic_list(most=100)]


class GuardrailRules(Model):
    """Guardrails of one direction."""

    safety: bool | None = Field(default=None, description="Must be false or unset.")
    pii: Pii | None = Field(default=None, description="Must be NONE or unset.")
    invalid_keywords: Keywords | None = Field(default=None, description="Must be empty or unset.")
    valid_topics: Keywords | None = Field(default=None, description="Must be empty or unset.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.safety) && self.safety) && !(has(self.pii) && self.pii.behavior != 'NONE') && "
            "!(has(self.invalidKeywords) && self.invalidKeywords.size() > 0) && "
            "!(has(self.validTopics) && self.validTopics.size() > 0)",
            holds=lambda m: (
                not (m.safety or (m.pii and m.pii.behavior != "NONE") or m.invalid_keywords or m.valid_topics)
            ),
            message="guardrails are not enforced here and are refused rather than ignored: remove them",
        ),
    )


class Guardrails(Model):
    """Guardrails; only the empty and disabled forms are accepted."""

    input: GuardrailRules | None = Field(default=None, description="Of requests.")
    output: GuardrailRules | None = Field(default=None, description="Of answers.")


class InferenceTableConfig(Model):
    """Payload logging; only the disabled form is accepted."""

    enabled: bool = Field(default=False, description="Must be false.")
    catalog_name: Word | None = Field(default=None, description="Echoed.")
    schema_name: Word | None = Field(default=None, description="Echoed.")
    table_name_prefix: Word | None = Field(default=None, description="Echoed.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.enabled",
            holds=lambda m: not m.enabled,
            message="inferenceTableConfig is not enforced here: remove it or set enabled to false",
        ),
    )


class FallbackConfig(Model):
    """Fallback to other entities; only the disabled form is accepted."""

    enabled: bool = Field(default=False, description="Must be false.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.enabled",
            holds=lambda m: not m.enabled,
            message="fallbackConfig is not enforced here: remove it or set enabled to false",
        ),
    )


class AiGateway(Model):
    """Databricks' AI gateway block: a second source of limits, echoed apart from `rateLimits`; both are enforced."""

    rate_limits: RateLimits | None = Field(default=None, description="Limits, enforced beside spec.rateLimits.")
    usage_tracking_config: Switch | None = Field(default=None, description="Echoed; usage is always counted.")
    guardrails: Guardrails | None = Field(default=None, description="Not enforced: only empty forms are accepted.")
    inference_table_config: InferenceTableConfig | None = Field(default=None, description="Not enforced.")
    fallback_config: FallbackConfig | None = Field(default=None, description="Not enforced.")


Addresses = Annotated[list[Annotated[str, Field(max_length=254)]], atomic_list(most=50)]


class EmailNotifications(Model):
    """Stored and echoed."""

    on_update_success: Addresses | None = Field(default=None, description="Stored and echoed.")
    on_update_failure: Addresses | None = Field(default=None, description="Stored and echoed.")


Tags = Annotated[list[Tag], *list_map("key", most=50)]
Access = Annotated[list[AccessEntry], *list_map("kind", "name", most=100)]
Description = Text
