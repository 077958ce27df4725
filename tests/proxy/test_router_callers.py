"""Callers of a router in a cluster: known by keys and tokens, else reviewed; and what proxies see of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.reviews import MAX_WAITING, end_of
from model_serving.proxy.settings import ProcessSettings
from model_serving.proxy_config import Grant, News
from tests.fakes.upstream import FakeUpstream
from tests.proxy.fronts import INVOCATIONS, Feed, ask, entry, fed, management
from tests.proxy.harness import Files, Running, call, request_bytes, until, write
from tests.proxy.tokens.minting import Mint, cluster, ec_key, jwk, rsa_key

OWN = "the-routers-own-token"
GROUPS = frozenset(("team", "system:authenticated"))
OPAQUE = "opaque-canary"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def account(**changes: Any) -> str:
    return Mint(claims={"sub": "system:serviceaccount:shop:app"} | changes, now=time.time()).token()


@pytest.fixture
async def proxy() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def feed(proxy: FakeUpstream) -> Feed:
    issuers = [cluster(jwk(rsa_key(), "k1"))]
    return Feed(
        News(table={"ep": entry(proxy.port)}, issuers=issuers, workspace_id="7"), owners={OPAQUE: ("eve", GROUPS)}
    )


@pytest.fixture
async def front(feed: Feed, files: Files) -> AsyncIterator[Running]:
    write(files.root / "token", f"{OWN}\n")
    files.key("sk-key", "keyholder", ["jobs"])
    async with fed(feed, root=files.root, token_file=files.root / "token") as running:
        await until(lambda: feed.runs)
        running.tick()
        yield running


@pytest.mark.parametrize(
    ("token", "named", "asked"),
    [
        pytest.param("sk-key", "keyholder jobs", 0, id="an API key"),
        pytest.param(
            account(),
            "system:serviceaccount:shop:app system:authenticated,system:serviceaccounts,system:serviceaccounts:shop",
            0,
            id="a token of an issuer",
        ),
        pytest.param(OPAQUE, "eve system:authenticated,team", 1, id="a token that is reviewed"),
    ],
)
async def test_a_proxy_sees_who_calls_and_the_routers_own_token(
    front: Running, feed: Feed, token: str, named: str, asked: int
) -> None:
    async with FakeUpstream() as proxy:
        feed.tell(News(table={"ep": entry(proxy.port)}))
        for _ in range(3):
            assert (await ask(front, bearer(token))).status == 200
        assert len(feed.asked) == asked
        for request in proxy.requests:
            assert request.header("authorization") == f"Bearer {OWN}"
            assert request.header("x-model-serving-router-key") is None
            principal, groups = (request.header(f"x-model-serving-{name}") for name in ("principal", "groups"))
            assert f"{principal} {groups}".replace("%3A", ":") == named


async def test_no_proxy_and_no_log_ever_sees_a_callers_token(feed: Feed, files: Files, proxy: FakeUpstream) -> None:
    write(files.root / "token", OWN)
    reading, writing = os.pipe()
    tokens = [account(), OPAQUE, "sk-key", "nobody-canary", account(aud="other")]
    files.key("sk-key")
    with os.fdopen(reading, "rb") as log:
        settings: dict[str, Any] = {"root": files.root, "token_file": files.root / "token"}
        async with fed(feed, process=ProcessSettings(access_log_fd=writing), **settings) as front:
            for token in tokens:
                for headers in (bearer(token), bearer(token) | {"x-own": token, "cookie": token, "api-key": token}):
                    await call(front.port, INVOCATIONS, {"messages": []}, headers)
                    await call(front.port, f"{INVOCATIONS}/x?token=1", {"messages": []}, headers)
            page = (await call(front.admin_port, "/metrics")).body + (await call(front.admin_port, "/status")).body
        os.close(writing)
        seen = log.read() + page
    assert len(proxy.requests) == 6
    for request in proxy.requests:
        seen += json.dumps([request.path, request.headers]).encode() + request.body
    for token in tokens:
        assert token.encode() not in seen and token.split(".")[-1].encode() not in seen


async def test_management_sees_the_callers_token_and_not_the_routers(feed: Feed, files: Files) -> None:
    write(files.root / "token", OWN)
    async with management() as fake:
        settings = {"token_file": files.root / "token", "management": f"127.0.0.1:{fake.port}"}
        async with fed(feed, **settings) as front:
            assert (await call(front.port, "/api/2.0/serving-endpoints", headers=bearer(OPAQUE))).status == 200
    assert fake.requests[0].header("authorization") == f"Bearer {OPAQUE}"
    assert OWN not in str(fake.requests[0].headers)
    assert not feed.asked, "management asks by itself"


async def test_the_routers_own_token_is_read_again_when_it_changes(
    front: Running, files: Files, proxy: FakeUpstream
) -> None:
    service: Any = front.service
    write(files.root / "token", "renewed")
    service._state.refresh(time.time())
    assert (await ask(front, bearer("sk-key"))).status == 200
    (files.root / "token").unlink()
    service._state.refresh(time.time())
    assert (await ask(front, bearer("sk-key"))).status == 200, "the last one stays good"
    assert [request.header("authorization") for request in proxy.requests] == ["Bearer renewed"] * 2
    problems = (await call(front.admin_port, "/status")).json["problems"]
    assert any("own token cannot be read" in problem for problem in problems)


async def test_an_api_key_that_comes_or_goes_counts_at_once(front: Running, files: Files) -> None:
    service: Any = front.service
    assert (await ask(front, bearer("late"))).status == 401
    files.key("late")
    service._state.refresh(time.time())
    assert (await ask(front, bearer("late"))).status == 200
    (files.root / "api-keys" / hashlib.sha256(b"late").hexdigest()).unlink()
    service._state.refresh(time.time())
    assert (await ask(front, bearer("late"))).status == 401


async def test_models_are_those_that_a_reviewed_caller_may_query(front: Running, feed: Feed) -> None:
    table = {"a": entry(1, grants=[Grant("group", "team", "CAN_QUERY")]), "b": entry(1)}
    feed.tell(News(table=table))
    answer = await call(front.port, "/serving-endpoints/models", headers=bearer(OPAQUE))
    assert [model["id"] for model in answer.json["data"]] == ["a"]


# Reviews


async def test_a_token_is_asked_about_once_however_many_calls_wait(front: Running, feed: Feed) -> None:
    feed.answering.clear()
    calls = [asyncio.create_task(ask(front, bearer(OPAQUE))) for _ in range(20)]
    service: Any = front.service
    await until(lambda: len(service.pipeline._unknown) == 20)
    feed.answering.set()
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
    assert feed.asked == [OPAQUE.encode()]


async def test_a_token_that_is_nobodys_is_401_and_not_asked_about_again_at_once(front: Running, feed: Feed) -> None:
    for _ in range(3):
        answer = await ask(front, bearer("nobody"))
        assert (answer.status, answer.json["error_code"]) == (401, "UNAUTHENTICATED")
    assert feed.asked == [b"nobody"]


async def test_what_was_found_holds_for_a_minute_at_most(
    front: Running, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask(front, bearer(OPAQUE))).status == 200
    later = time.time() + 61
    monkeypatch.setattr("model_serving.proxy.router_pipeline.time.time", lambda: later)
    del feed.owners[OPAQUE]
    assert (await ask(front, bearer(OPAQUE))).status == 401
    assert len(feed.asked) == 2


async def test_an_api_server_that_is_away_is_503_and_nothing_is_remembered(front: Running, feed: Feed) -> None:
    feed.away = True
    answer = await ask(front, bearer(OPAQUE))
    assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await ask(front, bearer(account()))).status == 200, "who is verified offline is served"
    feed.away = False
    assert (await ask(front, bearer(OPAQUE))).status == 200


async def test_an_api_server_that_hangs_is_503(front: Running, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_serving.proxy.reviews.REVIEW_SECONDS", 0.2)
    feed.answering.clear()
    assert (await ask(front, bearer(OPAQUE))).status == 503


async def test_a_client_that_leaves_while_it_is_reviewed_is_not_served(
    front: Running, feed: Feed, proxy: FakeUpstream
) -> None:
    feed.answering.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(request_bytes("POST", INVOCATIONS, b"{}", bearer(OPAQUE)))
    await until(lambda: feed.asked)
    writer.close()
    service: Any = front.service
    await until(lambda: not len(service.pipeline._unknown))
    feed.answering.set()
    assert (await ask(front, bearer(OPAQUE))).status == 200
    assert len(proxy.requests) == 1
    page = (await call(front.admin_port, "/metrics")).body.decode()
    assert 'model_serving_routed_calls_total{endpoint="",status="499"} 1\n' in page


async def test_reviews_are_bounded(front: Running, feed: Feed) -> None:
    feed.answering.clear()
    calls = [asyncio.create_task(ask(front, bearer(f"t{number}"))) for number in range(MAX_WAITING + 20)]
    service: Any = front.service
    await until(lambda: sum(task.done() for task in calls) >= 20)
    assert len(feed.asked) <= 8
    assert len(service.pipeline.reviews._waiting) == MAX_WAITING
    feed.answering.set()
    statuses = [answer.status for answer in await asyncio.gather(*calls)]
    assert (statuses.count(503), statuses.count(401)) == (20, MAX_WAITING)


async def test_the_end_of_the_process_answers_who_waits(feed: Feed, files: Files) -> None:
    write(files.root / "token", OWN)
    feed.answering.clear()
    async with fed(feed, token_file=files.root / "token") as front:
        waiting = asyncio.create_task(ask(front, bearer(OPAQUE)))
        await until(lambda: feed.asked)
        front.service.end()
        assert (await waiting).status == 503


def signed(**changes: Any) -> bytes:
    return Mint(claims=changes, now=time.time()).token().encode()


@pytest.mark.parametrize(
    ("token", "asked"),
    [
        pytest.param(b"opaque", True, id="an opaque token"),
        pytest.param(b"a.b.c", True, id="an opaque token with dots"),
        pytest.param(signed(iss="https://unknown.example"), True, id="an issuer that is not known"),
        pytest.param(signed(exp=None), False, id="a token without an end"),
        pytest.param(signed(aud=None), False, id="a token without an audience"),
        pytest.param(signed(aud=[]), False, id="a token with no audience"),
        pytest.param(signed(exp=1), False, id="a token that has ended"),
        pytest.param(b"eyJhbGciOiJub25lIn0.broken.x", False, id="a token that cannot be read"),
        pytest.param(b"", False, id="no token"),
    ],
)
def test_tokens_without_end_or_audience_are_refused_whoever_would_accept_them(token: bytes, asked: bool) -> None:
    assert (end_of(token) > time.time()) is asked


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", f"Bearer {'x' * 17000}"])
async def test_what_is_no_bearer_token_is_asked_about_nowhere(front: Running, feed: Feed, header: str) -> None:
    assert (await ask(front, {"authorization": header})).status == 401
    assert not feed.asked


async def test_new_keys_of_issuers_count_at_once(front: Running, feed: Feed) -> None:
    other = Mint(ec_key(), "ES256", {"kid": "e1"}, {}, time.time()).token()
    assert (await ask(front, bearer(other))).status == 401
    feed.tell(News(issuers=[cluster(jwk(ec_key(), "e1"))]))
    assert (await ask(front, bearer(other))).status == 200
    assert (await ask(front, bearer(account()))).status == 401, "the former key is gone"


# Bodies are not read for nobody


async def first_line(front: Running, *lines: str) -> bytes:
    """The answer's first line to a head, without any body being sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write("\r\n".join([f"POST {INVOCATIONS} HTTP/1.1", "host: a", *lines, "", ""]).encode())
    try:
        return await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()


EXPECT = "expect: 100-continue"


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        pytest.param(["content-length: 100000", EXPECT], b"401", id="no token"),
        pytest.param(["transfer-encoding: chunked", EXPECT], b"401", id="no token, a body of unknown size"),
        pytest.param(["content-length: 100000", f"authorization: Bearer {signed(exp=1).decode()}"], b"401", id="ended"),
        pytest.param(["content-length: 5000000", "authorization: Bearer new"], b"413", id="large, to be reviewed"),
        pytest.param(["content-length: 4000000", "authorization: Bearer new", EXPECT], b"100", id="to be reviewed"),
        pytest.param(["content-length: 9000000", "authorization: Bearer sk-key", EXPECT], b"100", id="known"),
        pytest.param(["content-length: 20000000", "authorization: Bearer sk-key", EXPECT], b"413", id="known, too big"),
    ],
)
async def test_a_large_body_is_read_only_when_its_caller_may_be_known(
    front: Running, lines: list[str], answer: bytes
) -> None:
    assert (await first_line(front, *lines)).split(b" ")[1] == answer


async def test_a_refusal_by_the_head_is_a_proper_401(front: Running) -> None:
    answer = await call(front.port, "/serving-endpoints/chat/completions", b" " * 50_000, {"authorization": ""})
    assert (answer.status, answer.json["error_code"]) == (401, "UNAUTHENTICATED")
    assert answer.json["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]


async def test_a_body_in_pieces_is_bounded_for_callers_to_be_reviewed(front: Running, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(f"POST {INVOCATIONS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer new\r\n".encode())
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    piece = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
    for _ in range(5):
        writer.write(piece)
    assert b"413" in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_a_call_to_an_endpoint_that_is_heard_of_a_moment_later_is_served(front: Running, feed: Feed) -> None:
    async with FakeUpstream() as proxy:
        asked = asyncio.create_task(
            call(front.port, INVOCATIONS.replace("ep/", "new/"), {"messages": []}, bearer("sk-key"))
        )
        service: Any = front.service
        await until(lambda: len(service.pipeline._sought) == 1)
        feed.tell(News(table={"new": entry(proxy.port)}))
        assert (await asked).status == 200


async def test_a_call_to_an_endpoint_that_nobody_hears_of_ends_with_404(front: Running) -> None:
    answer = await call(front.port, INVOCATIONS.replace("ep/", "gone/"), {"messages": []}, bearer("sk-key"))
    assert (answer.status, answer.json["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


async def test_few_calls_wait_for_news(front: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    service: Any = front.service
    monkeypatch.setattr(service.pipeline._sought, "_places", 0)
    answer = await call(front.port, INVOCATIONS.replace("ep/", "gone/"), {"messages": []}, bearer("sk-key"))
    assert answer.status == 404
