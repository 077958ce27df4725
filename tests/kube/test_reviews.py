"""Acting for a caller: whose token goes out, who the API server says it is, and what never happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from model_serving.kube import errors
from model_serving.kube.client import Client
from model_serving.kube.config import Connection
from model_serving.kube.request import Retries
from model_serving.kube.resources import CONFIG_MAPS
from model_serving.kube.reviews import Reviewed, review
from tests.fakes.kube_api import Failure, FakeKubeApi


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        yield fake


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[Client]:
    async with Client(api.connection, retries=Retries(base=0.01)) as opened:
        yield opened


def saying(api: FakeKubeApi, status: int, body: dict[str, object]) -> list[str]:
    """Answers reviews so, and remembers the tokens that they came with."""
    tokens: list[str] = []

    def is_review(request: object) -> bool:
        if not request.path.endswith("/selfsubjectreviews"):  # type: ignore[attr-defined]
            return False
        tokens.append(request.headers["Authorization"])  # type: ignore[attr-defined]
        return True

    api.failures.append(Failure(status, is_review, 10, body=body))
    return tokens


def user(**info: object) -> dict[str, object]:
    return {"kind": "SelfSubjectReview", "status": {"userInfo": info}}


async def test_a_caller_is_who_the_api_server_says(api: FakeKubeApi, client: Client) -> None:
    tokens = saying(api, 201, user(username="alice", groups=["ml", "system:authenticated"]))
    assert await review(client, "hers") == Reviewed("alice", frozenset({"ml", "system:authenticated"}))
    assert tokens == ["Bearer hers"], "never the client's own"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(401, {"reason": "Unauthorized"}, id="unknown: asked once"),
        pytest.param(201, user(username="system:anonymous"), id="anonymous is nobody"),
        pytest.param(201, user(), id="no name"),
        pytest.param(201, {}, id="no status"),
    ],
)
async def test_a_token_of_nobody_is_nobodys(
    api: FakeKubeApi, client: Client, status: int, body: dict[str, object]
) -> None:
    tokens = saying(api, status, body)
    assert await review(client, "what") is None
    assert len(tokens) == 1


async def test_an_api_server_that_is_away_says_nothing(api: FakeKubeApi, client: Client) -> None:
    saying(api, 503, {})
    with pytest.raises(errors.Unavailable):
        await review(client, "hers")


@pytest.mark.parametrize("token", ["", "two words", "with\r\nX-Header: 1", "ümlaut", "x" * 20000])
async def test_what_can_be_no_token_is_never_sent(api: FakeKubeApi, client: Client, token: str) -> None:
    assert await review(client, token) is None
    assert not api.requests


async def test_a_view_changes_nothing_for_the_client_itself(api: FakeKubeApi, client: Client) -> None:
    seen: list[str] = []
    watch = Failure(404, lambda r: bool(seen.append(r.headers["Authorization"])), 10)
    api.failures.append(watch)
    view = client.acting_as("hers")
    await view.find(CONFIG_MAPS, "a", "x")
    await client.find(CONFIG_MAPS, "a", "x")
    assert seen == ["Bearer hers", "Bearer a-token"]
    assert view.counts is client.counts


async def test_a_client_certificate_would_speak_for_every_caller(client: Client) -> None:
    client.connection = Connection(client.connection.server, client_certificate="PEM", client_key="PEM")
    with pytest.raises(RuntimeError, match="client certificate"):
        client.acting_as("hers")


async def test_a_cookie_of_one_caller_does_not_go_with_anothers_token(api: FakeKubeApi) -> None:
    """Something in front of the API server may set some, and believe them more than a token."""
    seen: list[dict[str, str]] = []
    spy = Failure(200, lambda r: seen.append(dict(r.cookies)) is None, times=2, headers={"Set-Cookie": "session=alice"})
    api.failures.append(spy)
    by_name = replace(api.connection, server=api.connection.server.replace("127.0.0.1", "localhost"))
    async with Client(by_name) as client:
        for token in ("alice-token", "bob-token"):
            await client.acting_as(token).get(CONFIG_MAPS, "a", "x")
    assert seen == [{}, {}]
