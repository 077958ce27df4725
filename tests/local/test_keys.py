"""Keys of vendors and of callers: used, replaced, and never to be seen."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
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

CANARY = "sk-canary-2f9c1e"


def chat(client: openai.OpenAI, model: str = "it", text: str = "hi") -> str | None:
    return client.chat.completions.create(model=model, messages=say(text)).choices[0].message.content


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "accepted"
    path.write_text(CANARY)
    return path


@pytest.fixture
def demo(keys: Path) -> Iterator[int]:
    with demo_provider("--keys-file", str(keys)) as port:
        yield port


def test_a_key_is_rotated_without_a_failed_call_or_a_new_process(tmp_path: Path, keys: Path, demo: int) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(documents(secret("provider", api_key=CANARY), chat_endpoint("it", demo)))
    with running(tmp_path, "-f", str(file), "--port", str(free_port())) as run:
        client, proxy = run.client(), run.child("proxy")
        failures: list[str] = []
        calls = [0]
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                try:
                    chat(client)
                    calls[0] += 1
                except openai.APIError as error:
                    failures.append(repr(error))

        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        eventually(lambda: calls[0] > 5, "some load")
        write(keys, f"{CANARY}\nsk-second")
        write(file, documents(secret("provider", api_key="sk-second"), chat_endpoint("it", demo)))
        stored = run.state / "secrets" / "default" / "provider" / "api_key"
        eventually(lambda: stored.read_text() == "sk-second", "the new key in its file")
        before = calls[0]
        # Once the proxy has looked at its files again, the old key is needed no more.
        eventually(lambda: calls[0] > before + 50, "calls meanwhile")
        threading.Event().wait(3)
        write(keys, "sk-second")
        before = calls[0]
        eventually(lambda: calls[0] > before + 20, "calls with the new key alone")
        done.set()
        thread.join(30)
        assert failures == []
        assert run.child("proxy") == proxy


def test_a_canary_key_appears_nowhere(tmp_path: Path, demo: int) -> None:
    file = tmp_path / "endpoints.yaml"
    good = documents(secret("provider", api_key=CANARY), chat_endpoint("it", demo))
    file.write_text(good)
    with running(tmp_path, "-f", str(file), "--port", str(free_port())) as run:
        client = run.client()
        assert chat(client) == "You said: hi"
        assert len(list(stream_words(client, "it", 3, 0))) == 3
        for marker in ("status=401", "status=503", "garbage"):
            with pytest.raises((openai.APIError, ValueError)) as caught:
                chat(client, text=f"[demo:{marker}]")
            assert CANARY not in str(caught.value)
        # Every way in which a file can be wrong about the very line that holds the key.
        for bad in (f'"{CANARY}', f"*{CANARY}", f"!{CANARY} x", f"{{{CANARY}", f"[{CANARY}]"):
            seen = len(run.events)
            write(file, good.replace(f"api_key: {CANARY}", f"api_key: {bad}"))
            run.wait_for(f"the fault of {bad}", lambda e: e["event"] == "fault", seen)
            write(file, good)
            eventually(lambda: chat(client), "an answer")
        in_place = good.replace("openaiApiKeySecretRef: {name: provider, key: api_key}", f"openaiApiKey: {CANARY}")
        seen = len(run.events)
        write(file, in_place)
        fault = run.wait_for("the fault", lambda e: e["event"] == "fault", seen)
        assert "openaiApiKeySecretRef" in fault["message"]
        os.kill(run.child("proxy"), 9)
        eventually(lambda: chat(client), "an answer after the kill")
        assert run.interrupt() == 0
    assert CANARY not in run.text
    holders = [p for p in run.state.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    assert holders == [run.state / "secrets" / "default" / "provider" / "api_key"]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.yaml"
    path.write_text(_users(alice=["team"], bob=[]))
    return path


def _users(**groups: list[str]) -> str:
    digests = {hashlib.sha256(f"token-{name}".encode()).hexdigest(): name for name in groups}
    return json.dumps({digest: {"user": name, "groups": groups[name]} for digest, name in digests.items()})


def _client(run: Run, name: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=run.serving()["base_url"], api_key=f"token-{name}", max_retries=0, timeout=60)


def test_a_users_file_says_who_calls_and_access_says_who_may(
    tmp_path: Path, keys: Path, demo: int, users: Path
) -> None:
    file = tmp_path / "endpoints.yaml"
    team = "  access: [{kind: Group, name: team, permissionLevel: CAN_QUERY}]"
    file.write_text(documents(secret("provider", api_key=CANARY), chat_endpoint("it", demo, more=team)))
    with running(tmp_path, "-f", str(file), "--port", str(free_port()), "--users", str(users)) as run:
        assert run.serving()["token"] is None
        assert chat(_client(run, "alice")) == "You said: hi"
        with pytest.raises(openai.PermissionDeniedError):
            chat(_client(run, "bob"))
        with pytest.raises(openai.AuthenticationError):
            chat(_client(run, "carol"))
        assert [model.id for model in _client(run, "bob").models.list()] == []
        # Both sides change live: who somebody is, and who may call.
        write(users, _users(alice=[], bob=[], carol=["team"]))
        assert eventually(lambda: chat(_client(run, "carol")), "carol in the team") == "You said: hi"
        with pytest.raises(openai.PermissionDeniedError):
            chat(_client(run, "alice"))
        bob = "  access: [{kind: User, name: bob, permissionLevel: CAN_QUERY}]"
        write(file, documents(secret("provider", api_key=CANARY), chat_endpoint("it", demo, more=bob)))
        assert eventually(lambda: chat(_client(run, "bob")), "bob may call") == "You said: hi"
        with pytest.raises(openai.PermissionDeniedError):
            chat(_client(run, "carol"))
        # A bad edit lets nobody in or out.
        write(users, "nonsense")
        run.wait_for("the fault", lambda e: e["event"] == "fault" and "users" in e["message"])
        assert chat(_client(run, "bob")) == "You said: hi"


def test_principal_headers_of_a_caller_count_for_nothing(tmp_path: Path, keys: Path, demo: int) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(documents(secret("provider", api_key=CANARY), chat_endpoint("it", demo)))
    with running(tmp_path, "-f", str(file), "--port", str(free_port())) as run:
        url = run.serving()["endpoints"][0]["url"]
        headers = {"x-model-serving-principal": "root", "x-forwarded-user": "root", "authorization": "Bearer guess"}
        answer = httpx.post(url, json={"messages": say("hi")}, headers=headers, timeout=30)
        assert answer.status_code == 401
