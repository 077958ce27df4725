"""The admin port of a proxy with several workers: each page asks all of them. Used by `workers.py`.

Ready is who is ready in all parts. Metrics keep apart what each worker counted, by the label `worker`: a worker that
ended takes its own counters with it, and sums stay right.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

import msgspec

from model_serving.proxy.admin import UsagePage
from model_serving.proxy.exposition import CONTENT_TYPE
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.head import lines
from model_serving.proxy.minutes import SECONDS
from model_serving.proxy_config import CredentialReport, ProxyStatus, TokenReport

_TEXT, _JSON = b"text/plain; charset=utf-8", b"application/json"
_PATIENCE_SECONDS = 2.0
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (.*)").fullmatch


class WorkersAdmin:
    """The handler of the parent's admin server. `ports` are those of the workers' admin ports on this machine."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        """Answers one request, when the workers have."""
        path = exchange.request.target.partition(b"?")[0]
        if path == b"/livez":
            exchange.respond(200, lines([(b"content-type", _TEXT)]), b"alive\n")
        elif path in (b"/readyz", b"/status", b"/metrics", b"/usage"):
            task = asyncio.get_running_loop().create_task(self._answer(exchange, path))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            text = b"not found: /livez /readyz /status /metrics /usage (with several workers)\n"
            exchange.respond(404, lines([(b"content-type", _TEXT)]), text)

    async def _answer(self, exchange: Exchange, path: bytes) -> None:
        if path == b"/metrics":
            texts = await asyncio.gather(*(_ask(port, "/metrics") for port in self._ports))
            exchange.respond(200, lines([(b"content-type", CONTENT_TYPE)]), merged_metrics(texts).encode())
            return
        if path == b"/usage":
            page = merged_usage(await self._ask_all("/usage"))
            exchange.respond(200, lines([(b"content-type", _JSON)]), msgspec.json.encode(page))
            return
        status = merged_status([_status_of(text) for text in await self._ask_all("/status")])
        if path == b"/status":
            exchange.respond(200, lines([(b"content-type", _JSON)]), msgspec.json.encode(status))
        elif status.ready:
            exchange.respond(200, lines([(b"content-type", _TEXT)]), b"ready\n")
        else:
            reasons = [*(["draining"] if status.draining else []), *status.problems] or ["starting"]
            exchange.respond(503, lines([(b"content-type", _TEXT)]), "\n".join(["not ready", *reasons, ""]).encode())

    async def _ask_all(self, path: str) -> list[bytes]:
        return await asyncio.gather(*(_ask(port, path) for port in self._ports))


def merged_status(found: Sequence[ProxyStatus | None]) -> ProxyStatus:
    """What can be said of all workers together; None: a worker that does not answer."""
    known = [status for status in found if status is not None]
    problems = sorted({problem for status in known for problem in status.problems})
    silent = len(found) - len(known)
    if silent:
        problems.append(f"{silent} of {len(found)} workers do not answer")
    if not known:
        return ProxyStatus("", "", 0, False, problems=problems)
    first = known[0]
    versions = {status.policy_version for status in known}
    return msgspec.structs.replace(
        first,
        ready=not silent and all(status.ready for status in known),
        draining=any(status.draining for status in known),
        policy_version=first.policy_version if len(versions) == 1 else "",
        credentials=_merged_credentials(known),
        tokens=_merged_tokens(known),
        problems=problems,
        in_flight=sum(status.in_flight for status in known),
    )


def _merged_credentials(known: Iterable[ProxyStatus]) -> list[CredentialReport]:
    """The worst report of each credential, and the oldest time of loading."""
    worst: dict[tuple[str, str], CredentialReport] = {}
    for report in (report for status in known for report in status.credentials):
        key = (report.secret, report.key)
        former = worst.get(key, report)
        loaded = min(former.loaded_at, report.loaded_at)
        worst[key] = CredentialReport(report.secret, report.key, loaded, former.problem or report.problem)
    return list(worst.values())


def _merged_tokens(known: Iterable[ProxyStatus]) -> list[TokenReport]:
    """The worst report of each token, with the oldest times: each worker fetches its own."""
    merged: dict[str, TokenReport] = {}
    for report in (report for status in known for report in status.tokens):
        former = merged.get(report.name)
        if former is None:
            merged[report.name] = report
            continue
        merged[report.name] = TokenReport(
            name=report.name,
            fetched_at=min(former.fetched_at, report.fetched_at),
            expires_at=min(former.expires_at, report.expires_at),
            problem=former.problem or report.problem,
            fetches=former.fetches + report.fetches,
            failures=former.failures + report.failures,
        )
    return list(merged.values())


def merged_usage(texts: Sequence[bytes]) -> UsagePage:
    """The minutes of all workers, oldest first; a minute may be there once for each, to be added up."""
    minutes = [minute for text in texts if text for minute in msgspec.json.decode(text, type=UsagePage).minutes]
    return UsagePage(SECONDS, sorted(minutes, key=lambda minute: minute.start))


def merged_metrics(texts: Sequence[bytes]) -> str:
    """The pages of all workers as one: samples stay with their family, each with the label `worker`."""
    comments: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for number, text in enumerate(texts):
        family = ""
        for line in text.decode().splitlines():
            if line.startswith("#"):
                words = line.split(" ", 3)
                if len(words) > 2 and words[1] in ("HELP", "TYPE"):
                    family = words[2]
                    heads = comments.setdefault(family, [])
                    heads += [line] if line not in heads else []
            elif found := _SAMPLE(line):
                name, labels, value = found.groups()
                own = f'worker="{number}"' + (f",{labels}" if labels else "")
                samples.setdefault(family or name, []).append(f"{name}{{{own}}} {value}")
    merged = [line for family, heads in comments.items() for line in (*heads, *samples.pop(family, ()))]
    return "\n".join([*merged, *(line for rest in samples.values() for line in rest), ""])


def _status_of(text: bytes) -> ProxyStatus | None:
    try:
        return msgspec.json.decode(text, type=ProxyStatus)
    except msgspec.MsgspecError:
        return None


async def _ask(port: int, path: str) -> bytes:
    """The body of a worker's page; empty when it does not answer."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: worker\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return b""
    return answer.partition(b"\r\n\r\n")[2]
