"""A thin asynchronous client of the API server: the verbs that this project uses, typed errors, one retry policy.

Objects are plain manifests. Used by `controller/` and `management/`; opened once per process:

    async with Client(connection) as client:
        await client.apply(manifest, manager="model-serving-operator")
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from model_serving.kube.config import Connection
from model_serving.kube.credentials import CredentialsError
from model_serving.kube.errors import Expired, KubeError, NotFound, Unauthorized, Unavailable, error_of
from model_serving.kube.request import (
    APPLY,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    METADATA,
    METADATA_LIST,
    Request,
    Retries,
    Unsent,
    encode,
    selectors,
    typed,
)
from model_serving.kube.resources import PODS, Manifest, Resource, resource_of
from model_serving.kube.session import RequestCounts, open_session

PAGE = 500
_LONGEST_WATCH_LINE = 16 * 1024 * 1024
_TOKEN = re.compile(r"[!-~]{1,16384}")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is listed or watched: a kind, in one namespace or in all (None), by labels and fields, whole or as metadata
    only."""

    resource: Resource
    namespace: str | None = None
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    def __str__(self) -> str:
        return f"{self.resource.plural} in {self.namespace or 'all namespaces'}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list held, and the resource version to watch on from."""

    items: list[Manifest]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Manifest


class Client:
    """Calls to one API server. `counts` tallies requests by (verb, code); a None namespace means all of them."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float = 30.0,
        concurrency: int = 30,
        retries: Retries | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.connection = connection
        self.counts = RequestCounts()
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._retries = retries or Retries()
        self._rand = rand
        self._session: aiohttp.ClientSession | None = None
        self._token = ""

    def acting_as(self, token: str) -> Client:
        """A view of this open client whose requests carry `token` alone; a 401 is final. Costs nothing, is not closed:
        connections, bounds and counts are shared. Raises `Unauthorized` for what can be no token."""
        if self.connection.client_certificate:
            # It belongs to the TLS connection, and the API server asks it first: every caller would be its owner.
            raise RuntimeError("acting for a caller: the connection must not have a client certificate of its own")
        if not _TOKEN.fullmatch(token):
            raise Unauthorized("acting for a caller: what was presented is no bearer token", status=401)
        view = copy.copy(self)
        view._token = token
        view._session = self._open
        return view

    async def __aenter__(self) -> Self:
        self._session = open_session(self.connection, self.counts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Manifest:
        """One object. Raises `NotFound`."""
        headers = {"Accept": METADATA if metadata_only else JSON}
        return await self._object(Request("GET", resource.path(namespace, quote(name, safe="")), {}, headers))

    async def find(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Manifest | None:
        """One object, or None where absence is normal."""
        try:
            return await self.get(resource, namespace, name, metadata_only=metadata_only)
        except NotFound:
            return None

    async def list(self, selection: Selection) -> Listing:
        """All objects of a selection, read in pages. Starts again if the pages expire on the way."""
        resource = selection.resource
        headers = {"Accept": METADATA_LIST if selection.metadata_only else JSON}
        query = {"limit": str(PAGE)} | selectors(selection.labels, selection.fields)
        items: list[Manifest] = []
        while True:
            try:
                page = await self._object(Request("GET", resource.path(selection.namespace), query, headers))
            except Expired:
                if "continue" not in query:
                    raise
                items, query = [], {k: v for k, v in query.items() if k != "continue"}
                continue
            for item in page.get("items") or []:
                # Items of a list carry neither of the two, those of a metadata list the wrong ones.
                items.append({**item, "apiVersion": resource.api_version, "kind": resource.kind})
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return Listing(items, meta.get("resourceVersion", ""))
            query = query | {"continue": meta["continue"]}

    async def create(self, manifest: Manifest, *, manager: str = "", dry_run: bool = False) -> Manifest:
        """Makes an object. Raises `Conflict` if the name is taken; sent again only if it was certainly not received.
        With `dry_run` the server judges it, policies included, and keeps nothing."""
        resource = resource_of(manifest)
        path = resource.path(manifest["metadata"].get("namespace"))
        query = _write_query(manager, dry_run)
        return await self._object(Request("POST", path, query, typed(JSON), encode(manifest), safe=False))

    async def replace(self, manifest: Manifest, *, manager: str = "", dry_run: bool = False) -> Manifest:
        """Puts an object in the place of the version that its resourceVersion names. Raises `Conflict`. `dry_run`: as
        for `create`."""
        meta = manifest["metadata"]
        path = resource_of(manifest).path(meta.get("namespace"), meta["name"])
        query = _write_query(manager, dry_run)
        return await self._object(Request("PUT", path, query, typed(JSON), encode(manifest), safe=False))

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True, subresource: str = "") -> Manifest:
        """Server-side apply: the object as it is then. With a uid in the manifest, only that very object is touched
        (`Conflict` otherwise); without `force` a field that another manager owns is a `Conflict`."""
        meta = manifest["metadata"]
        path = resource_of(manifest).path(meta.get("namespace"), meta["name"], subresource)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._object(Request("PATCH", path, query, typed(APPLY), encode(manifest)))

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status alone."""
        return await self.apply(manifest, manager=manager, subresource="status")

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Any, *, manager: str = ""
    ) -> Manifest:
        """Merge patch if `patch` is a mapping, JSON patch if it is a list (which is never sent twice)."""
        is_list = isinstance(patch, list)
        headers = typed(JSON_PATCH if is_list else MERGE_PATCH)
        query = {"fieldManager": manager} if manager else {}
        path = resource.path(namespace, quote(name, safe=""))
        return await self._object(Request("PATCH", path, query, headers, encode(patch), safe=not is_list))

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str = "", version: str = ""
    ) -> None:
        """Deletes in the background; that it is gone already is fine. `uid`: only that very object, `version`: only as
        it was with that resourceVersion, else `Conflict`."""
        options: Manifest = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        required = {name: value for name, value in (("uid", uid), ("resourceVersion", version)) if value}
        if required:
            options["preconditions"] = required
        path = resource.path(namespace, quote(name, safe=""))
        try:
            await self._send(Request("DELETE", path, {}, typed(JSON), encode(options)))
        except NotFound:
            return

    async def pod_logs(
        self, namespace: str, name: str, *, tail: int = 20, previous: bool = False, most_bytes: int = 16384
    ) -> str:
        """The last lines of a pod's only container, of its previous run if asked."""
        query = {"tailLines": str(tail), "limitBytes": str(most_bytes)} | ({"previous": "true"} if previous else {})
        path = PODS.path(namespace, quote(name, safe=""), "log")
        return (await self._send(Request("GET", path, query, {}))).decode(errors="replace")

    async def raw(self, path: str) -> bytes:
        """What GET answers on any path: `/version`, `/openid/v1/jwks`."""
        return await self._send(Request("GET", path, {}, {"Accept": "*/*"}))  # a JWKS is no application/json

    async def watch(
        self, selection: Selection, *, since: str, seconds: int = 300, silence: float = 90.0
    ) -> AsyncIterator[WatchEvent]:
        """Changes after the resource version `since`, bookmarks included; ends after about `seconds`.

        Raises `Expired` when `since` is too old, `Unavailable` when the stream is cut or silent for too long.
        """
        resource = selection.resource
        query = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        } | selectors(selection.labels, selection.fields)
        headers = {"Accept": METADATA if selection.metadata_only else JSON}
        request = Request("GET", resource.path(selection.namespace), query, headers)
        timeout = aiohttp.ClientTimeout(total=seconds + 30.0, sock_read=silence, sock_connect=10.0)
        try:
            async with self._open.request(**self._arguments(request, timeout)) as response:
                if response.status >= 300:
                    retry_after = response.headers.get("Retry-After", "")
                    raise error_of(f"watching {selection}", response.status, await response.read(), retry_after)
                async for line in _lines(response):
                    yield _event(line, resource)
        except (aiohttp.ClientError, TimeoutError, OSError, CredentialsError) as error:
            raise Unavailable(f"watching {selection}: {type(error).__name__}: {error}") from None

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use it inside `async with`")
        return self._session

    async def _object(self, request: Request) -> Manifest:
        body = await self._send(request)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{request}: the answer is not a JSON object")
        return answer

    async def _send(self, request: Request) -> bytes:
        attempt = 1
        while True:
            try:
                async with self._slots:
                    return await self._send_once(request)
            except KubeError as error:
                pause = self._retries.pause(error, attempt, self._rand(), safe=request.safe)
                if pause is None:
                    raise
            attempt += 1
            await asyncio.sleep(pause)

    async def _send_once(self, request: Request) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(10.0, self._timeout))
        try:
            async with self._open.request(**self._arguments(request, timeout)) as response:
                body = await response.read()
                if response.status >= 300:
                    raise error_of(str(request), response.status, body, response.headers.get("Retry-After", ""))
                return body
        except aiohttp.ClientConnectorError as error:
            raise Unsent(f"{request}: cannot connect: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{request}: {type(error).__name__}: {error}".rstrip(": ")) from None
        except CredentialsError as error:
            raise Unavailable(f"{request}: {error}") from None

    def _arguments(self, request: Request, timeout: aiohttp.ClientTimeout) -> dict[str, Any]:
        # The session presents its own credentials to whatever has none.
        headers = {**request.headers, "Authorization": f"Bearer {self._token}"} if self._token else request.headers
        return {
            "method": request.method,
            "url": self.connection.server + request.path,
            "params": request.query,
            "headers": headers,
            "data": request.body,
            "timeout": timeout,
            "allow_redirects": False,
            "server_hostname": self.connection.server_name or None,
        }


def _write_query(manager: str, dry_run: bool) -> dict[str, str]:
    return ({"fieldManager": manager} if manager else {}) | ({"dryRun": "All"} if dry_run else {})


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    # Not `readline`: it refuses lines above 128 KiB, and an object may have a megabyte and more.
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        if len(rest) > _LONGEST_WATCH_LINE:
            raise Unavailable("reading a watch: one event is larger than 16 MiB")
        if b"\n" in chunk:
            *whole, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            for line in whole:
                if line:
                    yield line


def _event(line: bytes, resource: Resource) -> WatchEvent:
    try:
        event = json.loads(line)
        kind, obj = event["type"], event["object"]
    except (ValueError, KeyError, TypeError):
        raise Unavailable(f"watching {resource.plural}: the stream holds something that is no event") from None
    if kind == "ERROR":
        raise error_of(f"watching {resource.plural}", int(obj.get("code") or 500), json.dumps(obj).encode())
    return WatchEvent(kind, {**obj, "apiVersion": resource.api_version, "kind": resource.kind})
