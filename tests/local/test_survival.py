"""`kill -9` of any process loses at most its own calls in flight."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest

from tests.local.running import (
    Run,
    alive,
    chat_endpoint,
    documents,
    eventually,
    free_port,
    running,
    say,
    secret,
    stream_words,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    demo = free_port()
    file = tmp_path / "endpoints.yaml"
    key = secret("provider", api_key="k")
    file.write_text(documents(key, chat_endpoint("first", demo), chat_endpoint("second", demo)))
    return ["-f", str(file), "--demo", "--demo-port", str(demo), "--port", str(free_port())]


@pytest.fixture
def run(tmp_path: Path, options: list[str]) -> Iterator[Run]:
    with running(tmp_path, *options) as started:
        started.serving()
        yield started


class Streaming(threading.Thread):
    """A stream in flight; `words` so far, `error` if it broke."""

    def __init__(self, client: openai.OpenAI, model: str, events: int = 40) -> None:
        super().__init__(daemon=True)
        self.words: list[str] = []
        self.error: Exception | None = None
        self._events = events
        self._source = stream_words(client, model, events, 0.1)
        self.start()
        eventually(lambda: len(self.words) > 2 or self.error, "the first words of a stream")

    def run(self) -> None:
        try:
            self.words.extend(self._source)
        except Exception as error:
            self.error = error

    @property
    def whole(self) -> bool:
        """Whether it came to its proper end."""
        self.join(60)
        return self.error is None and len(self.words) == self._events


def proxies_of(run: Run) -> dict[str, int]:
    """The process of each endpoint's proxy, told apart by its root folder."""
    found = {}
    for pid in (pid for pid, line in run.children().items() if line.endswith(" proxy")):
        with open(f"/proc/{pid}/environ") as file:
            root = next(v for v in file.read().split("\0") if v.startswith("MODEL_SERVING_ROOT=")).partition("=")[2]
        config = json.loads(Path(root, "config", "config.json").read_text())
        found[config["endpoint"]] = pid
    return found


def answers(client: openai.OpenAI, model: str) -> bool:
    return client.chat.completions.create(model=model, messages=say("hi")).choices[0].message.content == "You said: hi"


def test_a_killed_proxy_loses_its_own_calls_only(run: Run) -> None:
    client = run.client()
    own, other = Streaming(client, "first"), Streaming(client, "second")
    before = proxies_of(run)
    os.kill(before["first"], signal.SIGKILL)
    # Calls that come meanwhile are held until the proxy is back.
    eventually(lambda: answers(client, "first"), "an answer after the kill", 30)
    assert not own.whole
    assert other.whole
    assert proxies_of(run)["second"] == before["second"]


def test_a_killed_router_comes_back_on_the_same_port_with_the_same_proxies(run: Run) -> None:
    client = run.client()
    lost = Streaming(client, "first")
    before = proxies_of(run)
    os.kill(run.child("router"), signal.SIGKILL)
    eventually(lambda: answers(client, "first") and answers(client, "second"), "answers after the kill", 30)
    assert not lost.whole
    assert proxies_of(run) == before


def test_while_a_killed_router_comes_back_connections_wait_and_none_is_refused(run: Run) -> None:
    client = run.client()
    answers(client, "first")
    refused: list[Exception] = []
    made: list[str] = []
    ending = threading.Event()

    def load() -> None:
        while not ending.is_set():
            try:
                made.append(str(fresh_call(run)))
            except ConnectionRefusedError as error:
                refused.append(error)
            except (OSError, http.client.HTTPException):
                made.append("lost")  # in flight at the killed router

    threads = [threading.Thread(target=load, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before = run.child("router")
        count = len(made)
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: run.child("router") != before, "another router", 30)  # type: ignore[misc]
        eventually(lambda count=count: made[count + 50 :], "calls after the kill", 30)  # type: ignore[misc]
    ending.set()
    for thread in threads:
        thread.join(60)
    assert not refused
    assert made.count("lost") <= 2 * len(threads)
    assert set(made) <= {"200", "lost"}


def fresh_call(run: Run) -> int:
    """The status of one call on a connection of its own."""
    url = urlsplit(run.serving()["base_url"])
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)
    try:
        body = json.dumps({"messages": say("hi")})
        headers = {"Authorization": f"Bearer {run.serving()['token']}"}
        connection.request("POST", "/serving-endpoints/first/invocations", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_a_killed_demo_provider_comes_back(run: Run) -> None:
    client = run.client()
    os.kill(run.child("demo-provider"), signal.SIGKILL)
    eventually(lambda: answers(client, "first"), "answers after the kill", 30)


def test_a_killed_runner_loses_no_call_and_the_next_one_takes_over(
    run: Run, tmp_path: Path, options: list[str]
) -> None:
    children = run.children()
    short = Streaming(run.client(), "first", 50)
    token = run.serving()["token"]
    run.kill()
    with running(tmp_path, *options) as second:
        serving = second.serving()
        assert serving["token"] == token
        assert {e["name"]: (e["ready"], e["config_version"]) for e in serving["endpoints"]} == {
            "first": (True, 1),
            "second": (True, 1),
        }
        assert answers(second.client(), "first")
        assert short.whole
        eventually(lambda: not any(map(alive, children)), "the end of the orphans")
