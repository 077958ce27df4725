"""One client request as a call: from path and body to endpoint, task and fields. Sans-I/O; used by pipeline and router.

Routes are those of Databricks' query surface. The whole path decides: an endpoint may be called `chat` or `models`.
Only the top level of a body is decoded; the values stay the bytes that the client sent.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote

import msgspec

from model_serving.proxy.errors import BadRequest, EndpointNotFound, InvalidParameter, MethodNotAllowed

CHAT = "llm/v1/chat"
COMPLETIONS = "llm/v1/completions"
EMBEDDINGS = "llm/v1/embeddings"

INPUT_FIELDS = {CHAT: "messages", COMPLETIONS: "prompt", EMBEDDINGS: "input"}
"""The field that carries a task's input; on `/invocations` it tells the task."""

Fields = dict[str, msgspec.Raw]

_OPENAI_ROUTES = {("chat", "completions"): CHAT, ("completions",): COMPLETIONS, ("embeddings",): EMBEDDINGS}
_LONGEST_PATH = 1024
"""Bytes. Anybody may ask for paths: without a bound, those that are remembered could fill the memory."""
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_scalar = msgspec.json.Decoder(bool | int | float).decode


class Route(msgspec.Struct, frozen=True):
    """What a path asks for. `task` is set on OpenAI's routes, whose body names the endpoint."""

    endpoint: str = ""
    entity: str = ""
    task: str = ""
    models: bool = False

    @property
    def openai(self) -> bool:
        """Whether errors carry OpenAI's error object."""
        return bool(self.task) or self.models


class Call(msgspec.Struct, frozen=True, gc=False):
    """A parsed call. `entity` is empty unless the path names one."""

    task: str
    fields: Fields
    stream: bool
    entity: str = ""
    client_request_id: msgspec.Raw | None = None
    """The client's own words for the usage record, like `usage_context`; no provider sees them."""
    usage_context: msgspec.Raw | None = None


def find_route(path: bytes) -> Route | None:
    """The route of a path without its query; None when there is none."""
    if len(path) > _LONGEST_PATH:
        return None
    segments = [unquote(part) for part in path.decode("latin-1").split("/")]
    if segments[:2] != ["", "serving-endpoints"] or "" in segments[2:]:
        return None
    match segments[2:]:
        case [name, "invocations"]:
            return Route(endpoint=name)
        case [name, "served-models", entity, "invocations"]:
            return Route(endpoint=name, entity=entity)
        case ["models"]:
            return Route(models=True)
        case rest:
            task = _OPENAI_ROUTES.get(tuple(rest))
            return Route(task=task) if task else None


def route_of(method: bytes, target: bytes) -> Route:
    """The route of a request line. EndpointNotFound, MethodNotAllowed."""
    return _route_of(method, target) if len(target) <= _LONGEST_PATH else _read_route(method, target)


def origin_form(target: bytes) -> bytes:
    """A target without scheme and host, which clients send to proxies (RFC 9112, section 3.2.2)."""
    return target if target.startswith(b"/") else b"/" + target.partition(b"://")[2].partition(b"/")[2]


def _read_route(method: bytes, target: bytes) -> Route:
    path = origin_form(target.partition(b"?")[0])
    route = find_route(path)
    if route is None:
        raise EndpointNotFound(f"no API found for '{_shown(method)} {_shown(path)}'")
    allow = "GET" if route.models else "POST"
    if method.decode() != allow:
        raise MethodNotAllowed(f"{_shown(path)} takes {allow}, not {_shown(method)}", allow)
    return route


_route_of = lru_cache(maxsize=4096)(_read_route)


def parse_fields(body: bytes) -> Fields:
    """The top level of a body, `extra_params` merged. BadRequest."""
    fields = decode_object(body)
    if "extra_params" in fields:
        fields = _extra_params(fields.pop("extra_params")) | fields
    return fields


def decode_object(body: bytes) -> Fields:
    """A JSON object's fields, their values undecoded. BadRequest."""
    if not body:
        raise BadRequest("the request has no body: send a JSON object")
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise BadRequest('the body is JSON, but not an object: send an object such as {"messages": […]}') from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def model_of(fields: Fields) -> str:
    """The endpoint that `model` names. InvalidParameter."""
    name = text_of(fields.get("model"))
    if not name:
        raise InvalidParameter("model is missing: set it to the name of the serving endpoint", parameter="model")
    return name


def parse_call(route: Route, fields: Fields, task: str, endpoint: str) -> Call:
    """The call that a body makes to `endpoint`, which serves `task` and nothing else. InvalidParameter.

    Databricks' own fields are taken out.
    """
    _check_task(route, fields, task, endpoint)
    _check_input(fields[INPUT_FIELDS[task]], task)
    stream = task != EMBEDDINGS and _is_stream(fields)
    pop = fields.pop
    pop("databricks_options", None)
    return Call(task, fields, stream, route.entity, pop("client_request_id", None), pop("usage_context", None))


def text_of(raw: msgspec.Raw | None) -> str:
    """The text of a raw JSON string; empty for anything else."""
    if raw is None:
        return ""
    try:
        return _decode_text(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _check_task(route: Route, fields: Fields, task: str, endpoint: str) -> None:
    field = INPUT_FIELDS[task]
    asked = route.task
    if not asked and field not in fields:
        asked = next((other for other, name in INPUT_FIELDS.items() if name in fields), "")
    if asked and asked != task:
        message = f"endpoint {endpoint} serves the task {task} with `{field}`, not {asked} with `{INPUT_FIELDS[asked]}`"
        raise InvalidParameter(message, parameter=INPUT_FIELDS[asked])
    if field not in fields:
        raise InvalidParameter(f"{field} is missing: endpoint {endpoint} serves the task {task}", parameter=field)


def _check_input(raw: msgspec.Raw, task: str) -> None:
    first = bytes(raw)[:1]
    if task == CHAT and first != b"[":
        raise InvalidParameter("messages must be an array of messages", parameter="messages")
    if first not in (b"[", b'"'):
        field = INPUT_FIELDS[task]
        raise InvalidParameter(f"{field} must be a string or an array", parameter=field)


def _is_stream(fields: Fields) -> bool:
    raw = fields.get("stream")
    if raw is None:
        return False
    text = bytes(raw)
    if text not in (b"true", b"false", b"null"):
        raise InvalidParameter("stream must be true or false", parameter="stream")
    return text == b"true"


def _extra_params(raw: msgspec.Raw) -> Fields:
    if bytes(raw) == b"null":
        return {}
    try:
        params = _decode_fields(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParameter("extra_params must be an object of strings", parameter="extra_params") from None
    return {name: _converted(value) for name, value in params.items()}


def _converted(raw: msgspec.Raw) -> msgspec.Raw:
    """`"0.5"` as `0.5` and `"true"` as `true`: Databricks' SDKs can send strings only. Other values stay."""
    text = text_of(raw)
    try:
        _decode_scalar(text)
    except msgspec.DecodeError:
        return raw
    return msgspec.Raw(text.strip().encode())


def _shown(raw: bytes) -> str:
    """Bytes of a request line in a message: bounded, printable."""
    return raw[:200].decode("ascii", "replace")
