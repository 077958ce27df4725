"""ChatDatabricks, DatabricksEmbeddings and DatabricksOpenAI."""

import asyncio

from common import say
from databricks_langchain import ChatDatabricks, DatabricksEmbeddings
from databricks_openai import AsyncDatabricksOpenAI, DatabricksOpenAI
from langchain_core.tools import tool

chat = ChatDatabricks(endpoint="chat")
answered = chat.invoke("hello")
assert answered.content == "You said: hello"
assert answered.usage_metadata["total_tokens"] > 0
pieces = [piece.content for piece in chat.stream("one two")]
assert len(pieces) > 2
assert "".join(pieces) == "You said: one two"
assert asyncio.run(chat.ainvoke("later")).content == "You said: later"


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun over {city}"


assert chat.bind_tools([weather]).invoke("hello").content == "You said: hello"

embeddings = DatabricksEmbeddings(endpoint="embeddings")
vectors = embeddings.embed_documents([f"text {n}" for n in range(25)])
assert [len(vector) for vector in vectors] == [1536] * 25
assert embeddings.embed_query("text 0") == vectors[0]

client = DatabricksOpenAI()
assert (
    client.chat.completions.create(model="chat", messages=say("hello")).choices[0].message.content == "You said: hello"
)
stream = client.chat.completions.create(model="chat", messages=say("one two"), stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "You said: one two"
assert len(client.embeddings.create(model="embeddings", input="one").data[0].embedding) == 1536


async def asynchronous() -> str:
    """The same, awaited."""
    done = await AsyncDatabricksOpenAI().chat.completions.create(model="chat", messages=say("hello"))
    return done.choices[0].message.content


assert asyncio.run(asynchronous()) == "You said: hello"
