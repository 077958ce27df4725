"""One operator at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from model_serving.controller.lease import Lease
from model_serving.kube.client import Client
from model_serving.kube.request import Retries
from tests.fakes.kube_api import Failure, FakeKubeApi

PATH = "/apis/coordination.k8s.io/v1/namespaces/ops/leases"
NAME = "model-serving-operator"


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        yield fake


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[Client]:
    async with Client(api.connection, retries=Retries(attempts=1)) as opened:
        yield opened


def lease(client: Client, identity: str = "one", seconds: float = 1.0) -> Lease:
    return Lease(client, namespace="ops", identity=identity, seconds=seconds)


def holder(api: FakeKubeApi) -> str:
    return str(api.get(PATH, NAME)["spec"]["holderIdentity"]).split("_")[0]


async def test_the_first_one_gets_it(api: FakeKubeApi, client: Client) -> None:
    mine = lease(client)
    await asyncio.wait_for(mine.acquire(), 20)
    assert mine.held and holder(api) == "one"


async def test_the_second_one_waits_until_it_is_given_back_and_then_has_it_at_once(
    api: FakeKubeApi, client: Client
) -> None:
    first, second = lease(client, seconds=30), lease(client, "two", seconds=1)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0.6)
    assert not waiting.done()
    await first.release()
    assert not first.held
    await asyncio.wait_for(waiting, 20)
    assert holder(api) == "two"


async def test_a_dead_holder_is_replaced_after_the_duration_by_our_own_clock(api: FakeKubeApi, client: Client) -> None:
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2099-01-01T00:00:00.000000Z"}
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    api.put(PATH, {**kind, "metadata": {"name": NAME}, "spec": spec})
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(lease(client).acquire(), 20)
    assert asyncio.get_running_loop().time() - began >= 1
    assert holder(api) == "one"
    assert api.get(PATH, NAME)["spec"]["leaseTransitions"] == 1


async def test_a_restarted_operator_does_not_take_its_former_self_for_itself(api: FakeKubeApi, client: Client) -> None:
    former = lease(client, "same")
    await former.acquire()
    again = asyncio.create_task(lease(client, "same", seconds=1).acquire())
    await asyncio.sleep(0.3)
    assert not again.done()
    await asyncio.wait_for(again, 20)


async def test_it_is_renewed_for_as_long_as_it_is_held(api: FakeKubeApi, client: Client) -> None:
    mine = lease(client)
    await mine.acquire()
    task = asyncio.create_task(mine.hold())
    await asyncio.sleep(1.5)
    assert mine.held and not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_is_lost_when_somebody_else_has_it(api: FakeKubeApi, client: Client) -> None:
    mine = lease(client)
    await mine.acquire()
    live = api.get(PATH, NAME)
    api.put(PATH, {**live, "metadata": dict(live["metadata"]), "spec": {**live["spec"], "holderIdentity": "thief"}})
    await asyncio.wait_for(mine.hold(), 20)
    assert not mine.held
    await mine.release()
    assert holder(api) == "thief", "what is not ours is not given back"


async def test_it_is_lost_when_it_cannot_be_renewed_in_time(api: FakeKubeApi, client: Client) -> None:
    mine = lease(client)
    await mine.acquire()
    api.failures.append(Failure(503, times=10_000))
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(mine.hold(), 20)
    assert asyncio.get_running_loop().time() - began < 10


async def test_one_lost_answer_does_no_harm(api: FakeKubeApi, client: Client) -> None:
    mine = lease(client, seconds=2)
    await mine.acquire()
    api.failures.append(Failure(500, lambda r: r.method == "PUT"))
    task = asyncio.create_task(mine.hold())
    await asyncio.sleep(1.5)
    assert mine.held and not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_two_that_start_together_do_not_both_get_it(api: FakeKubeApi, client: Client) -> None:
    both = [asyncio.create_task(lease(client, str(n), seconds=30).acquire()) for n in range(2)]
    done, pending = await asyncio.wait(both, timeout=2, return_when=asyncio.ALL_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
