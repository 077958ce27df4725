"""ChatDatabricks and MLflow's client on translated vendors; `EXPECTED` says what each of them answers."""

import json
import os

from databricks_langchain import ChatDatabricks
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from mlflow.deployments import get_deploy_client


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun over {city}"


SCHEMA = {"title": "reply", "description": "A reply.", "type": "object", "properties": {"city": {"type": "string"}}}
ASKED = HumanMessage("How is the weather?")
client = get_deploy_client("databricks")

for endpoint, expected in json.loads(os.environ["EXPECTED"]).items():
    chat = ChatDatabricks(endpoint=endpoint, max_tokens=100)
    answered = chat.invoke("hello")
    assert answered.content == expected["text"], (endpoint, answered)
    assert answered.usage_metadata["total_tokens"] > 0, endpoint
    assert "".join(piece.content for piece in chat.stream("hello")) == expected["text"], endpoint

    tools = chat.bind_tools([weather])
    called = tools.invoke([ASKED])
    assert [[call["name"], call["args"]] for call in called.tool_calls] == [expected["call"]], (endpoint, called)
    streamed = None
    for piece in tools.stream([ASKED]):
        streamed = piece if streamed is None else streamed + piece
    assert [[call["name"], call["args"]] for call in streamed.tool_calls] == [expected["call"]], (endpoint, streamed)
    for turn in (called, streamed):
        results = [ToolMessage("sun", tool_call_id=call["id"]) for call in turn.tool_calls]
        assert tools.invoke([ASKED, turn, *results]).content == expected["result"], endpoint

    structured = chat.with_structured_output(SCHEMA, method="json_schema")
    assert structured.invoke("hello") == expected["structured"], endpoint

    asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
    whole = client.predict(endpoint=endpoint, inputs=asked)
    assert whole["choices"][0]["message"]["content"] == expected["text"], (endpoint, whole)
    chunks = list(client.predict_stream(endpoint=endpoint, inputs=asked))
    said = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
    assert "".join(said) == expected["text"], (endpoint, chunks)
