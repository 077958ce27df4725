"""Request ids: the client's own where it is sane, on every answer, whoever gives it."""

from __future__ import annotations

import pytest

from model_serving.proxy.pipeline import RequestIds
from tests.proxy.harness import AUTH, Running, call, chat, talk

PATH = "/serving-endpoints/ep/invocations"
HEAD = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: {AUTH}\r\n".encode()


@pytest.mark.parametrize("given", ["a", "a-b_c.d:e", "f" * 128])
async def test_a_sane_id_comes_back(running: Running, given: str) -> None:
    assert (await chat(running.port, headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "ä", "f" * 129, "<script>"])
async def test_an_odd_one_is_replaced(running: Running, given: str) -> None:
    answer = await chat(running.port, headers={"x-request-id": given.encode().decode("latin-1")})
    assert answer.headers["x-request-id"] not in ("", given)


def test_no_two_calls_get_the_same() -> None:
    ids = RequestIds("a")
    assert len({ids.of({}) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        pytest.param(PATH, b"{", {}, id="400"),
        pytest.param(PATH, b"{}", {"authorization": ""}, id="401"),
        pytest.param("/nothing", b"{}", {}, id="404"),
        pytest.param("/serving-endpoints/models", None, {}, id="the list of models"),
    ],
)
async def test_every_answer_of_the_proxy_has_one(
    running: Running, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    answer = await call(running.port, path, body, headers | {"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", b"400", id="no HTTP"),
        pytest.param(HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", b"400", id="two lengths"),
        pytest.param(HEAD + b"x: " + b"y" * 40_000 + b"\r\n\r\n", b"431", id="a head that is too large"),
    ],
)
async def test_so_has_what_the_http_server_refuses_by_itself(running: Running, request_: bytes, status: bytes) -> None:
    answer = await talk(running.port, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.lower().count(b"x-request-id: ") == 1


async def test_a_body_that_is_too_large_is_refused_with_the_clients_id(running: Running) -> None:
    answer = await talk(running.port, HEAD + b"x-request-id: mine\r\ncontent-length: 99999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413") and b"x-request-id: mine\r\n" in answer


async def test_an_id_is_not_taken_from_the_request_before(running: Running) -> None:
    first = HEAD + b"x-request-id: first\r\ncontent-length: 2\r\n\r\n{}"
    answer = await talk(running.port, first, b"nonsense\r\n\r\n", pause=0.2)
    assert answer.count(b"x-request-id: first\r\n") == 1
    assert answer.lower().count(b"x-request-id: ") == 2
