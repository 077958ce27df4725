"""What MLflow makes of 403, 409 and 429: run as a caller who may only see `seen`, while `moving` is being updated."""

import os

from common import entity, say, with_own_key
from mlflow.deployments import get_deploy_client
from mlflow_refusals import refused

os.environ.update(
    MLFLOW_DEPLOYMENT_PREDICT_TOTAL_TIMEOUT="4",
    MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT="4",
    MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT="4",  # how mlflow 2.22 calls the first of them
)

manager = get_deploy_client("databricks")
change = {"served_entities": [entity("third")]}
refused(409, manager.update_endpoint, endpoint="moving", config=change)
# Limits are no configuration: they may change while an update is in progress.
limits = {"rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}]}
assert manager.update_endpoint(endpoint="moving", config=limits) == limits
# mlflow 2.9 shows the status; later ones try again until their time is over.
try:
    refused(429, manager.predict, endpoint="seen", inputs={"messages": say("[demo:status=429,retry-after=1]")})
except TimeoutError:
    assert hasattr(manager, "predict_stream")

os.environ["DATABRICKS_TOKEN"] = os.environ["VIEWER_TOKEN"]
viewer = get_deploy_client("databricks")
assert viewer.get_endpoint(endpoint="seen")["permission_level"] == "CAN_VIEW"
assert [each["name"] for each in viewer.list_endpoints()] == ["seen"]
refused(403, viewer.predict, endpoint="seen", inputs={"messages": say("hello")})
refused(403, viewer.update_endpoint, endpoint="seen", config=change)
refused(403, viewer.delete_endpoint, endpoint="seen")
refused(403, viewer.create_endpoint, name="own", config={"served_entities": [with_own_key("own")]})

os.environ["DATABRICKS_TOKEN"] = "nobodys"
refused(401, get_deploy_client("databricks").get_endpoint, endpoint="seen")
