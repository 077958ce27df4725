"""Steady calls and long streams against an endpoint while something happens to it: nothing may fail."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from openai import AsyncOpenAI

WORDS = 60
STREAM = f"[demo:events={WORDS},pace=0.1] tell me"


@dataclass
class Load:
    """Callers in a thread of their own: `calls` short ones and `streams` of about six seconds, again and again."""

    base_url: str
    key: str
    model: str
    calls: int = 2
    streams: int = 2
    failures: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with AsyncOpenAI(base_url=self.base_url, api_key=self.key, max_retries=0, timeout=60) as client:
            callers = [self._caller(client) for _ in range(self.calls)]
            readers = [self._reader(client) for _ in range(self.streams)]
            await asyncio.gather(*callers, *readers)

    async def _caller(self, client: AsyncOpenAI) -> None:
        while not self._stop.is_set():
            try:
                messages = [{"role": "user", "content": "hello"}]
                raw = await client.chat.completions.with_raw_response.create(model=self.model, messages=messages)
                assert raw.parse().choices[0].message.content
                self.answered_by[raw.headers["x-config-version"]] += 1
                self.done["calls"] += 1
            except Exception as error:
                self.failures.append(f"call: {type(error).__name__}: {error}")
            await asyncio.sleep(0.05)

    async def _reader(self, client: AsyncOpenAI) -> None:
        while not self._stop.is_set():
            try:
                messages = [{"role": "user", "content": STREAM}]
                stream = await client.chat.completions.create(model=self.model, messages=messages, stream=True)
                chunks = [chunk async for chunk in stream]
                finish = [c.choices[0].finish_reason for c in chunks if c.choices]
                assert finish[-1] == "stop" and len(finish) >= WORDS, f"cut after {len(finish)} events"
                self.done["streams"] += 1
            except Exception as error:
                self.failures.append(f"stream: {type(error).__name__}: {error}")
