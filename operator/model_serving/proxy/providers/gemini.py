"""Gemini's API, generateContent: what is asked. Answers: `gemini_answers.py`, streams: `gemini_stream.py`. Pure.

Spoken by `vertex.py` for Google's own models, for chat and for text completions.

References: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference,
https://cloud.google.com/vertex-ai/generative-ai/docs/thinking
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.call import Call
from model_serving.proxy.providers.base import Asked, Reply
from model_serving.proxy.providers.chat import (
    Chat,
    Function,
    FunctionTool,
    JsonObject,
    JsonSchema,
    NamedTool,
    given,
    read_chat,
)
from model_serving.proxy.providers.completions import Completion, read_completion
from model_serving.proxy.providers.events import TranslatedStream
from model_serving.proxy.providers.features import Features, cannot_express
from model_serving.proxy.providers.gemini_answers import read_reply
from model_serving.proxy.providers.gemini_contents import Content, Part, conversation_of
from model_serving.proxy.providers.gemini_media import Wire, resolution_of
from model_serving.proxy.providers.gemini_stream import GeminiStream
from model_serving.proxy.providers.schemas import described_schema
from model_serving.proxy.sse import EVENT_STREAM, StreamTranslator

T = TypeVar("T")

SAMPLING = frozenset(
    ("max_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed", "frequency_penalty", "presence_penalty")
)
OWN = frozenset(("safety_settings", "cached_content"))
"""The vendor's own fields: they go as they are."""
CHAT_FEATURES = Features(
    SAMPLING
    | OWN
    | {"max_completion_tokens", "logprobs", "top_logprobs", "tools", "tool_choice", "response_format"}
    | {"reasoning_effort", "thinking"},
    parts=frozenset(("image data", "image url", "audio", "file", "reasoning", "tool images")),
    notes=(
        "system and developer messages become one instruction for the whole call, wherever they stand; a call of "
        "nothing else sends them as what the user says",
        "empty texts are left out, and messages of the model that follow each other are joined",
        "an image may be a `gs://` URL, or a public one that the vendor fetches; its path must end in an extension, "
        "for the vendor has to be told the media type; `detail` must be the same for all images",
        "`input_audio` and `file` as data; `filename`, `annotations` of earlier turns and the `name` of a "
        "`json_schema` are labels that the vendor's API has no place for",
        "`refusal` of an earlier turn is sent as what the model said",
        "`tools`: one `strict` function makes the vendor check the arguments of all",
        "`response_format`: schemas are always strict; a `description` becomes the schema's",
        "`reasoning_effort` is a budget of tokens up to Gemini 2.5 (`minimal` and `low` 1024, `medium` 8192, `high` "
        "24576), a level for later models; `none` is a budget of 0, which not every model takes",
        "`extra_content` of tool calls carries Google's signatures of thoughts, which Gemini 3 demands with the next "
        "turn; calls that come without one are sent with Google's mark for that. A text's signature comes as a thought "
        "when the call has `thinking`",
        "`finish_reason` is `content_filter` whenever the vendor blocks the prompt or ends an answer for a reason of "
        "its own; `refusal` tells which, where nothing was said",
        "`safety_settings` and `cached_content` are Google's own and go as they are",
        "citations and safety ratings of answers are left out",
    ),
)
TEXT_FEATURES = Features(SAMPLING | OWN, notes=("`prompt` is sent as what the user says",))
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Tokens of thinking by `reasoning_effort`, as Google's own OpenAI-compatible API has them for Gemini 2.5."""
LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}
"""The same for later models."""
_GENERATION = re.compile(r"gemini-(\d+)")
_encode = msgspec.json.Encoder().encode


class FunctionDeclaration(Wire):
    """A function that the model may call. The schema takes `$ref`, unlike `parameters`."""

    name: str
    description: str | UnsetType = UNSET
    parameters_json_schema: Raw | UnsetType = UNSET


class Tools(Wire):
    """All functions."""

    function_declarations: list[FunctionDeclaration]


class FunctionCallingConfig(Wire):
    """Whether and what to call."""

    mode: str
    allowed_function_names: list[str] | UnsetType = UNSET


class ToolConfig(Wire):
    """What is told about tools."""

    function_calling_config: FunctionCallingConfig


class ThinkingConfig(Wire):
    """How much the model thinks, and whether it tells."""

    include_thoughts: bool | UnsetType = UNSET
    thinking_budget: int | UnsetType = UNSET
    thinking_level: str | UnsetType = UNSET


class GenerationConfig(Wire):
    """How the answer is made."""

    temperature: int | float | UnsetType = UNSET
    top_p: int | float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    candidate_count: int | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    presence_penalty: int | float | UnsetType = UNSET
    frequency_penalty: int | float | UnsetType = UNSET
    response_logprobs: bool | UnsetType = UNSET
    logprobs: int | UnsetType = UNSET
    response_mime_type: str | UnsetType = UNSET
    response_json_schema: Raw | UnsetType = UNSET
    media_resolution: str | UnsetType = UNSET
    thinking_config: ThinkingConfig | UnsetType = UNSET


class GenerateContent(Wire):
    """A request."""

    contents: list[Content]
    system_instruction: Content | UnsetType = UNSET
    tools: list[Tools] | UnsetType = UNSET
    tool_config: ToolConfig | UnsetType = UNSET
    generation_config: GenerationConfig | UnsetType = UNSET
    safety_settings: Raw | UnsetType = UNSET
    cached_content: Raw | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class _Gemini:
    """`provider` is its name in messages."""

    provider: str
    model: str

    stream_type = EVENT_STREAM

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The candidates as choices."""
        return read_reply(self.provider, asked, bodies[0])

    def stream(self, asked: Asked) -> StreamTranslator:
        """Each event is a whole answer with what is new."""
        return TranslatedStream(GeminiStream(self.provider, asked))


class GeminiText(_Gemini):
    """Text completions: the prompt is what the user says."""

    features = TEXT_FEATURES

    def request(self, call: Call) -> list[bytes]:
        """One request."""
        asked = read_completion(call, self.features, self.provider)
        request = GenerateContent(
            [Content([Part(text=asked.prompt)], "user")],
            generation_config=_filled(_sampling(asked)),
            safety_settings=asked.other.get("safety_settings", UNSET),
            cached_content=asked.other.get("cached_content", UNSET),
        )
        return [_encode(request)]


class GeminiChat(_Gemini):
    """Chat."""

    features = CHAT_FEATURES

    def request(self, call: Call) -> list[bytes]:
        """One request."""
        chat = read_chat(call, self.features, self.provider)
        contents, instruction = conversation_of(chat.messages, self.provider, late=_generation(self.model) >= 3)
        request = GenerateContent(
            contents,
            instruction,
            [Tools(_declarations(chat.tools, self.provider))] if chat.tools else UNSET,
            _tool_config(chat),
            _filled(self._config(chat)),
            chat.other.get("safety_settings", UNSET),
            chat.other.get("cached_content", UNSET),
        )
        return [_encode(request)]

    def _config(self, chat: Chat) -> GenerationConfig:
        config = _sampling(chat)
        if chat.logprobs:
            config.response_logprobs = True
            config.logprobs = given(chat.top_logprobs)
        if isinstance(chat.response_format, JsonObject | JsonSchema):
            config.response_mime_type = "application/json"
        if isinstance(chat.response_format, JsonSchema):
            config.response_json_schema = given(described_schema(chat.response_format.json_schema, self.provider))
        config.media_resolution = resolution_of(chat.messages, self.provider)
        config.thinking_config = _thinking(chat, self.model, self.provider)
        return config


def _sampling(asked: Chat | Completion) -> GenerationConfig:
    return GenerationConfig(
        temperature=given(asked.temperature),
        top_p=given(asked.top_p),
        top_k=given(asked.top_k),
        candidate_count=UNSET if asked.n == 1 else asked.n,
        max_output_tokens=given(asked.max_tokens),
        stop_sequences=asked.stop or UNSET,
        seed=given(asked.seed),
        presence_penalty=given(asked.presence_penalty),
        frequency_penalty=given(asked.frequency_penalty),
    )


def _filled(config: GenerationConfig) -> GenerationConfig | UnsetType:
    return UNSET if config == GenerationConfig() else config


def _declarations(tools: list[FunctionTool], provider: str) -> list[FunctionDeclaration]:
    for number, tool in enumerate(tools):
        if tool.cache_control is not None:
            raise cannot_express(f"tools[{number}].cache_control", provider)
    functions = [tool.function for tool in tools]
    return [FunctionDeclaration(f.name, given(f.description), _parameters(f)) for f in functions]


def _parameters(function: Function) -> Raw | UnsetType:
    """The schema; one that says nothing is not sent, for the vendor wants an object's."""
    schema = function.parameters
    return UNSET if schema is None or bytes(schema) == b"{}" else schema


def _tool_config(chat: Chat) -> ToolConfig | UnsetType:
    """`VALIDATED` is AUTO with arguments after their schemas; ANY and NONE leave nothing to check. Without tools there
    is nothing to choose, and the vendor refuses to be told so."""
    if not chat.tools and chat.tool_choice in ("auto", "none"):
        return UNSET
    names: list[str] | UnsetType = UNSET
    strict = any(tool.function.strict for tool in chat.tools)
    match chat.tool_choice:
        case NamedTool():
            mode, names = "ANY", [chat.tool_choice.function.name]
        case "required":
            mode = "ANY"
        case "none":
            mode = "NONE"
        case "auto":
            mode = "VALIDATED" if strict else "AUTO"
        case _:
            if not strict:
                return UNSET
            mode = "VALIDATED"
    return ToolConfig(FunctionCallingConfig(mode, names))


def _thinking(chat: Chat, model: str, provider: str) -> ThinkingConfig | UnsetType:
    config = ThinkingConfig()
    thinking, effort = chat.thinking, chat.reasoning_effort
    if thinking is not None:
        budget = 0 if thinking.type == "disabled" else thinking.budget_tokens
        config.thinking_budget = (
            -1 if budget is None and effort is None and thinking.type == "adaptive" else given(budget)
        )
        config.include_thoughts = True if thinking.type != "disabled" else UNSET
    if effort is not None:
        if config.thinking_budget is not UNSET:
            raise cannot_express("reasoning_effort", provider, "keep this or the budget of thinking")
        if effort == "none" or 0 < _generation(model) < 3:
            config.thinking_budget = _known(BUDGETS, effort, provider)
        else:
            config.thinking_level = _known(LEVELS, effort, provider)
    return UNSET if config == ThinkingConfig() else config


def _known(table: Mapping[str, T], effort: str, provider: str) -> T:
    if effort not in table:
        names = dict.fromkeys(("none", *table))
        raise cannot_express("reasoning_effort", provider, f"use one of {', '.join(names)}")
    return table[effort]


def _generation(model: str) -> int:
    """The number of the model's generation; 0 when its name does not tell. What is latest is 3 at least."""
    found = _GENERATION.search(model)
    if found is None:
        return 3 if model.endswith("-latest") else 0
    return int(found.group(1))
