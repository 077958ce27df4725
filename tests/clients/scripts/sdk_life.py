"""databricks-sdk: create, get, list, wait, update, query, delete, with typed results."""

import os
from datetime import timedelta

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, ResourceAlreadyExists
from databricks.sdk.service.serving import (
    ChatMessage,
    ChatMessageRole,
    EmailNotifications,
    EndpointCoreConfigInput,
    EndpointStateConfigUpdate,
    EndpointStateReady,
    EndpointTag,
    ExternalModel,
    ExternalModelProvider,
    OpenAiConfig,
    RateLimit,
    RateLimitKey,
    RateLimitRenewalPeriod,
    Route,
    ServedEntityInput,
    ServedModelStateDeployment,
    ServingEndpointDetailedPermissionLevel,
    TrafficConfig,
)

w = WorkspaceClient()
w.secrets.create_scope("own_scope")
w.secrets.put_secret("own_scope", "api_key", string_value=os.environ["PROVIDER_KEY"])


def entity(name: str) -> ServedEntityInput:
    """A chat model at the provider of the tests."""
    config = OpenAiConfig(openai_api_key="{{secrets/own_scope/api_key}}", openai_api_base=os.environ["PROVIDER"])
    model = ExternalModel(name="gpt-4", provider=ExternalModelProvider.OPENAI, task="llm/v1/chat", openai_config=config)
    return ServedEntityInput(name=name, external_model=model)


def refused(kind, call, *arguments, **named):
    """The error with which a call is refused."""
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


hello = [ChatMessage(role=ChatMessageRole.USER, content="hello")]
tags = [EndpointTag(key="team", value="gen-ai"), EndpointTag(key="stage", value="")]
limit = RateLimit(calls=1000, renewal_period=RateLimitRenewalPeriod.MINUTE, key=RateLimitKey.USER)
mails = EmailNotifications(on_update_success=["ada@example.com"], on_update_failure=["ada@example.com"])
waiter = w.serving_endpoints.create(
    "life",
    # The class of the configuration asks for a name, which the server has from the path.
    config=EndpointCoreConfigInput(name="life", served_entities=[entity("first")]),
    rate_limits=[limit],
    tags=tags,
    description="what it is for",
    email_notifications=mails,
    budget_policy_id="policy-1",
    route_optimized=False,
)
assert waiter.name == "life"
assert w.serving_endpoints.get("life").id == waiter.response.id
made = waiter.result(timeout=timedelta(minutes=2))
assert made.state.ready is EndpointStateReady.READY
assert made.state.config_update is EndpointStateConfigUpdate.NOT_UPDATING
assert made.pending_config is None
assert made.config.config_version == 1
assert made.creator == os.environ["CALLER"]
assert made.permission_level is ServingEndpointDetailedPermissionLevel.CAN_MANAGE
assert made.tags == tags
assert (made.task, made.description, made.route_optimized) == ("llm/v1/chat", "what it is for", False)
assert (made.email_notifications, made.budget_policy_id) == (mails, "policy-1")
assert made.ai_gateway is None
assert 0 < made.creation_timestamp <= made.last_updated_timestamp
assert made.creation_timestamp > 1_600_000_000_000
(served,) = made.config.served_entities
assert served.external_model == entity("first").external_model
assert served.state.deployment is ServedModelStateDeployment.DEPLOYMENT_READY
assert served.creator == os.environ["CALLER"]
assert served.creation_timestamp > 1_600_000_000_000
(route,) = made.config.traffic_config.routes
assert (route.served_entity_name, route.served_model_name, route.traffic_percentage) == ("first", "first", 100)

(listed,) = w.serving_endpoints.list()
assert (listed.name, listed.id, listed.creator, listed.task) == ("life", made.id, made.creator, "llm/v1/chat")
assert (listed.state, listed.tags) == (made.state, tags)
assert [each.name for each in listed.config.served_entities] == ["first"]

said = w.serving_endpoints.query(
    "life",
    messages=hello,
    max_tokens=50,
    client_request_id="id-1",
    usage_context={"k": "v"},
    extra_params={"top_k": "3"},
)
assert said.choices[0].message.content == "You said: hello"
assert said.served_model_name == "first"
assert said.usage.total_tokens > 0

changed = w.serving_endpoints.update_config(
    "life",
    served_entities=[entity("second")],
    traffic_config=TrafficConfig(routes=[Route(served_model_name="second", traffic_percentage=100)]),
).result(timeout=timedelta(minutes=2))
assert changed.id == made.id
assert changed.config.config_version == 2
assert changed.config.served_entities[0].name == "second"
assert changed.creation_timestamp == made.creation_timestamp
assert w.serving_endpoints.query("life", messages=hello).served_model_name == "second"
# A renamed entity without routes: the route is derived anew.
third = w.serving_endpoints.update_config_and_wait("life", served_entities=[entity("third")])
assert third.config.config_version == 3
assert third.config.traffic_config.routes[0].served_entity_name == "third"
assert w.serving_endpoints.wait_get_serving_endpoint_not_updating("life") == w.serving_endpoints.get("life")

core = EndpointCoreConfigInput(name="life", served_entities=[entity("first")])
assert "life" in str(refused(ResourceAlreadyExists, w.serving_endpoints.create, "life", config=core))
w.serving_endpoints.delete("life")
assert "life" in str(refused(NotFound, w.serving_endpoints.get, "life"))
refused(NotFound, w.serving_endpoints.delete, "life")
again = w.serving_endpoints.create_and_wait("life", config=core)
assert again.id != made.id
assert again.config.config_version == 1
assert again.tags in (None, [])
w.serving_endpoints.delete("life")
assert list(w.serving_endpoints.list()) == []
