"""What an endpoint's proxies say: their metrics and the latest lines of their logs, of each pod."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from model_serving.kube.admin_pages import AdminPages
from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import Invalid, NotFound
from model_serving.kube.labels import selector_of_pods
from model_serving.kube.resources import PODS, Manifest

ADMIN_PORT = 8081
MOST_PODS = 20
TAIL = 200
_MOST_BYTES = 4 * 1024 * 1024
_MOST_LOG_BYTES = 256 * 1024
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{?)")
_HEAD = re.compile(r"# (?:HELP|TYPE) ([^ ]+)")


class Pods:
    """Reads the pods of endpoints with the workspace's own rights. `port`: the admin port of proxies.

    `since` is when an endpoint was made: an older pod is a deleted namesake's, whose callers are none of its business.
    """

    def __init__(self, client: Client, namespace: str, pages: AdminPages, *, port: int = ADMIN_PORT) -> None:
        self._client = client
        self._namespace = namespace
        self._pages = pages
        self._port = port

    async def metrics(self, object_name: str, since: str = "") -> str:
        """One page of all pods; those that do not answer are missing. Raises `KubeError`."""
        pods = [pod for pod in await self._of(object_name, since) if _address(pod)]
        pages = await asyncio.gather(*(self._page(_address(pod)) for pod in pods))
        return merge_pages((pod["metadata"]["name"], page) for pod, page in zip(pods, pages, strict=True))

    async def logs(self, object_name: str, since: str = "") -> str:
        """The latest lines of each pod, and those of its previous run if that ended badly. Raises `KubeError`."""
        return "".join(await asyncio.gather(*(self._log(pod) for pod in await self._of(object_name, since))))

    async def _of(self, object_name: str, since: str) -> list[Manifest]:
        selection = Selection(PODS, self._namespace, labels=selector_of_pods(object_name))
        found = (await self._client.list(selection)).items
        own = [pod for pod in found if pod["metadata"].get("creationTimestamp", since) >= since]
        return sorted(own, key=lambda pod: pod["metadata"]["name"])[:MOST_PODS]

    async def _log(self, pod: Manifest) -> str:
        name = pod["metadata"]["name"]
        runs = [("", False)]
        if any(s.get("restartCount") for s in (pod.get("status") or {}).get("containerStatuses") or []):
            runs.insert(0, (" (previous run)", True))
        parts = []
        for title, previous in runs:
            text = await self._lines(name, previous=previous)
            if text:
                parts.append(f"==> {name}{title} <==\n{text.rstrip()}\n")
        return "".join(parts)

    async def _lines(self, pod: str, *, previous: bool) -> str:
        try:
            return await self._client.pod_logs(
                self._namespace, pod, tail=TAIL, previous=previous, most_bytes=_MOST_LOG_BYTES
            )
        except (NotFound, Invalid):
            return ""  # The pod is gone, or has not run yet.

    async def _page(self, host: str) -> str:
        page = await self._pages.read((host, self._port), "/metrics", most_bytes=_MOST_BYTES)
        return (page or b"").decode(errors="replace")


def merge_pages(pages: Iterable[tuple[str, str]]) -> str:
    """Prometheus pages of several pods as one: a metric's head once, then its samples, each with the label `pod`."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for pod, page in pages:
        family = ""
        for line in page.splitlines():
            if head := _HEAD.match(line):
                family = head[1]
                samples.setdefault(family, [])
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
            elif sample := _SAMPLE.match(line):
                of = family if family and sample[1].startswith(family) else sample[1]
                samples.setdefault(of, []).append(_labelled(line, sample, pod))
    lines = [line for family, found in samples.items() for line in (*heads.get(family, ()), *found)]
    return "".join(f"{line}\n" for line in lines)


def _labelled(line: str, sample: re.Match[str], pod: str) -> str:
    rest = line[sample.end() :]
    if not sample[2]:
        return f'{sample[1]}{{pod="{pod}"}}{rest}'
    return f'{sample[1]}{{pod="{pod}"{"" if rest.startswith("}") else ","}{rest}'


def _address(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("podIP") or "")
