"""Who callers are and what they may: asked of the API server with their own tokens, briefly remembered."""

from __future__ import annotations

import asyncio

import pytest

from model_serving.kube.client import Client
from model_serving.kube.workspace import callers as module
from model_serving.kube.workspace.callers import IDENTITY_SECONDS, RIGHTS_SECONDS, KubeCallers
from model_serving.stores import Away, Denied, Verb
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.kube.workspace.conftest import ALICE, BOB, NAMESPACE


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def callers(client: Client, clock: Clock) -> KubeCallers:
    return KubeCallers(client, NAMESPACE, clock)


async def test_a_token_tells_name_and_groups(callers: KubeCallers) -> None:
    found = await callers.identify("alice-token")
    assert found is not None
    assert (found.name, found.groups, found.token) == ("alice", frozenset({"ml"}), "alice-token")
    assert "alice-token" not in repr(found)


async def test_an_unknown_token_is_nobodys_and_not_remembered(api: FakeKubeApi, callers: KubeCallers) -> None:
    assert await callers.identify("new-token") is None
    api.people.tokens["new-token"] = ("carol", ())
    assert (await callers.identify("new-token")) is not None


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut", ""])
async def test_what_can_be_no_token_never_leaves_the_house(api: FakeKubeApi, callers: KubeCallers, token: str) -> None:
    assert await callers.identify(token) is None
    assert api.requests == []


async def test_a_caller_is_known_for_a_minute_at_most(api: FakeKubeApi, callers: KubeCallers, clock: Clock) -> None:
    await callers.identify("alice-token")
    del api.people.tokens["alice-token"]
    clock.now += IDENTITY_SECONDS - 1
    assert await callers.identify("alice-token") is not None
    clock.now += 2
    assert await callers.identify("alice-token") is None


async def test_many_calls_at_once_ask_once_and_one_who_leaves_takes_nothing_away(
    api: FakeKubeApi, callers: KubeCallers
) -> None:
    api.delay = 0.05
    asking = [asyncio.create_task(callers.identify("alice-token")) for _ in range(20)]
    await asyncio.sleep(0.01)
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert all(caller is not None for caller in found)
    assert sum(getattr(caller, "name", "") == "alice" for caller in found) == 19
    assert api.people.reviews == 1


async def test_made_up_tokens_leave_the_api_server_to_others(
    api: FakeKubeApi, callers: KubeCallers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REVIEWS", 30)
    api.delay = 0.05
    found = await asyncio.gather(*(callers.identify(f"made-up-{n}") for n in range(40)), return_exceptions=True)
    assert api.peak <= module.REVIEWS_AT_ONCE
    assert sum(isinstance(each, Away) for each in found) == 10 and found.count(None) == 30
    assert await callers.identify("alice-token") is not None


async def test_only_so_many_callers_are_remembered(
    api: FakeKubeApi, callers: KubeCallers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    for token in ("alice-token", "bob-token", "alice-token"):
        assert await callers.identify(token) is not None
    assert api.people.reviews == 3


async def test_a_cluster_without_an_answer_is_away_and_asked_again(api: FakeKubeApi, callers: KubeCallers) -> None:
    api.failures.append(Failure(500, lambda r: r.path.endswith("reviews"), times=2))
    with pytest.raises(Away):
        await callers.identify("alice-token")
    with pytest.raises(Away):
        await callers.may(ALICE, Verb.GET)
    assert await callers.identify("alice-token") is not None


async def test_a_cluster_that_forbids_reviews_says_so(api: FakeKubeApi, callers: KubeCallers) -> None:
    api.failures.append(Failure(403, lambda r: r.path.endswith("reviews")))
    with pytest.raises(Denied, match="system:basic-user"):
        await callers.identify("alice-token")


async def test_rights_are_the_callers_own_and_known_for_seconds(
    api: FakeKubeApi, callers: KubeCallers, clock: Clock
) -> None:
    api.people.denied.add(("bob", "update", "servingendpoints"))
    assert await callers.may(ALICE, Verb.UPDATE, "chat") is True
    assert await callers.may(BOB, Verb.UPDATE, "chat") is False
    attributes = (
        '"namespace":"gen-ai","verb":"update","group":"model-serving.dev","resource":"servingendpoints","name":"chat"'
    )
    assert attributes in api.requests[-1][3]
    api.people.denied.clear()
    assert await callers.may(BOB, Verb.UPDATE, "chat") is False
    clock.now += RIGHTS_SECONDS + 1
    assert await callers.may(BOB, Verb.UPDATE, "chat") is True


async def test_an_expired_token_has_no_rights(api: FakeKubeApi, callers: KubeCallers) -> None:
    del api.people.tokens["bob-token"]
    assert await callers.may(BOB, Verb.GET, "chat") is False
