"""The life of an endpoint through MLflow, without a sleep: create, predict at once, stream, update, predict, delete."""

from common import entity, say
from mlflow.deployments import get_deploy_client
from mlflow_refusals import refused

client = get_deploy_client("databricks")


def answer(text):
    """What the endpoint answers to a message."""
    return client.predict(endpoint="life", inputs={"messages": say(text)})["choices"][0]["message"]["content"]


limits = [{"key": "user", "renewal_period": "minute", "calls": 1000}]
tags = [{"key": "team", "value": "gen-ai"}]
made = client.create_endpoint(
    name="life", config={"served_entities": [entity("first")], "tags": tags, "rate_limits": limits}
)
assert made["tags"] == tags
assert made["permission_level"] == "CAN_MANAGE"
assert (made["task"], made["endpoint_type"]) == ("llm/v1/chat", "EXTERNAL_MODEL")
assert answer("hello") == "You said: hello"

if hasattr(client, "predict_stream"):
    chunks = list(client.predict_stream(endpoint="life", inputs={"messages": say("one two")}))
    words = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert len(words) > 2
    assert "".join(words) == "You said: one two"

changed = client.update_endpoint(endpoint="life", config={"served_entities": [entity("second")]})
assert answer("between") == "You said: between"
shown = client.get_endpoint(endpoint="life")
newest = shown.get("pending_config") or shown["config"]
assert newest["config_version"] == 2
assert [each["name"] for each in newest["served_entities"]] == ["second"]
assert newest["traffic_config"]["routes"][0]["served_entity_name"] == "second"
assert shown["id"] == changed["id"] == made["id"]

if hasattr(client, "update_endpoint_tags"):
    answered = client.update_endpoint_tags(
        endpoint="life", config={"add_tags": [{"key": "stage", "value": "try"}], "delete_tags": ["team"]}
    )
    assert answered["tags"] == [{"key": "stage", "value": "try"}]
    assert client.update_endpoint_rate_limits(endpoint="life", config={"rate_limits": limits}) == {
        "rate_limits": limits
    }
    gateway = {
        "usage_tracking_config": {"enabled": True},
        "rate_limits": [{"calls": 100, "key": "endpoint", "renewal_period": "minute"}],
    }
    assert client.update_endpoint_ai_gateway(endpoint="life", config=gateway) == gateway
    assert client.get_endpoint(endpoint="life")["ai_gateway"] == gateway

refused(400, client.create_endpoint, name="life", config={"served_entities": [entity("first")]})
refused(400, client.create_endpoint, name="other", config={"served_entities": []})
refused(404, client.get_endpoint, endpoint="nobody")
refused(404, client.delete_endpoint, endpoint="nobody")
refused(404, client.predict, endpoint="nobody", inputs={"messages": say("hello")})
refused(400, client.predict, endpoint="life", inputs={"messages": say("[demo:status=400]")})

assert client.delete_endpoint(endpoint="life") == {}
refused(404, client.get_endpoint, endpoint="life")
again = client.create_endpoint(name="life", config={"served_entities": [entity("first")]})
assert again["id"] != made["id"]
assert (again.get("pending_config") or again["config"])["config_version"] == 1
assert answer("again") == "You said: again"
assert client.delete_endpoint(endpoint="life") == {}
