"""databricks-sdk: limits, gateway, tags, mails, logs, metrics, OpenAPI, clients that it makes, on endpoint `chat`."""

import json

from common import say
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, NotFound, NotImplemented
from databricks.sdk.service.serving import (
    AiGatewayRateLimit,
    AiGatewayRateLimitKey,
    AiGatewayRateLimitRenewalPeriod,
    AiGatewayUsageTrackingConfig,
    EmailNotifications,
    EndpointTag,
    FallbackConfig,
    PtEndpointCoreConfig,
    PtServedModel,
    RateLimit,
    RateLimitKey,
    RateLimitRenewalPeriod,
)

w = WorkspaceClient()
endpoints = w.serving_endpoints
before = endpoints.get("chat")


def refused(kind, call, *arguments, **named):
    """The error with which a call is refused."""
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


limits = [
    RateLimit(calls=1000, renewal_period=RateLimitRenewalPeriod.MINUTE, key=RateLimitKey.USER),
    RateLimit(calls=5000, renewal_period=RateLimitRenewalPeriod.MINUTE, key=RateLimitKey.ENDPOINT),
]
assert endpoints.put("chat", rate_limits=limits).rate_limits == limits
# The reference shows these limits in that answer alone.
assert endpoints.get("chat").ai_gateway is None

usage = AiGatewayUsageTrackingConfig(enabled=True)
minute = AiGatewayRateLimitRenewalPeriod.MINUTE
gateway_limits = [
    AiGatewayRateLimit(calls=900, key=AiGatewayRateLimitKey.USER, renewal_period=minute),
    AiGatewayRateLimit(tokens=90000, key=AiGatewayRateLimitKey.ENDPOINT, renewal_period=minute),
    AiGatewayRateLimit(
        calls=800, key=AiGatewayRateLimitKey.USER_GROUP, principal="data-science", renewal_period=minute
    ),
]
put = endpoints.put_ai_gateway("chat", usage_tracking_config=usage, rate_limits=gateway_limits)
assert (put.usage_tracking_config, put.rate_limits) == (usage, gateway_limits)
shown = endpoints.get("chat").ai_gateway
assert (shown.usage_tracking_config, shown.rate_limits) == (usage, gateway_limits)
off = endpoints.put_ai_gateway("chat", fallback_config=FallbackConfig(enabled=False))
assert off.fallback_config == FallbackConfig(enabled=False)
assert endpoints.get("chat").ai_gateway.rate_limits in (None, [])
assert "fallback" in str(
    refused(BadRequest, endpoints.put_ai_gateway, "chat", fallback_config=FallbackConfig(enabled=True))
)

tagged = endpoints.patch("chat", add_tags=[EndpointTag(key="team", value="gen-ai"), EndpointTag(key="a", value="b")])
assert sorted(tag.key for tag in tagged.tags) == ["a", "team"]
assert endpoints.patch("chat", delete_tags=["a"]).tags == [EndpointTag(key="team", value="gen-ai")]
assert endpoints.get("chat").tags == [EndpointTag(key="team", value="gen-ai")]

mails = EmailNotifications(on_update_success=["ada@example.com"], on_update_failure=[])
notified = endpoints.update_notifications("chat", email_notifications=mails)
assert notified.name == "chat"
assert notified.email_notifications.on_update_success == ["ada@example.com"]
assert endpoints.get("chat").email_notifications.on_update_success == ["ada@example.com"]

after = endpoints.get("chat")
assert (after.config, after.state, after.id) == (before.config, before.state, before.id)

assert isinstance(endpoints.logs("chat", "model").logs, str)
assert isinstance(endpoints.build_logs("chat", "model").logs, str)
refused(NotFound, endpoints.logs, "chat", "nobody")
text = endpoints.export_metrics("chat").contents.read().decode()
assert "# TYPE " in text
document = json.loads(endpoints.get_open_api("chat").contents.read())
assert document["openapi"].startswith("3.1")
assert document["info"]["title"] == "chat"
assert document["info"]["version"] == "1"
assert document["servers"][0]["url"].endswith("/serving-endpoints/chat")
assert list(document["paths"]) == ["/served-models/model/invocations"]

pt = PtEndpointCoreConfig(served_entities=[PtServedModel(entity_name="system.ai.llama", provisioned_model_units=50)])
refused(NotImplemented, endpoints.create_provisioned_throughput_endpoint, "pt", config=pt)
refused(BadRequest, endpoints.patch_telemetry_config, "chat")

client = endpoints.get_open_ai_client()
assert (
    client.chat.completions.create(model="chat", messages=say("hello")).choices[0].message.content == "You said: hello"
)
langchain = endpoints.get_langchain_chat_open_ai_client("chat")
assert langchain.invoke("hello").content == "You said: hello"
