"""Golden cases of providers, read, replayed and written. Held by `test_golden.py`; their vendors are in `vendors/`.

    tests/golden/providers/TARGET/target.json     provider, model, settings
    tests/golden/providers/TARGET/CASE/
        call.json                                 task, stream, body: what a client asks
        request.json                              path, bodies: what the vendor is asked
        reply.json | reply.sse | reply.bin        what the vendor answers; a list where it was asked several times
        error.json                                … or its error: status, retry_after, body
        answer.json | answer.sse                  what the client gets; an error as status, headers, body
        usage.json                                what was used, null when nobody says

Without a request the call is refused by us. Cases `X` and `X_stream` tell the same. With
MODEL_SERVING_WRITE_GOLDEN=1 request, answer and usage are written from what the code does: read them before you
commit them.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call, Route, parse_call, parse_fields
from model_serving.proxy.errors import ProxyError, Unavailable
from model_serving.proxy.providers.base import Asked, Dialect, Provider, provider_error
from model_serving.proxy.providers.examples import AnyCredential
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy.runtime import compile_runtime
from model_serving.proxy_config import Policy, ProxyConfig, Target

ROOT = Path(__file__).parents[2] / "golden" / "providers"
TASKS = {"chat": CHAT, "completions": COMPLETIONS, "embeddings": EMBEDDINGS}
WRITE = os.environ.get("MODEL_SERVING_WRITE_GOLDEN") == "1"
STREAMS = ("reply.sse", "reply.bin")


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path

    @property
    def name(self) -> str:
        """TARGET/CASE."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @cached_property
    def asked(self) -> Any:
        """`call.json`."""
        return self.read("call.json")

    @property
    def task(self) -> str:
        """`chat`, `completions` or `embeddings`."""
        return str(self.asked["task"])

    @property
    def stream(self) -> bool:
        """Whether the client asks for a stream."""
        return bool(self.asked.get("stream", False))

    @cached_property
    def target(self) -> Target:
        """Who is asked."""
        return target_of(self.folder.parent, self.task)

    @property
    def provider(self) -> Provider:
        """The vendor."""
        return PROVIDERS[self.target.provider]

    @property
    def dialect(self) -> Dialect:
        """What the target speaks."""
        return self.provider.dialect(self.target)

    @property
    def vendor(self) -> Any:
        """The module that knows the vendor's own types."""
        return vendor_of(self.target.provider)

    @property
    def path(self) -> str:
        """What the vendor is asked at, as compiled."""
        compiled = compile_runtime(ProxyConfig("endpoint", 1, "revision", [self.target]), Policy("p")).targets[0]
        return (compiled.stream if self.stream else compiled.whole).path

    def call(self) -> Call:
        """The call as the pipeline reads it. ProxyError."""
        fields = dict(self.asked["body"])
        if self.stream:
            fields["stream"] = True
        task = TASKS[self.task]
        return parse_call(Route(task=task), parse_fields(json.dumps(fields).encode()), task, "endpoint")

    def heard(self) -> Asked:
        """The call, for its answer."""
        return Asked(self.call(), self.target.model, "request-1", 1700000000)

    def has(self, file: str) -> bool:
        """Whether the case has a file."""
        return (self.folder / file).exists()

    def read(self, file: str) -> Any:
        """A file as JSON."""
        return json.loads((self.folder / file).read_text())

    def write(self, file: str, value: Any) -> None:
        """A file as JSON."""
        (self.folder / file).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def raw_stream(self) -> bytes | None:
        """What the vendor streams; None when it answers as a whole."""
        return next(((self.folder / file).read_bytes() for file in STREAMS if self.has(file)), None)


@dataclass(frozen=True)
class Answer:
    """What the client gets: an error or a body as JSON, or a stream."""

    usage: Any
    whole: Any = None
    stream: bytes | None = None
    error: ProxyError | None = None


@cache
def cases() -> tuple[Case, ...]:
    """All of them, in order."""
    return tuple(Case(file.parent) for file in sorted(ROOT.glob("*/*/call.json")))


def target_of(folder: Path, task: str) -> Target:
    """A folder's target."""
    told = json.loads((folder / "target.json").read_text())
    settings = told.get("settings", {})
    return Target(
        folder.name, told["provider"], TASKS[task], told["model"], settings=settings, credentials=AnyCredential()
    )


def vendor_of(provider: str) -> Any:
    """The module with the vendor's types."""
    return importlib.import_module(f"tests.proxy.providers.vendors.{provider.replace('-', '_')}")


def requested(case: Case) -> Any:
    """What the vendor is asked, or our refusal."""
    try:
        bodies = case.dialect.request(case.call())
    except ProxyError as error:
        return error
    return {"path": case.path, "bodies": [json.loads(body) for body in bodies]}


def answered(case: Case) -> Answer:
    """What the client gets for the vendor's answer."""
    if case.has("error.json"):
        told = case.read("error.json")
        body = told["body"] if isinstance(told["body"], str) else json.dumps(told["body"])
        return failed(provider_error(case.provider.name, told["status"], body.encode(), told.get("retry_after")))
    raw = case.raw_stream()
    if raw is not None:
        return streamed(case, [raw])
    told = case.read("reply.json")
    several = len(case.dialect.request(case.call())) > 1
    bodies = [json.dumps(body).encode() for body in (told if several else [told])]
    try:
        reply = case.dialect.reply(case.heard(), bodies)
    except ProxyError as error:
        return failed(error)
    return Answer(msgspec.to_builtins(reply.usage), whole=json.loads(reply.body))


def failed(error: ProxyError) -> Answer:
    """An error as the client sees it."""
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    whole = {"status": error.status, "headers": headers, "body": json.loads(error.body(openai=True))}
    return Answer(None, whole=whole, error=error)


def streamed(case: Case, pieces: Iterable[bytes]) -> Answer:
    """What the client gets for a vendor's stream that comes in these pieces, an error amid it included."""
    translator = case.dialect.stream(case.heard())
    told = []
    error: ProxyError | None = None
    try:
        for piece in pieces:
            told.append(translator.feed(piece))
        told.append(translator.close())
        if not translator.complete:
            raise Unavailable("the provider's stream ended before its end mark: the answer is not complete")
    except ProxyError as found:
        error = found
        told.append(error.event())
    return Answer(msgspec.to_builtins(translator.usage), stream=b"".join(told), error=error)
