"""What the proxies of an endpoint say of themselves, for the REST API: metrics and logs. Called by `platform.py`.

Each sample gets the label `proxy`, so that those of several proxies do not stand for one another.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from model_serving.api.endpoint import ServingEndpoint

LOG_BYTES = 64 * 1024
"""Of the end of a log that is shown."""
_SECONDS = 2.0
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (.+)")
_COMMENT = re.compile(r"# (?:HELP|TYPE) (\S+) .*")


class Evidence:
    """Asks the proxies. `ports` gives the admin ports of an endpoint's proxies by revision, `log` its log file."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        ports: Callable[[str], Mapping[str, int]],
        log: Callable[[ServingEndpoint], Path],
    ) -> None:
        self._session = session
        self._ports = ports
        self._log = log

    async def metrics(self, uid: str) -> str:
        """Prometheus text of the endpoint's proxies; of one that does not answer, nothing."""
        ports = self._ports(uid)
        pages = await asyncio.gather(*(self._page(port) for port in ports.values()))
        return labelled({name: page for name, page in zip(ports, pages, strict=True) if page})

    def logs(self, endpoint: ServingEndpoint) -> str:
        """The latest lines of the endpoint's proxies; empty when they said nothing yet."""
        return tail(self._log(endpoint), LOG_BYTES)

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
            start = max(file.seek(0, 2) - size, 0)
            file.seek(start)
            text = file.read(size)
    except FileNotFoundError:
        return ""
    if start:
        text = text.partition(b"\n")[2]
    return text.decode("utf-8", "replace")
