"""The watch: what it tells, and what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from model_serving.kube.client import Client, Selection
from model_serving.kube.request import Retries
from model_serving.kube.resources import CONFIG_MAPS, Manifest, Resource
from model_serving.kube.watch import Watch
from tests.fakes.kube_api import Failure, FakeKubeApi

MAPS = "/api/v1/namespaces/a/configmaps"


def named(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"mine": "yes", **labels}}, "data": {"k": "v"}}


class Told:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.present: set[str] = set()

    def changed(self, resource: Resource, manifest: Manifest) -> None:
        assert "data" not in manifest
        self.lines.append(f"+{manifest['metadata']['name']}")
        self.present.add(manifest["metadata"]["name"])

    def deleted(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        assert namespace == "a" and uid
        self.lines.append(f"-{name}")
        self.present.discard(name)


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for something to become true."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


class Watched:
    """A watch that runs."""

    def __init__(self, api: FakeKubeApi, client: Client) -> None:
        self.api, self.told = api, Told()
        selection = Selection(CONFIG_MAPS, None, labels="mine=yes", metadata_only=True)
        self.watch = Watch(client, selection, self.told, rand=lambda: 0.0)

    async def has(self, *names: str) -> None:
        await until(lambda: self.told.present == set(names))


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        yield fake


@pytest.fixture
async def watched(api: FakeKubeApi) -> AsyncIterator[Watched]:
    async with Client(api.connection, retries=Retries(attempts=1)) as client:
        it = Watched(api, client)
        api.put(MAPS, named("old"))
        task = asyncio.create_task(it.watch.run())
        yield it
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_was_away_is_found_again_within_the_longest_pause(api: FakeKubeApi) -> None:
    told = Told()
    api.put(MAPS, named("x"))
    api.failures.append(Failure(503, times=12))
    async with Client(api.connection, retries=Retries(attempts=1)) as client:
        selection = Selection(CONFIG_MAPS, None, metadata_only=True)
        watch = Watch(client, selection, told, longest_pause=0.02, rand=lambda: 0.0)
        task = asyncio.create_task(watch.run())
        await until(lambda: told.present == {"x"}, 20)  # twelve growing pauses would take minutes
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_there_and_what_comes_and_goes_is_told(watched: Watched) -> None:
    await asyncio.wait_for(watched.watch.synced.wait(), 20)
    assert watched.told.lines == ["+old"]
    watched.api.put(MAPS, named("new"))
    await watched.has("old", "new")
    watched.api.remove(MAPS, "old")
    await watched.has("new")


async def test_what_carries_other_labels_is_not_told(watched: Watched) -> None:
    await watched.has("old")
    watched.api.put(MAPS, named("other", mine="no"))
    watched.api.put(MAPS, named("new"))
    await watched.has("old", "new")
    assert "+other" not in watched.told.lines


async def test_a_cut_stream_goes_on_where_it_was(watched: Watched) -> None:
    await watched.has("old")
    await until(lambda: watched.api.streams)  # a list comes before it
    watched.api.cut_streams()
    watched.api.put(MAPS, named("new"))
    await watched.has("old", "new")
    assert watched.told.lines == ["+old", "+new"]
    await until(lambda: watched.watch.restarts >= 1)


async def test_a_deletion_in_a_gap_is_noticed_after_the_version_expired(watched: Watched) -> None:
    await watched.has("old")
    watched.api.failures.append(Failure(500, lambda r: "watch" in r.query, times=1))
    await until(lambda: watched.api.streams)  # a list comes before it
    watched.api.cut_streams()
    watched.api.remove(MAPS, "old")
    watched.api.put(MAPS, named("new"))
    watched.api.forget_history()
    await watched.has("new")
    assert watched.told.lines[-2:] == ["-old", "+new"]


async def test_one_that_was_recreated_in_a_gap_is_told_as_deleted_first(watched: Watched) -> None:
    await watched.has("old")
    watched.api.failures.append(Failure(500, lambda r: "watch" in r.query, times=1))
    await until(lambda: watched.api.streams)  # a list comes before it
    watched.api.cut_streams()
    watched.api.remove(MAPS, "old")
    watched.api.put(MAPS, named("old"))
    watched.api.forget_history()
    await until(lambda: watched.told.lines == ["+old", "-old", "+old"])


async def test_a_server_in_trouble_is_not_hammered(api: FakeKubeApi) -> None:
    api.failures.append(Failure(503, times=10_000))
    async with Client(api.connection, retries=Retries(attempts=1)) as client:
        watch = Watched(api, client).watch
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(1.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert 1 <= len(api.requests) <= 5
    assert not watch.synced.is_set()


async def test_a_first_list_that_fails_is_tried_again(api: FakeKubeApi) -> None:
    api.failures.append(Failure(403, times=1))
    api.put(MAPS, named("old"))
    async with Client(api.connection) as client:
        it = Watched(api, client)
        task = asyncio.create_task(it.watch.run())
        await it.has("old")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_bookmark_moves_the_version_on_without_a_word(watched: Watched) -> None:
    await watched.has("old")
    watched.api.put("/api/v1/namespaces/a/pods", named("unrelated"))
    before = watched.watch._version
    await until(lambda: watched.watch._version != before)
    assert watched.told.lines == ["+old"]
