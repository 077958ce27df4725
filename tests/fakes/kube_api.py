"""A small API server in this process: what the client, the watch, the Lease and the children rely on, on real sockets.

It stores objects, counts resource versions, pages lists, keeps a history for watches (and forgets it on request),
checks preconditions and merges server-side apply by whole fields. An object with finalizers stays until they are gone.
It knows no schema, no defaults, and only the rights that `people` lists.
"""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from model_serving.kube.config import Connection
from model_serving.kube.credentials import StaticCredentials
from tests.fakes.kube_people import People

Json = dict[str, Any]
Key = tuple[str, str, str]
"""Group and plural, namespace, name."""


@dataclass
class Failure:
    """An answer instead of the real one: to `times` requests that `matches` holds for."""

    status: int
    matches: Callable[[web.Request], bool] = lambda _: True
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)
    cut: bool = False


class FakeKubeApi:
    """`async with FakeKubeApi() as api: Client(api.connection)`."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        """Method, path, query and body of everything that was asked."""
        self.tokens: list[tuple[str, str]] = []
        """Method and bearer token of the same."""
        self.failures: list[Failure] = []
        self.logs: dict[tuple[str, bool], str] = {}
        """What pods have logged, by name and whether of the previous run."""
        self.people = People()
        self.bookmarks = 0.2
        self.delay, self.running, self.peak = 0.0, 0, 0
        """How long each answer takes; how many requests are and ever were under way at once."""
        self._version = 100
        self._oldest = 0
        self._history: list[tuple[int, str, Key, Json]] = []
        self._changed = asyncio.Condition()
        self._streams: list[web.Request] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeKubeApi:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def connection(self) -> Connection:
        """How to reach it."""
        assert self._runner is not None
        return Connection(f"http://127.0.0.1:{self._runner.addresses[0][1]}", StaticCredentials("a-token"))

    # For tests

    def put(self, path: str, manifest: Json) -> Json:
        """Stores an object below a collection's path, as somebody else would."""
        return self._store(_key(path, manifest["metadata"]["name"]), copy.deepcopy(manifest))

    def remove(self, path: str, name: str) -> None:
        """Removes one, as somebody else would."""
        self._drop(_key(path, name))

    def get(self, path: str, name: str) -> Json:
        """An object as it is."""
        return self.objects[_key(path, name)]

    def forget_history(self) -> None:
        """From now on every earlier version has expired."""
        self._oldest = self._version

    @property
    def streams(self) -> int:
        """How many watches are open."""
        return len(self._streams)

    def cut_streams(self) -> None:
        """Ends all watches without a word."""
        for request in list(self._streams):
            if request.transport is not None:
                request.transport.abort()

    def writes(self) -> list[tuple[str, str]]:
        """Method and path of everything that was written."""
        return [(method, path) for method, path, _, _ in self.requests if method != "GET"]

    # The server

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.requests.append((request.method, request.rel_url.raw_path, dict(request.query), body))
        self.tokens.append((request.method, request.headers.get("Authorization", "").removeprefix("Bearer ")))
        self.running += 1
        self.peak = max(self.peak, self.running)
        await asyncio.sleep(self.delay)
        self.running -= 1
        for failure in self.failures:
            if failure.times > 0 and failure.matches(request):
                failure.times -= 1
                if failure.cut:
                    assert request.transport is not None
                    request.transport.abort()
                return web.json_response(failure.body, status=failure.status, headers=failure.headers)
        prefix, namespace, name, subresource = _parse(request.path)
        if (judged := self.people.judge(request, prefix, name, body)) is not None:
            return judged
        if request.method == "GET" and not name:
            if request.query.get("watch"):
                return await self._watch(request, prefix, namespace)
            return self._list(request, prefix, namespace)
        if request.query.get("dryRun"):
            return self._judge(request, (prefix, namespace, name), json.loads(body))
        if request.method == "POST":
            return self._create(prefix, namespace, json.loads(body))
        key = prefix, namespace, name
        return self._one(request, key, subresource, json.loads(body) if body else {})

    def _one(self, request: web.Request, key: Key, subresource: str, body: Any) -> web.Response:
        found = self.objects.get(key)
        if request.method == "PATCH" and "apply" in request.content_type:
            return self._apply(key, body, subresource)
        if found is None:
            return _status(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        if request.method == "GET" and subresource == "log":
            return web.Response(text=self.logs.get((key[2], "previous" in request.query), ""))
        if request.method == "GET":
            return web.json_response(_slim(request, found))
        if request.method == "DELETE":
            if not (body.get("preconditions") or {}).items() <= found["metadata"].items():
                return _status(409, "Conflict", "a precondition does not hold")
            if found["metadata"].get("finalizers"):
                self._store(key, _merged(found, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
            else:
                self._drop(key)
            return web.json_response({"kind": "Status", "status": "Success"})
        if request.method == "PUT":
            version = body["metadata"].get("resourceVersion")
            if version and version != found["metadata"]["resourceVersion"]:
                return _status(409, "Conflict", "the object has been modified")
            return web.json_response(self._store(key, body))
        return web.json_response(self._store(key, _merged(found, body)))

    def _apply(self, key: Key, body: Json, subresource: str) -> web.Response:
        found, uid = self.objects.get(key), body["metadata"].get("uid")
        if uid and found is None:
            return _status(409, "Conflict", "uid mismatch: no existing object was found")
        if uid and found is not None and found["metadata"]["uid"] != uid:
            causes = [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]
            return _status(422, "Invalid", "metadata.uid: field is immutable", causes)
        if found is None:
            if subresource:
                return _status(404, "NotFound", f'"{key[2]}" not found')
            return web.json_response(self._store(key, body), status=201)
        part = {"status": body.get("status")} if subresource else body
        wanted = _merged(found, part)
        return web.json_response(found if wanted == found else self._store(key, wanted))

    def _judge(self, request: web.Request, key: Key, body: Json) -> web.Response:
        """A dry run: what would be stored, and nothing is."""
        found = self.objects.get(key if key[2] else (*key[:2], body["metadata"]["name"]))
        if request.method == "POST":
            return _status(409, "AlreadyExists", "it already exists") if found else web.json_response(body, status=201)
        if found is None:
            return _status(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        if body["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            return _status(409, "Conflict", "the object has been modified")
        return web.json_response(body)

    def _create(self, prefix: str, namespace: str, body: Json) -> web.Response:
        key = prefix, namespace, body["metadata"]["name"]
        if key in self.objects:
            return _status(409, "AlreadyExists", f'"{key[2]}" already exists')
        return web.json_response(self._store(key, body), status=201)

    def _list(self, request: web.Request, prefix: str, namespace: str) -> web.Response:
        items = [
            _slim(request, o) for k, o in sorted(self.objects.items()) if _within(k, prefix, namespace, request, o)
        ]
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "0")) or len(items)
        meta: Json = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        page = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in items[start : start + limit]]
        return web.json_response({"kind": "List", "metadata": meta, "items": page})

    async def _watch(self, request: web.Request, prefix: str, namespace: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._streams.append(request)
        try:
            async for event in self._events(request, prefix, namespace, since):
                await response.write(json.dumps(event).encode() + b"\n")
        except (ConnectionResetError, asyncio.CancelledError):
            pass
        finally:
            self._streams.remove(request)
        return response

    async def _events(self, request: web.Request, prefix: str, namespace: str, since: int) -> Any:
        if since < self._oldest:
            yield {
                "type": "ERROR",
                "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
            }
            return
        while True:
            for event in self._since(request, prefix, namespace, since):
                yield event
            since = self._version
            try:
                async with asyncio.timeout(self.bookmarks), self._changed:
                    while self._version == since:
                        await self._changed.wait()
            except TimeoutError:
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(since)}}}

    def _since(self, request: web.Request, prefix: str, namespace: str, since: int) -> Iterator[Json]:
        for version, kind, key, manifest in list(self._history):
            if version > since and _within(key, prefix, namespace, request, manifest):
                yield {"type": kind, "object": _slim(request, manifest)}

    def _store(self, key: Key, manifest: Json) -> Json:
        found = self.objects.get(key)
        meta = manifest["metadata"]
        meta["uid"] = found["metadata"]["uid"] if found else meta.get("uid") or str(uuid.uuid4())
        if key[1]:
            meta["namespace"] = key[1]
        if found is not None and manifest.get("spec") != found.get("spec") and "generation" in found["metadata"]:
            meta["generation"] = found["metadata"]["generation"] + 1
        self._record("MODIFIED" if found else "ADDED", key, manifest)
        self.objects[key] = manifest
        return manifest

    def _drop(self, key: Key) -> None:
        self._record("DELETED", key, self.objects.pop(key))

    def _record(self, kind: str, key: Key, manifest: Json) -> None:
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, kind, key, copy.deepcopy(manifest)))
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _parse(path: str) -> tuple[str, str, str, str]:
    """Group with plural, namespace, name, subresource."""
    parts = path.strip("/").split("/")
    group = "/".join(parts[1:3]) if parts[0] == "apis" else ""
    rest = parts[3:] if parts[0] == "apis" else parts[2:]
    namespace = ""
    if rest and rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *_ = [*rest, "", "", ""]
    return f"{group}/{plural}", namespace, name, subresource


def _key(path: str, name: str) -> Key:
    prefix, namespace, _, _ = _parse(path)
    return prefix, namespace, name


def _within(key: Key, prefix: str, namespace: str, request: web.Request, manifest: Json) -> bool:
    terms = [term.partition("=") for term in request.query.get("labelSelector", "").split(",") if term]
    labels = manifest["metadata"].get("labels") or {}
    if key[0] != prefix or namespace not in ("", key[1]):
        return False
    labelled = all(labels.get(k) == v if equals else k in labels for k, equals, v in terms)
    return labelled and _has_field(manifest, request.query.get("fieldSelector", ""))


def _has_field(manifest: Json, selector: str) -> bool:
    """Of selectors of fields: one field, one value."""
    path, _, wanted = selector.partition("=")
    value: Any = manifest
    for part in path.split(".") if path else ():
        value = (value or {}).get(part)
    return not selector or (value or "") == wanted


def _slim(request: web.Request, manifest: Json) -> Json:
    if "PartialObjectMetadata" not in request.headers.get("Accept", ""):
        return manifest
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": manifest["metadata"]}


def _merged(found: Json, patch: Json) -> Json:
    result = copy.deepcopy(found)
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _status(code: int, reason: str, message: str, causes: Any = ()) -> web.Response:
    answer = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": {"causes": list(causes)}}
    return web.json_response(answer, status=code)
