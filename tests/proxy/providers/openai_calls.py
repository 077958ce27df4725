"""Valid calls of OpenAI's API, thrown: all kinds of messages, parts, tools and parameters, and Databricks' own fields.

A body has few of the optional things at once: with all of them each provider would refuse something, and nothing
would be translated. Dice make a body in a tenth of a millisecond; composed strategies of hypothesis take forty.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Body = dict[str, Any]
Throw = Callable[[], Any]

WORDS = ("Hello.", "Grüße – 👋", "a\nb", '"quoted" \\', "{}", "1", " x ", "日本語", "<b>&amp;</b>", "\u2028line")
NAMES = ("weather", "find_city", "f", "A1", "get_the_time")
URLS = ("data:image/png;base64,iVBORw0KGgo=", "data:image/jpg;base64,/9j/4AAQ", "https://images.example.com/cat.jpg")
PROPERTIES = (
    {"type": "string", "description": "A city."},
    {"type": "integer"},
    {"type": "string", "enum": ["a", "b"]},
    {"type": "array", "items": {"type": "number"}},
    {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
)
FILES = ({"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}, {"file_id": "file-1"})


def bodies(task: str, own: bool) -> st.SearchStrategy[Body]:
    """Bodies of a task (`chat`, `completions`, `embeddings`); `own`: with Databricks' fields."""
    return st.integers(0, 2**40).map(lambda seed: getattr(Calls(seed, own), task)())


def anything() -> st.SearchStrategy[Any]:
    """Any JSON."""
    return st.integers(0, 2**40).map(lambda seed: Calls(seed, own=True).junk())


class Calls:
    """One body."""

    def __init__(self, seed: int, own: bool) -> None:
        self._dice = random.Random(seed)
        self._own = own

    # Bodies

    def chat(self) -> Body:
        """A chat call."""
        body = {"model": "endpoint", "messages": self._messages()}
        if self._rarely(2):
            body |= self._tools()
        body |= self._some(self._sampling() | self._usual() | (self._databricks() if self._own else {}), 3)
        if self._rarely(6):
            body |= self._some(self._penalties() | self._rare(), 1)
        if self._rarely(6):
            body |= self._some(self._labels(), 2)
        if body.get("logprobs") and self._rarely(2):
            body["top_logprobs"] = self._number(0, 5)
        return body

    def completions(self) -> Body:
        """A completions call."""
        prompt: Any = self._word()
        if self._rarely(6):
            prompt = self._one([prompt], [prompt, "x"], [1, 2], [[1, 2], [3]])
        optional = self._sampling() | {"user": self._word}
        if self._own:
            optional |= {"top_k": lambda: self._number(1, 40)}
        if self._rarely(6):
            optional |= self._penalties() | {
                "logprobs": lambda: self._number(0, 5),
                "best_of": lambda: self._number(1, 3),
                "echo": lambda: self._one(True, False),
                "suffix": self._word,
            }
        return {"model": "endpoint", "prompt": prompt} | self._some(optional, 3)

    def embeddings(self) -> Body:
        """An embeddings call."""
        asked: Any = self._one(self._word(), [self._word() for _ in range(self._number(1, 5))])
        if self._rarely(6):
            asked = self._one([1, 2], [[1, 2], [3]])
        optional: dict[str, Throw] = {
            "dimensions": lambda: self._number(1, 3072),
            "encoding_format": lambda: self._one("float", "base64"),
            "user": self._word,
        }
        if self._own:
            optional["instruction"] = self._word
        return {"model": "endpoint", "input": asked} | self._some(optional, 2)

    def junk(self, depth: int = 0) -> Any:
        """Any JSON."""
        kind = self._number(0, 8 if depth < 3 else 6)
        if kind == 7:
            return [self.junk(depth + 1) for _ in range(self._number(0, 3))]
        if kind == 8:
            names = ("type", "text", "role", "content", "url", "name", "x", "", "summary", "function", "json_schema")
            return {self._one(*names): self.junk(depth + 1) for _ in range(self._number(0, 3))}
        return self._one(None, True, 0, -1, 2**70, 1.5, "", "text", "\x00", "data:", "data:;base64,!", *WORDS)

    # Parameters

    def _sampling(self) -> dict[str, Throw]:
        return {
            "max_tokens": lambda: self._one(None, 1, 20, 9999),
            "temperature": lambda: self._one(0, 0.5, 1, 2, None),
            "top_p": lambda: self._one(0.1, 1, None),
            "stop": lambda: self._one(None, "END", ["END"], ["\n", "b", "c", "d"]),
            "seed": lambda: self._one(None, 0, 7, 2**31),
        }

    def _usual(self) -> dict[str, Throw]:
        return {
            "max_completion_tokens": lambda: self._number(1, 9999),
            "response_format": self._response_format,
            "reasoning_effort": lambda: self._one("none", "minimal", "low", "medium", "high"),
        }

    def _databricks(self) -> dict[str, Throw]:
        return {
            "thinking": lambda: self._one({"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}),
            "top_k": lambda: self._number(1, 40),
        }

    def _penalties(self) -> dict[str, Throw]:
        return {
            "n": lambda: self._number(1, 3),
            "presence_penalty": lambda: self._one(-2, 0, 0.5),
            "frequency_penalty": lambda: self._one(-2, 0.0, 0.5),
            "logit_bias": lambda: self._one({}, {"50256": -100}),
        }

    def _rare(self) -> dict[str, Throw]:
        return {
            "logprobs": lambda: self._one(True, False),
            "verbosity": lambda: self._one("low", "medium", "high"),
            "prediction": lambda: {"type": "content", "content": self._word()},
            "modalities": lambda: self._one(["text"], ["text", "audio"]),
            "audio": lambda: {"voice": "alloy", "format": "mp3"},
            "web_search_options": lambda: {"search_context_size": "low"},
            "functions": lambda: [{"name": "f", "parameters": {"type": "object"}}],
        }

    def _labels(self) -> dict[str, Throw]:
        return {
            "stream_options": lambda: {"include_usage": self._one(True, False), "include_obfuscation": False},
            "user": self._word,
            "metadata": lambda: {"team": self._word()},
            "store": lambda: self._one(True, False),
            "service_tier": lambda: self._one("auto", "default", "flex"),
            "safety_identifier": self._word,
            "prompt_cache_key": self._word,
        }

    def _response_format(self) -> Body:
        optional: dict[str, Throw] = {"strict": lambda: self._one(True, False), "description": self._word}
        schema = {"name": self._name(), "schema": self._schema()} | self._some(optional, 2)
        return self._one({"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": schema})

    def _schema(self) -> Body:
        properties = {self._name(): self._one(*PROPERTIES) for _ in range(self._number(0, 2))}
        return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}

    def _tools(self) -> Body:
        optional: dict[str, Throw] = {
            "description": self._word,
            "parameters": self._schema,
            "strict": lambda: self._one(True, False),
        }
        names = self._dice.sample(NAMES, self._number(1, 2))
        functions = [{"name": name} | self._some(optional, 2) for name in names]
        body: Body = {"tools": [{"type": "function", "function": function} for function in functions]}
        if self._own and self._rarely(8):
            body["tools"][0]["cache_control"] = {"type": "ephemeral"}
        if self._rarely(2):
            named = {"type": "function", "function": {"name": names[0]}}
            body["tool_choice"] = self._one("none", "auto", "required", named)
        if self._rarely(4):
            body["parallel_tool_calls"] = self._one(True, False)
        return body

    # Messages

    def _messages(self) -> list[Body]:
        found = [self._instructions() for _ in range(self._number(0, 2))]
        for _ in range(self._number(0, 2)):
            found += self._turn()
        if self._rarely(10):
            found.append(self._instructions())
        if not found or found[-1]["role"] != "tool":
            found.append(self._message("user", self._user_content()))
        return found

    def _turn(self) -> list[Body]:
        user = self._message("user", self._user_content())
        calling = [message for _ in range(self._number(0, 2)) for message in self._tool_turn()]
        return [user, *calling, *([self._assistant()] if self._rarely(2) else [])]

    def _tool_turn(self) -> list[Body]:
        ids = [f"call_{self._number(1000, 9999)}{at}" for at in range(self._number(1, 2))]
        arguments = ({"city": self._word()}, {}, {"n": 1, "deep": {"a": [None]}})
        calls = [
            {
                "id": id,
                "type": "function",
                "function": {"name": self._name(), "arguments": json.dumps(self._one(*arguments))},
            }
            for id in ids
        ]
        content = self._one(None, "", self._word())
        results = [{"role": "tool", "tool_call_id": id, "content": self._texts()} for id in ids]
        return [{"role": "assistant", "content": content, "tool_calls": calls}, *results]

    def _instructions(self) -> Body:
        return self._message(self._one("system", "developer"), self._texts())

    def _assistant(self) -> Body:
        message = self._message("assistant", self._assistant_content())
        if self._rarely(8):
            message["refusal"] = None
        if self._own and self._rarely(8):
            message["reasoning_content"] = self._word()
        return message

    def _message(self, role: str, content: Any) -> Body:
        named = {"name": self._name()} if self._rarely(12) else {}
        return {"role": role, "content": content} | named

    # Content

    def _texts(self) -> Any:
        parts = [self._part("text", text=self._word()) for _ in range(self._number(1, 2))]
        return self._one(self._word(), parts)

    def _user_content(self) -> Any:
        return self._one(self._word(), [self._user_part() for _ in range(self._number(1, 3))])

    def _user_part(self) -> Body:
        if self._rarely(12):
            sound = {"data": "UklGRg==", "format": self._one("wav", "mp3")}
            return self._one(self._part("input_audio", input_audio=sound), self._part("file", file=self._one(*FILES)))
        image = {"url": self._one(*URLS)} | self._some({"detail": lambda: self._one("auto", "high")}, 1)
        return self._one(self._part("text", text=self._word()), self._part("image_url", image_url=image))

    def _assistant_content(self) -> Any:
        parts = [self._part("text", text=self._word())]
        if self._rarely(6):
            parts = [{"type": "refusal", "refusal": self._word()}]
        if self._own and self._rarely(6):
            thought = {"type": "summary_text", "text": self._word(), "signature": "c2ln"}
            hidden = {"type": "summary_encrypted_text", "data": "ZGF0YQ=="}
            parts.insert(0, {"type": "reasoning", "summary": [self._one(thought, hidden)]})
        return self._one(self._word(), parts)

    def _part(self, kind: str, **fields: Any) -> Body:
        mark = self._one({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"})
        return {"type": kind} | fields | ({"cache_control": mark} if self._own and self._rarely(12) else {})

    # Dice

    def _one(self, *values: Any) -> Any:
        return self._dice.choice(values)

    def _number(self, low: int, high: int) -> int:
        return self._dice.randint(low, high)

    def _rarely(self, times: int) -> bool:
        """Once in so many times."""
        return self._dice.randrange(times) == 0

    def _some(self, optional: dict[str, Throw], most: int) -> Body:
        """At most so many of the optional fields."""
        chosen = self._dice.sample(sorted(optional), self._number(0, min(most, len(optional))))
        return {name: optional[name]() for name in chosen}

    def _word(self) -> str:
        return str(self._one(*WORDS))

    def _name(self) -> str:
        return str(self._one(*NAMES))
