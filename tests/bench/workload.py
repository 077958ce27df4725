"""What is sent: the shapes of calls that are measured, their bodies, and how each target is spoken to."""

from __future__ import annotations

import json
from dataclasses import dataclass

ENDPOINT = "bench"
PATH = f"/serving-endpoints/{ENDPOINT}/invocations"
USERS = 64
MODEL = "provider-model"

_WORDS = 'the quick brown fox jumps over a lazy dog and "quotes" some words with café '


@dataclass(frozen=True, slots=True)
class Speech:
    """How a target is spoken to. `model`: what the body names, where the path does not; `tokens`: of the callers."""

    path: str = PATH
    model: str = ""
    tokens: tuple[str, ...] = ("key-0",)


OPENAI = Speech("/v1/chat/completions", MODEL)


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of calls. `stream`: empty, `sparse` (an event every 10 ms) or `burst` (all events in one write)."""

    name: str
    callers: int
    body_bytes: int = 1024
    stream: str = ""

    @property
    def unit(self) -> str:
        """What the cost is counted for."""
        return {"": "call", "sparse": "event", "burst": "stream"}[self.stream]

    def body(self, model: str = "") -> bytes:
        """The body of each call, `body_bytes` long."""
        fields: dict[str, object] = {"model": model} if model else {}
        fields |= {
            "messages": [{"role": "system", "content": f"@{self.stream}@ You help."}, {"role": "user", "content": ""}],
            "temperature": 0.7,
            "max_tokens": 256,
        }
        if self.stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        text = _WORDS * (self.body_bytes // len(_WORDS) + 1)
        while len(body := _encode(fields, text)) > self.body_bytes:
            text = text[: -max(1, (len(body) - self.body_bytes) // 2)]
        return body


def _encode(fields: dict[str, object], text: str) -> bytes:
    messages = [dict(message) for message in fields["messages"]]  # type: ignore[attr-defined]
    messages[-1]["content"] = text
    return json.dumps(fields | {"messages": messages}, separators=(",", ":"), ensure_ascii=False).encode()


SHAPES = (
    Shape("1 KB, 1", 1),
    Shape("1 KB, 32", 32),
    Shape("1 KB, 256", 256),
    Shape("20 KB, 1", 1, body_bytes=20 * 1024),
    Shape("20 KB, 32", 32, body_bytes=20 * 1024),
    Shape("20 KB, 256", 256, body_bytes=20 * 1024),
    Shape("SSE sparse, 64", 64, stream="sparse"),
    Shape("SSE burst, 32", 32, stream="burst"),
)
TYPICAL, MANY, SPARSE, BURST = SHAPES[1], SHAPES[2], SHAPES[6], SHAPES[7]
