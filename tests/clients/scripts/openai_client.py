"""The official openai client: chat, streams, tools, embeddings, completions, models, errors."""

import base64
import os
import struct

import openai
from common import say

client = openai.OpenAI(max_retries=0)

chat = client.chat.completions.create(model="chat", messages=say("hello"))
assert chat.choices[0].message.content == "You said: hello"
assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens

stream = client.chat.completions.create(
    model="chat", messages=say("one two"), stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: one two"
assert chunks[-1].usage.completion_tokens > 0

parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
with_tools = client.chat.completions.create(
    model="chat", messages=say("hello"), tools=[tool], tool_choice="auto", temperature=0.5, n=1
)
assert with_tools.choices[0].message.content == "You said: hello"

found = client.embeddings.create(model="embeddings", input=["one", "two"])
assert [len(each.embedding) for each in found.data] == [1536, 1536]
raw = client.embeddings.create(model="embeddings", input="one", encoding_format="base64").data[0].embedding
floats = client.embeddings.create(model="embeddings", input="one", encoding_format="float").data[0].embedding
assert isinstance(raw, str)
unpacked = struct.unpack("<1536f", base64.b64decode(raw))
assert max(abs(a - b) for a, b in zip(unpacked, floats, strict=True)) < 1e-6
assert max(abs(a - b) for a, b in zip(unpacked, found.data[0].embedding, strict=True)) < 1e-6

assert client.completions.create(model="completions", prompt="hello").choices[0].text == "You said: hello"
assert sorted(model.id for model in client.models.list()) == ["chat", "completions", "embeddings", "limited"]


def refused(kind, call, **named):
    """The error with which a call is refused."""
    try:
        call(**named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


error = refused(openai.NotFoundError, client.chat.completions.create, model="nobody", messages=say("hello"))
assert "nobody" in error.message
stranger = openai.OpenAI(api_key="nobodys", max_retries=0)
refused(openai.AuthenticationError, stranger.chat.completions.create, model="chat", messages=say("hello"))
viewer = openai.OpenAI(api_key=os.environ["VIEWER_TOKEN"], max_retries=0)
refused(openai.PermissionDeniedError, viewer.chat.completions.create, model="chat", messages=say("hello"))
refused(openai.BadRequestError, client.chat.completions.create, model="chat", messages=say("[demo:status=400]"))
client.chat.completions.create(model="limited", messages=say("hello"))
limited = refused(openai.RateLimitError, client.chat.completions.create, model="limited", messages=say("hello"))
assert 0 < int(limited.response.headers["retry-after"]) <= 61
assert limited.body["message"]
refused(openai.APIError, lambda: list(client.chat.completions.create(
    model="chat", messages=say("[demo:cut=3]"), stream=True
)))  # fmt: skip
