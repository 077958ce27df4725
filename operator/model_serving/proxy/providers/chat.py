"""A chat call as OpenAI's API defines it, typed: what dialects translate from. Pure.

Unknown fields anywhere are refused by their path; JSON schemas stay the bytes that the client sent. Besides OpenAI's
own fields there are Databricks' (`thinking`, `top_k`, `cache_control`, content of type `reasoning`).

References: https://platform.openai.com/docs/api-reference/chat/create, Databricks' chat completion request.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.call import Call
from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.features import Features, asked_fields, cannot_express
from model_serving.proxy.providers.habits import dumped_parts, plain_messages, plain_number
from model_serving.proxy.providers.sampling import SAMPLING, Sampling

if TYPE_CHECKING:
    MaybeRaw = Raw | None
else:
    MaybeRaw = Raw
"""JSON as the client sent it, or None. To msgspec `Raw | None` means null alone: `_sent` makes null None."""


class _Strict(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An object whose unknown fields are refused."""


class CacheControl(_Strict):
    """Databricks' mark: what precedes may be cached."""

    type: Literal["ephemeral"]
    ttl: str | None = None


class TextPart(_Strict, tag_field="type", tag="text"):
    """Text."""

    text: str
    cache_control: CacheControl | None = None


class ImageUrl(_Strict):
    """An image by URL; `data:` URLs hold it."""

    url: str
    detail: str | None = None


class ImagePart(_Strict, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl
    cache_control: CacheControl | None = None


class InputAudio(_Strict):
    """Sound, in base64."""

    data: str
    format: str


class AudioPart(_Strict, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: InputAudio
    cache_control: CacheControl | None = None


class File(_Strict):
    """A document: a data URL (`file_data`), or one that was uploaded to OpenAI (`file_id`)."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(_Strict, tag_field="type", tag="file"):
    """A document."""

    file: File
    cache_control: CacheControl | None = None


class RefusalPart(_Strict, tag_field="type", tag="refusal"):
    """What the model said when it refused."""

    refusal: str


class Thought(_Strict):
    """A thought, with the vendor's signature; `data` of `type` `summary_encrypted_text` is one that nobody can read."""

    type: str
    text: str = ""
    signature: str | None = None
    data: str | None = None


class ReasoningPart(_Strict, tag_field="type", tag="reasoning"):
    """Databricks' form of thoughts, as answers bring it and later turns send it back. `after_tool_calls`: as many of
    the turn's tool calls stand before it; vendors that sign thoughts want them back where they were."""

    summary: list[Thought]
    after_tool_calls: int = 0
    cache_control: CacheControl | None = None


UserPart = TextPart | ImagePart | AudioPart | FilePart
AssistantPart = TextPart | RefusalPart | ReasoningPart
ToolPart = TextPart | ImagePart


class FunctionCall(_Strict):
    """A function's name, and its arguments as JSON text. `parsed_arguments` are the same, read: the openai package adds
    them to what it streamed or parsed, and sends them back."""

    name: str
    arguments: str
    parsed_arguments: MaybeRaw = None


class ToolCall(_Strict):
    """One call that the model made. `extra_content`: Google's signatures of thoughts, as its own compatible API has
    them (`{"google": {"thought_signature": "…"}}`)."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None
    extra_content: MaybeRaw = None
    cache_control: CacheControl | None = None

    def __post_init__(self) -> None:
        self.extra_content = _sent(self.extra_content)


class System(_Strict, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[TextPart]
    name: str | None = None


class Developer(_Strict, tag_field="role", tag="developer"):
    """Instructions, by OpenAI's newer name."""

    content: str | list[TextPart]
    name: str | None = None


class User(_Strict, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[UserPart]
    name: str | None = None


class Assistant(_Strict, tag_field="role", tag="assistant"):
    """What the model said. `reasoning_content` and `annotations` come back from answers; see `docs/providers.md`.
    `parsed` is the content, read: as `FunctionCall.parsed_arguments`."""

    content: str | list[AssistantPart] | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    annotations: MaybeRaw = None
    parsed: MaybeRaw = None
    audio: None = None
    function_call: None = None

    def __post_init__(self) -> None:
        self.annotations = _sent(self.annotations)
        if isinstance(self.content, str) and (parts := dumped_parts(self.content)) is not None:
            with suppress(msgspec.ValidationError):
                self.content = msgspec.convert(parts, list[AssistantPart])


class Tool(_Strict, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: str | list[ToolPart]
    tool_call_id: str
    name: str | None = None


Message = System | Developer | User | Assistant | Tool


class Function(_Strict):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: MaybeRaw = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        self.parameters = _sent(self.parameters)


class FunctionTool(_Strict):
    """A tool."""

    function: Function
    type: Literal["function"] = "function"
    cache_control: CacheControl | None = None


class NamedFunction(_Strict):
    """A function by its name."""

    name: str


class NamedTool(_Strict):
    """The tool that the model has to call."""

    function: NamedFunction
    type: Literal["function"] = "function"


class AnyText(_Strict, tag_field="type", tag="text"):
    """No particular format."""


class JsonObject(_Strict, tag_field="type", tag="json_object"):
    """Any JSON object."""


class Schema(_Strict):
    """A named JSON schema."""

    name: str
    description: str | None = None
    schema: MaybeRaw = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        self.schema = _sent(self.schema)


class JsonSchema(_Strict, tag_field="type", tag="json_schema"):
    """JSON after a schema."""

    json_schema: Schema


class Thinking(_Strict):
    """Databricks' switch for thoughts. `display` is Anthropic's: whether they can be read."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None
    display: str | None = None


class Chat(Sampling, gc=False, kw_only=True):
    """A chat call. `max_tokens` stands for `max_completion_tokens` too; `top_logprobs` is None without `logprobs`."""

    messages: list[Message]
    logprobs: bool = False
    top_logprobs: int | None = None
    tools: list[FunctionTool] = msgspec.field(default_factory=list)
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool = True
    response_format: AnyText | JsonObject | JsonSchema | None = None
    reasoning_effort: str | None = None
    thinking: Thinking | None = None
    user: str | None = None


_TYPES: dict[str, Any] = SAMPLING | {
    "max_completion_tokens": int,
    "logprobs": bool,
    "top_logprobs": int,
    "tools": list[FunctionTool],
    "tool_choice": Literal["none", "auto", "required"] | NamedTool,
    "parallel_tool_calls": bool,
    "response_format": AnyText | JsonObject | JsonSchema,
    "reasoning_effort": str,
    "thinking": Thinking,
    "user": str,
}
TYPED = frozenset(_TYPES)
"""The fields that `Chat` has a type for."""
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _TYPES.items()}
_MESSAGES = msgspec.json.Decoder(list[Message])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_AT = re.compile(r" - at `(?:key in )?\$(.*)`$")


def read_chat(call: Call, features: Features, provider: str) -> Chat:
    """The call, typed. InvalidParameter names the field that is wrong, or that `features` do not have."""
    chat = Chat(messages=_read_messages(call.fields["messages"]))
    asked = asked_fields(call.fields, features, provider)
    if "max_tokens" in asked and "max_completion_tokens" in asked:
        raise InvalidParameter("max_tokens and max_completion_tokens mean the same: send one", parameter="max_tokens")
    for name, raw in asked.items():
        decoder = _DECODERS.get(name)
        if decoder is None:
            chat.other = chat.other | {name: raw}
            continue
        value = read_field(name, raw, decoder)
        if name == "stop":
            value = [value] if isinstance(value, str) else value
        setattr(chat, "max_tokens" if name == "max_completion_tokens" else name, value)
    if not chat.logprobs:
        chat.top_logprobs = None
    if chat.thinking is not None and chat.thinking.display is not None and "thinking.display" not in features.parts:
        raise cannot_express("thinking.display", provider)
    return chat


def _read_messages(raw: Raw) -> list[Message]:
    """The messages, made plain where they cannot be read as they are. InvalidParameter."""
    try:
        return _MESSAGES.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raw = Raw(plain_messages(raw))
    return read_field("messages", raw, _MESSAGES)  # type: ignore[no-any-return]


def read_field(name: str, raw: Raw, decoder: msgspec.json.Decoder[Any]) -> Any:
    """A field's value. InvalidParameter."""
    try:
        return decoder.decode(plain_number(bytes(raw)) if decoder.type is int else raw)
    except msgspec.DecodeError as error:
        path = _AT.search(str(error))
        text = _AT.sub("", str(error))
        field = name + (path.group(1) if path else "")
        raise InvalidParameter(f"{field}: {text}", parameter=field) from None
    except (UnicodeDecodeError, RecursionError):
        raise InvalidParameter(f"{name} cannot be read", parameter=name) from None


def _sent(raw: MaybeRaw) -> MaybeRaw:
    return None if raw is None or bytes(raw) == b"null" else raw


def arguments_object(call: ToolCall, field: str) -> Raw:
    """A tool call's arguments as a JSON object, for vendors that take no text. InvalidParameter."""
    text = call.function.arguments.strip() or "{}"
    try:
        _OBJECT.decode(text)
    except (msgspec.DecodeError, RecursionError):
        path = f"{field}.function.arguments"
        raise InvalidParameter(f"{path} must be the text of a JSON object", parameter=path) from None
    return Raw(text.encode())


def text_of_parts(content: str | list[TextPart], field: str, provider: str, *, joint: str = "\n") -> str:
    """The text of content for a vendor that takes one string. InvalidParameter for a mark that would be lost."""
    if isinstance(content, str):
        return content
    for number, part in enumerate(content):
        if part.cache_control is not None:
            raise cannot_express(f"{field}[{number}].cache_control", provider)
    return joint.join(part.text for part in content)


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 text of a `data:` URL; None for any other URL. ValueError for one that has no base64."""
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    kind, _, coding = head.partition(";")
    if not comma or coding.rpartition(";")[2].strip() != "base64":
        raise ValueError("a data: URL must look like data:image/png;base64,…")
    kind = kind.strip().lower()
    return ("image/jpeg" if kind == "image/jpg" else kind), data


def given(value: Any) -> Any:
    """`value`, or UNSET for None: for structs whose unset fields are not sent."""
    return UNSET if value is None else value


Maybe = UnsetType
"""The type of a field that may be left out."""
