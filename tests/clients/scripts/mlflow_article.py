"""The MLflow examples of the reference article, word for word; mlflow 2.9 and newer."""

from mlflow.deployments import get_deploy_client

client = get_deploy_client("databricks")
endpoint = client.create_endpoint(
    name="chat",
    config={
        "served_entities": [
            {
                "name": "completions",
                "external_model": {
                    "name": "gpt-4",
                    "provider": "openai",
                    "task": "llm/v1/chat",
                    "openai_config": {
                        "openai_api_key": "{{secrets/scope/key}}",
                    },
                },
            }
        ],
    },
)
documented = {"name", "creator", "creation_timestamp", "last_updated_timestamp", "state", "config", "id"}
assert documented <= set(endpoint), set(endpoint)
assert endpoint["name"] == "chat"
assert endpoint["creator"] == "ada@example.com"
assert len(endpoint["id"]) == 32
made = endpoint["id"]

endpoint = client.update_endpoint(
    endpoint="chat",
    config={
        "served_entities": [
            {
                "name": "chats",
                "external_model": {
                    "name": "gpt-4",
                    "provider": "openai",
                    "task": "llm/v1/chat",
                    "openai_config": {
                        "openai_api_key": "{{secrets/scope/key}}",
                    },
                },
            }
        ],
    },
)
assert documented <= set(endpoint), set(endpoint)
assert endpoint["name"] == "chat"
assert endpoint["id"] == made

rate_limits = client.update_endpoint(
    endpoint="chat",
    config={
        "rate_limits": [
            {
                "key": "user",
                "renewal_period": "minute",
                "calls": 10,
            }
        ],
    },
)
assert rate_limits == {
    "rate_limits": [
        {
            "key": "user",
            "renewal_period": "minute",
            "calls": 10,
        }
    ],
}

assert [each["name"] for each in client.list_endpoints()] == ["chat"]
assert client.delete_endpoint(endpoint="chat") == {}
assert client.list_endpoints() == []
