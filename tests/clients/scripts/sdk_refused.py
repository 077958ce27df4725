"""databricks-sdk: what is refused, and how; endpoint `moving` is being updated, `chat` rests."""

import os

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceConflict,
    Unauthenticated,
)
from databricks.sdk.service.serving import (
    ChatMessage,
    ChatMessageRole,
    EndpointCoreConfigInput,
    EndpointStateConfigUpdate,
    EndpointStateReady,
    EndpointTag,
    ExternalModel,
    ExternalModelProvider,
    OpenAiConfig,
    RateLimit,
    RateLimitRenewalPeriod,
    ServedEntityInput,
)

w = WorkspaceClient()
hello = [ChatMessage(role=ChatMessageRole.USER, content="hello")]


def entity(name="third", key="{{secrets/my_scope/my_openai_api_key}}", task="llm/v1/chat"):
    """An external model."""
    model = ExternalModel(
        name="gpt-4", provider=ExternalModelProvider.OPENAI, task=task, openai_config=OpenAiConfig(openai_api_key=key)
    )
    return ServedEntityInput(name=name, external_model=model)


def refused(kind, call, *arguments, **named):
    """The text of the error with which a call is refused."""
    try:
        call(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def create(*entities, name="new"):
    """Asks for an endpoint of these entities."""
    w.serving_endpoints.create(name, config=EndpointCoreConfigInput(name, served_entities=list(entities)))


# One update at a time; the old configuration serves meanwhile, and what is no configuration may change.
moving = w.serving_endpoints.get("moving")
assert moving.state.config_update is EndpointStateConfigUpdate.IN_PROGRESS
assert moving.state.ready is EndpointStateReady.READY
assert (moving.config.config_version, moving.pending_config.config_version) == (1, 2)
assert moving.pending_config.start_time > 1_600_000_000_000
assert "moving" in refused(ResourceConflict, w.serving_endpoints.update_config, "moving", served_entities=[entity()])
assert w.serving_endpoints.query("moving", messages=hello).served_model_name == moving.config.served_entities[0].name
w.serving_endpoints.patch("moving", add_tags=[EndpointTag(key="team", value="gen-ai")])
w.serving_endpoints.put("moving", rate_limits=[RateLimit(calls=100, renewal_period=RateLimitRenewalPeriod.MINUTE)])
assert w.serving_endpoints.get("moving").state.config_update is EndpointStateConfigUpdate.IN_PROGRESS

assert "no_scope" in refused(InvalidParameterValue, create, entity(key="{{secrets/no_scope/key}}"))
assert "no_key" in refused(InvalidParameterValue, create, entity(key="{{secrets/my_scope/no_key}}"))
assert "served_entities" in refused(InvalidParameterValue, create, entity("one"), entity("two"))
assert "task" in refused(InvalidParameterValue, create, entity(task="llm/v1/poems"))
assert "served_entities" in refused(InvalidParameterValue, create)
assert "name" in refused(InvalidParameterValue, create, entity(), name="-no-")
registered = ServedEntityInput(name="own", entity_name="main.default.model", entity_version="1")
refused(InvalidParameterValue, w.serving_endpoints.update_config, "chat", served_entities=[registered])
refused(NotFound, w.serving_endpoints.update_config, "nobody", served_entities=[entity()])
refused(NotFound, w.serving_endpoints.query, "nobody", messages=hello)
assert [each.name for each in w.serving_endpoints.list()] == ["chat", "moving"]

viewer = WorkspaceClient(host=os.environ["DATABRICKS_HOST"], token=os.environ["VIEWER_TOKEN"])
own_key = OpenAiConfig(openai_api_key_plaintext=os.environ["PROVIDER_KEY"])
own = entity("own")
own.external_model.openai_config = own_key
core = EndpointCoreConfigInput("own", served_entities=[own])
refused(PermissionDenied, viewer.serving_endpoints.create, "own", config=core)
stranger = WorkspaceClient(host=os.environ["DATABRICKS_HOST"], token="nobodys")
refused(Unauthenticated, stranger.serving_endpoints.get, "chat")
refused(Unauthenticated, stranger.serving_endpoints.query, "chat", messages=hello)

# A 429 is tried again until the client's time is over.
hasty = WorkspaceClient(config=Config(retry_timeout_seconds=2))
limited = [ChatMessage(role=ChatMessageRole.USER, content="[demo:status=429,retry-after=1]")]
refused(TimeoutError, hasty.serving_endpoints.query, "chat", messages=limited)
