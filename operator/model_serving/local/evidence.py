"""What the proxies of an endpoint say of themselves, for the REST API: metrics and logs. Called by `platform.py`.

Each sample gets the label `proxy`, so that those of several proxies do not stand for one another.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import aiohttp

from model_serving.api.endpoint import ServingEndpoint
from model_serving.local.child import Lines

LOG_BYTES = 64 * 1024
"""Of the end of an access log that is shown, and half as much of the other log."""
_SECONDS = 2.0
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (.+)")
_COMMENT = re.compile(r"# (?:HELP|TYPE) (\S+) .*")


class Recent:
    """The latest lines of an access log, on their way to whoever takes them all."""

    def __init__(self, onward: Lines) -> None:
        self._onward = onward
        self._text = b""

    async def take(self, lines: bytes) -> None:
        """Takes whole lines; waits as long as the next one has to."""
        self._text = _end_of(self._text + lines, LOG_BYTES)
        await self._onward(lines)

    def text(self) -> str:
        """The lines."""
        return self._text.decode("utf-8", "replace")


class Said(Protocol):
    """What is known of the proxies of an endpoint, by its uid."""

    def admin_ports(self, uid: str) -> Mapping[str, int]:
        """Where those that listen tell of themselves, by revision."""

    def recent_calls(self, uid: str) -> str:
        """The latest lines of their access logs."""

    def log_of(self, endpoint: ServingEndpoint) -> Path:
        """The file with what else they said."""


class Evidence:
    """Asks the proxies, and reads what they wrote."""

    def __init__(self, session: aiohttp.ClientSession, said: Said) -> None:
        self._session = session
        self._said = said

    async def metrics(self, uid: str) -> str:
        """Prometheus text of the endpoint's proxies; of one that does not answer, nothing."""
        ports = self._said.admin_ports(uid)
        pages = await asyncio.gather(*(self._page(port) for port in ports.values()))
        return labelled({name: page for name, page in zip(ports, pages, strict=True) if page})

    def logs(self, endpoint: ServingEndpoint) -> str:
        """The latest of what the endpoint's proxies said, then their latest calls; empty when there was nothing yet."""
        words = tail(self._said.log_of(endpoint), LOG_BYTES // 2)
        return words + self._said.recent_calls(endpoint.metadata.uid)

    async def _page(self, port: int) -> str:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with self._session.get(f"http://127.0.0.1:{port}/metrics", timeout=timeout) as answer:
                return await answer.text() if answer.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return ""


def labelled(pages: Mapping[str, str]) -> str:
    """Several pages of Prometheus text as one, each sample with the name of its page as label `proxy`."""
    families: dict[str, list[str]] = {}
    for name, page in pages.items():
        family: list[str] = []
        for line in page.splitlines():
            if comment := _COMMENT.fullmatch(line):
                family = families.setdefault(comment[1], [])
                if line not in family:
                    family.append(line)
            elif sample := _SAMPLE.fullmatch(line):
                inner = f'{sample[2]},proxy="{name}"' if sample[2] else f'proxy="{name}"'
                family.append(f"{sample[1]}{{{inner}}} {sample[3]}")
    return "".join(f"{line}\n" for family in families.values() for line in family)


def tail(path: Path, size: int) -> str:
    """The end of a file, from the beginning of a line on; empty when there is no file. OSError."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - size - 1, 0))
            return _end_of(file.read(), size).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _end_of(text: bytes, size: int) -> bytes:
    """The whole lines among the last `size` bytes."""
    if len(text) <= size:
        return text
    return text[-size - 1 :].partition(b"\n")[2]
