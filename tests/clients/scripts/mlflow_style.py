"""The newer forms of MLflow's client: a whole REST body for create, update_endpoint_config, and embeddings."""

from common import entity
from mlflow.deployments import get_deploy_client

client = get_deploy_client("databricks")
body = {
    "name": "embeddings",
    "config": {"served_entities": [entity("ada", "llm/v1/embeddings", "text-embedding-ada-002")], "name": "embeddings"},
    "tags": [{"key": "team", "value": "gen-ai"}],
}
made = client.create_endpoint(config=body)
assert made["task"] == "llm/v1/embeddings"
found = client.predict(endpoint="embeddings", inputs={"input": ["one", "two"]})
assert [each["index"] for each in found["data"]] == [0, 1]
assert len(found["data"][0]["embedding"]) == 1536

changed = client.update_endpoint_config(
    endpoint="embeddings",
    config={
        "served_entities": [entity("small", "llm/v1/embeddings", "text-embedding-3-small")],
        "traffic_config": {"routes": [{"served_model_name": "small", "traffic_percentage": "100"}]},
        "rate_limits": [],
        "route_optimized": False,
    },
)
assert changed["id"] == made["id"]
assert len(client.predict(endpoint="embeddings", inputs={"input": "three"})["data"]) == 1
client.delete_endpoint(endpoint="embeddings")
