"""Edited files are updates: rolled out without a failed call, refused with words, and never half applied."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from tests.local.running import (
    Run,
    chat_endpoint,
    demo_provider,
    documents,
    eventually,
    free_port,
    running,
    say,
    secret,
    stream_words,
    write,
)

pytestmark = pytest.mark.slow

KEY = secret("provider", api_key="k")


@pytest.fixture(scope="module")
def demo() -> Iterator[int]:
    with demo_provider() as port:
        yield port


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "endpoints.yaml"


def options(file: Path) -> list[str]:
    return ["-f", str(file), "--port", str(free_port())]


def served_by(client: openai.OpenAI, model: str = "it") -> tuple[str, str]:
    """Which entity answered, of which config version."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=say("hi"))
    return answer.headers["served-model-name"], answer.headers["x-config-version"]


class Load:
    """Steady short calls and long streams from several threads; `failures` must stay empty."""

    def __init__(self, run: Run) -> None:
        self.failures: list[str] = []
        self.calls = 0
        self.entities: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(run.client(),), daemon=True) for _ in range(3)]
        self._threads += [threading.Thread(target=self._stream, args=(run.client(),), daemon=True) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self, client: openai.OpenAI) -> None:
        while not self._stop.is_set():
            try:
                self.entities.add(served_by(client)[0])
                self.calls += 1
            except openai.APIError as error:
                self.failures.append(repr(error))

    def _stream(self, client: openai.OpenAI) -> None:
        while not self._stop.is_set():
            try:
                words = list(stream_words(client, "it", 40, 0.1))
            except Exception as error:
                self.failures.append(repr(error))
            else:
                if len(words) != 40:
                    self.failures.append(f"a stream of {len(words)} words")


def test_an_update_under_load_fails_no_call_and_cuts_no_stream(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(documents(KEY, chat_endpoint("it", demo)))
    with running(tmp_path, *options(file)) as run:
        run.serving()
        load = Load(run)
        eventually(lambda: load.calls > 20, "some load")
        for version in (2, 3, 4):
            write(file, documents(KEY, chat_endpoint("it", demo, entity=f"e{version}", model=f"m{version}")))
            run.ready("it", version)
        calls = load.calls
        eventually(lambda: load.calls > calls + 20, "some load after the updates")
        load.end()
        assert load.failures == []
        assert load.entities == {"e1", "e2", "e3", "e4"}
        assert served_by(run.client()) == ("e4", "4")
        # The old proxies finish their streams and go.
        eventually(lambda: sum(line.endswith(" proxy") for line in run.children().values()) == 1, "the end of the old")


def test_the_reference_update_goes_from_embeddings_to_chat(tmp_path: Path, file: Path, demo: int) -> None:
    before = chat_endpoint(
        "it", demo, entity="openai_embeddings", model="text-embedding-ada-002", task="llm/v1/embeddings"
    )
    file.write_text(documents(KEY, before))
    with running(tmp_path, *options(file)) as run:
        client = run.client()
        assert client.embeddings.create(model="it", input="x").data
        with pytest.raises(openai.BadRequestError):
            served_by(client)
        write(file, documents(KEY, chat_endpoint("it", demo, entity="openai_chat", model="gpt-4o")))
        run.ready("it", 2)
        assert served_by(client) == ("openai_chat", "2")


def test_a_missing_secret_is_named_and_heals_by_itself(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(chat_endpoint("it", demo))
    with running(tmp_path, *options(file), environ={"MODEL_SERVING_SECRET_GRACE_SECONDS": "2"}) as run:
        endpoint = run.serving()["endpoints"][0]
        assert (endpoint["ready"], endpoint["reason"]) == (False, "SecretNotFound")
        assert "Secret provider does not exist" in endpoint["message"]
        with pytest.raises(openai.InternalServerError, match="provider") as refused:
            served_by(run.client())
        assert refused.value.status_code == 503
        assert refused.value.response.headers["retry-after"]
        write(file, documents(secret("provider", other="k"), chat_endpoint("it", demo)))
        run.wait_for("the key is named", lambda e: "has no key api_key" in e.get("message", ""))
        write(file, documents(KEY, chat_endpoint("it", demo)))
        run.ready("it", 1)
        assert served_by(run.client()) == ("e1", "1")


def test_an_update_that_lacks_a_key_waits_while_the_old_version_serves(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(documents(KEY, chat_endpoint("it", demo)))
    with running(tmp_path, *options(file), environ={"MODEL_SERVING_PROGRESS_DEADLINE_SECONDS": "2"}) as run:
        run.serving()
        write(file, documents(KEY, chat_endpoint("it", demo, entity="e2", key="second_key")))
        run.wait_for("the finding", lambda e: e.get("reason") == "SecretNotFound" and "second_key" in e["message"])
        assert served_by(run.client()) == ("e1", "1")
        both = secret("provider", api_key="k", second_key="k2")
        write(file, documents(both, chat_endpoint("it", demo, entity="e2", key="second_key")))
        run.ready("it", 2)
        assert served_by(run.client()) == ("e2", "2")


def test_a_failed_update_is_taken_back_and_tried_again_on_request(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(documents(KEY, chat_endpoint("it", demo)))
    with running(tmp_path, *options(file), environ={"MODEL_SERVING_PROGRESS_DEADLINE_SECONDS": "4"}) as run:
        run.serving()
        old = run.child("proxy")
        seen = len(run.events)
        write(file, documents(KEY, chat_endpoint("it", demo, entity="e2")))
        # A process that stands still from its first moment never becomes ready.
        new = eventually(lambda: next(iter(set(map(int, _proxies(run))) - {old}), 0), "the new proxy", 20)
        os.kill(new, signal.SIGSTOP)
        failed = run.wait_for("the failure", lambda e: e.get("reason") == "UpdateFailed", seen)
        assert "config version 2" in failed["message"]
        os.kill(new, signal.SIGCONT)
        assert served_by(run.client()) == ("e1", "1")
        eventually(lambda: list(_proxies(run)) == [old], "the end of the failed proxy")
        again = chat_endpoint("it", demo, entity="e2", annotations="model-serving.dev/retry: 'once'")
        write(file, documents(KEY, again))
        run.ready("it", 2)
        assert served_by(run.client()) == ("e2", "2")


def _proxies(run: Run) -> list[int]:
    return [pid for pid, line in run.children().items() if line.endswith(" proxy")]


def _edit(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(_edit("provider: openai", "provider: openai: x"), ["line", "not YAML"], id="no YAML"),
        pytest.param(_edit("llm/v1/chat", "llm/v1/chats"), ["task", "llm/v1/chat"], id="a bad value"),
        pytest.param(_edit("spec:", "spec:\n  endpointName: other"), ["endpointName is immutable"], id="a transition"),
        pytest.param(lambda text: documents(text, chat_endpoint("it", 1)), ["ServingEndpoint it", "twice"], id="twice"),
    ],
)
def test_an_invalid_edit_is_reported_and_changes_nothing(
    tmp_path: Path, demo: int, edit: Callable[[str], str], words: list[str]
) -> None:
    file = tmp_path / "endpoints.yaml"
    good = documents(KEY, chat_endpoint("it", demo))
    file.write_text(good)
    with running(tmp_path, *options(file)) as run:
        run.serving()
        write(file, edit(good))
        run.wait_for("the fault", lambda e: e["event"] == "fault")
        faults = " ".join(e["message"] for e in run.events if e["event"] == "fault")
        assert all(word in faults for word in words), faults
        assert served_by(run.client()) == ("e1", "1")
        write(file, documents(KEY, chat_endpoint("it", demo, entity="e2")))
        run.ready("it", 2)


def test_a_pending_update_is_cancelled_by_its_generation_only(tmp_path: Path, file: Path, demo: int) -> None:
    def waiting(**changes: str) -> str:
        return documents(KEY, chat_endpoint("it", demo, entity="e2", key="missing", **changes))

    file.write_text(documents(KEY, chat_endpoint("it", demo)))
    with running(tmp_path, *options(file)) as run:
        run.serving()
        write(file, waiting())
        run.wait_for("the pending version", lambda e: e.get("reason") == "SecretNotFound")
        seen = len(run.events)
        write(file, waiting(annotations="model-serving.dev/cancel: '1'"))
        run.wait_for("the stale cancel", lambda e: e.get("message") == "it: changed", seen)
        assert len(_proxies(run)) == 2
        write(file, waiting(annotations="model-serving.dev/cancel: '2'"))
        run.wait_for("the cancel", lambda e: e.get("reason") == "UpdateCanceled", seen)
        assert not any(e.get("reason") == "UpdateCanceled" for e in run.events[:seen])
        eventually(lambda: len(_proxies(run)) == 1, "the end of the cancelled proxy")
        assert served_by(run.client()) == ("e1", "1")


def test_what_is_not_supported_is_named_and_the_old_version_serves(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(documents(KEY, chat_endpoint("it", demo)))
    with running(tmp_path, *options(file)) as run:
        run.serving()
        palm = re.sub(r"openaiApiBase: .*\n +", "", chat_endpoint("it", demo)).replace("openai", "palm")
        write(file, documents(KEY, palm))
        stalled = run.wait_for("the finding", lambda e: e.get("reason") == "NotSupported")
        assert "Google has retired the PaLM API: use google-cloud-vertex-ai" in stalled["message"]
        assert served_by(run.client()) == ("e1", "1")
        write(file, documents(KEY, chat_endpoint("it", demo)))
        run.ready("it", 1, after=run.events.index(stalled))


def test_a_rate_limit_acts_at_once_and_makes_no_version(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(documents(KEY, chat_endpoint("it", demo)))
    with running(tmp_path, *options(file)) as run:
        client = run.client()
        for _ in range(5):
            served_by(client)
        write(file, documents(KEY, chat_endpoint("it", demo, more="  rateLimits: [{calls: 0, key: user}]")))

        def blocked() -> openai.RateLimitError | None:
            try:
                served_by(client)
            except openai.RateLimitError as refusal:
                return refusal
            return None

        refusal = eventually(blocked, "the limit", 15)
        assert refusal is not None
        write(file, documents(KEY, chat_endpoint("it", demo, more="  rateLimits: [{calls: 100, key: user}]")))
        assert eventually(lambda: served_by(client), "calls after the limit was raised", 15) == ("e1", "1")


def test_a_removed_endpoint_is_gone_and_its_name_is_free(tmp_path: Path, file: Path, demo: int) -> None:
    file.write_text(documents(KEY, chat_endpoint("it", demo), chat_endpoint("other", demo)))
    with running(tmp_path, *options(file)) as run:
        client = run.client()
        served_by(client, "other")
        write(file, documents(KEY, chat_endpoint("it", demo)))

        def gone() -> bool:
            try:
                served_by(client, "other")
            except openai.NotFoundError:
                return True
            return False

        eventually(gone, "404")
        eventually(lambda: len(_proxies(run)) == 1, "the end of its proxy")
        write(file, documents(KEY, chat_endpoint("it", demo), chat_endpoint("other", demo, entity="new")))
        run.ready("other", 1)
        assert served_by(client, "other") == ("new", "1")


def test_of_two_endpoints_of_one_name_the_older_serves(tmp_path: Path, file: Path, demo: int) -> None:
    named = chat_endpoint("second", demo, more="  endpointName: it")
    file.write_text(documents(KEY, chat_endpoint("it", demo), named))
    with running(tmp_path, *options(file)) as run:
        reasons = sorted(e["reason"] for e in run.serving()["endpoints"])
        assert reasons == ["NameConflict", "Ready"]
        assert served_by(run.client()) == ("e1", "1")
