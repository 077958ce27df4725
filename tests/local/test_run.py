"""`model-serving run` as a newcomer meets it: started, called, ended, started again."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import openai
import pytest

from model_serving.local import listing
from tests.local.running import (
    PATIENCE,
    Run,
    alive,
    chat_endpoint,
    documents,
    eventually,
    free_port,
    running,
    secret,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def ports() -> tuple[str, ...]:
    return ("--port", str(free_port()), "--demo-port", str(free_port()))


@pytest.fixture(scope="module")
def run(folder: Path, ports: tuple[str, ...]) -> Iterator[Run]:
    with running(folder, *ports) as started:
        started.serving()
        yield started


def test_serves_within_a_minute(tmp_path: Path) -> None:
    begin = time.monotonic()
    with running(tmp_path, "--port", str(free_port()), "--demo-port", str(free_port())) as run:
        endpoints = run.serving()["endpoints"]
        print(f"run served {len(endpoints)} endpoints {time.monotonic() - begin:.1f} s after its start")
    assert {e["name"]: e["ready"] for e in endpoints} == {"chat": True, "completions": True, "embeddings": True}


def test_one_base_url_serves_every_task_to_the_official_client(run: Run) -> None:
    client = run.client()
    say = [{"role": "user", "content": "hello there"}]
    chat = client.chat.completions.create(model="chat", messages=say)  # type: ignore[arg-type]
    assert chat.choices[0].message.content == "You said: hello there"
    stream = client.chat.completions.create(model="chat", messages=say, stream=True)  # type: ignore[call-overload]
    words = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(words) == "You said: hello there"
    assert len(words) > 3
    assert client.completions.create(model="completions", prompt="one two").choices[0].text == "You said: one two"
    assert len(client.embeddings.create(model="embeddings", input="x", dimensions=8).data[0].embedding) == 8
    assert {model.id for model in client.models.list()} == {"chat", "completions", "embeddings"}


def test_strangers_are_refused(run: Run) -> None:
    stranger = openai.OpenAI(base_url=run.serving()["base_url"], api_key="someone", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_status_in_a_second_terminal(run: Run) -> None:
    command = [sys.executable, "-m", "model_serving.cli", "status", "--state", str(run.state), "--output", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    rows = {row["name"]: row for row in json.loads(answer.stdout)}
    assert rows["chat"]["reason"] == "Ready"
    assert rows["chat"]["url"] == f"{run.serving()['base_url']}/chat/invocations"


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state" / "thesis.txt").write_text("precious")
    run = Run(tmp_path, "--port", str(free_port()))
    assert run.process.wait(PATIENCE) == 2
    run.interrupt()
    assert "holds other files" in run.text
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o755


def test_status_says_when_nothing_runs(tmp_path: Path) -> None:
    with running(tmp_path, "--port", str(free_port()), "--demo-port", str(free_port())) as run:
        run.serving()
        run.interrupt()
        assert {row.reason for row in listing.status(run.state)} == {"NotRunning"}


def test_a_second_runner_does_not_share_the_state_folder(run: Run, folder: Path) -> None:
    other = Run(folder, "--port", str(free_port()))
    assert other.process.wait(PATIENCE) == 2
    other.interrupt()
    assert f"process {run.process.pid}" in other.text
    assert "--state" in other.text


def test_a_taken_port_is_named_with_its_remedy(run: Run, tmp_path: Path, ports: tuple[str, ...]) -> None:
    other = Run(tmp_path, "--port", ports[1])
    assert other.process.wait(PATIENCE) == 2
    other.interrupt()
    assert f"port {ports[1]} is taken" in other.text
    assert "--port" in other.text


def test_state_is_private(run: Run) -> None:
    assert stat.S_IMODE(run.state.stat().st_mode) == 0o700
    files = [path for path in run.state.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in [p for p in files if p.suffix in (".json", ".log", ".sqlite") or "secrets" in p.parts]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_ctrl_c_leaves_nothing_and_the_next_start_brings_the_endpoints_back(tmp_path: Path) -> None:
    options = ("--port", str(free_port()), "--demo-port", str(free_port()))
    with running(tmp_path, *options) as first:
        before = first.serving()
        children = first.children()
        assert len(children) == 5, children
        assert first.interrupt() == 0
        assert [pid for pid in children if alive(pid)] == []
        assert first.events[-1]["message"] == "ended"
    with running(tmp_path, *options) as second:
        after = second.serving()
        assert after["token"] == before["token"]
        assert [(e["name"], e["ready"], e["config_version"]) for e in after["endpoints"]] == [
            ("chat", True, 1),
            ("completions", True, 1),
            ("embeddings", True, 1),
        ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_call_in_flight_may_end_after_ctrl_c(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "--port", str(free_port()), "--demo-port", str(free_port())) as run:
        client = run.client()
        stream = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "[demo:events=30,pace=0.1]"}], stream=True
        )
        next(iter(stream))
        os.kill(run.process.pid, number)
        words = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
        assert len(words) >= 29
        assert run.process.wait(PATIENCE) == 0


def test_people_get_a_table_and_lines_that_work(tmp_path: Path) -> None:
    options = ["--state", str(tmp_path / "state"), "--port", str(free_port()), "--demo-port", str(free_port())]
    log = tmp_path / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "model_serving.cli", "run", *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
    try:
        text = eventually(lambda: log.read_text() if "Ctrl-C" in log.read_text() else "", "the summary")
        curl = next(line for line in text.splitlines() if line.startswith("curl "))
        answer = subprocess.run(shlex.split(curl), capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        assert answer.count("data: ") > 3
        assert answer.rstrip().endswith("data: [DONE]")
        lines = text.splitlines()
        first = lines.index("from openai import OpenAI")
        script = "\n".join(lines[first : first + 3])
        said = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        assert said.stdout == "You said: hello\n"
        assert "ENDPOINT" in text
        assert "Ready" in text
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("kind: [", ["line 1", "not YAML"], id="not YAML"),
        pytest.param(
            "apiVersion: model-serving.dev/v1alpha1\nkind: ServingEndpoint\nmetadata: {name: a}\nspec: {}\n",
            ["ServingEndpoint a", "spec.config"],
            id="a missing field is named",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: canary-not-base64}\n",
            ["Secret s", "data.k", "base64"],
            id="a bad Secret is named, without its value",
        ),
    ],
)
def test_bad_input_ends_with_2_and_words(tmp_path: Path, content: str, words: list[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    run = Run(tmp_path, "-f", str(file), "--port", str(free_port()))
    assert run.process.wait(PATIENCE) == 2
    run.interrupt()
    assert all(word in run.text for word in ["bad.yaml", *words]), run.text
    assert "Traceback" not in run.text
    assert "canary" not in run.text


def test_without_files_the_state_folder_is_served_and_files_replace_the_sample(tmp_path: Path) -> None:
    demo, port = str(free_port()), str(free_port())
    options = ("--port", port, "--demo-port", demo)
    with running(tmp_path, *options) as sample:
        assert {e["name"] for e in sample.serving()["endpoints"]} == {"chat", "completions", "embeddings"}
    file = tmp_path / "mine.yaml"
    file.write_text(documents(secret("provider", api_key="k"), chat_endpoint("mine", int(demo))))
    with running(tmp_path, "-f", str(file), *options) as mine:
        assert {e["name"] for e in mine.serving()["endpoints"]} == {"mine"}
        assert not any("demo-provider" in line.split() for line in mine.children().values())
    file.unlink()
    with running(tmp_path, "--demo", *options) as again:
        assert {(e["name"], e["ready"]) for e in again.serving()["endpoints"]} == {("mine", True)}
        answer = again.client().chat.completions.create(model="mine", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == "You said: hi"


def test_everything_killed_at_once_comes_back(tmp_path: Path) -> None:
    options = ("--port", str(free_port()), "--demo-port", str(free_port()))
    with running(tmp_path, *options) as first:
        first.serving()
        children = first.children()
        for pid in (first.process.pid, *children):
            os.kill(pid, signal.SIGKILL)
        first.process.wait(PATIENCE)
    with running(tmp_path, *options) as second:
        assert all(e["ready"] and e["config_version"] == 1 for e in second.serving()["endpoints"])


def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "--port", str(free_port()), "--demo-port", str(free_port())) as run:
        children = eventually(run.children, "the first child")
        assert run.interrupt() == 0
        children |= run.children()
        assert [pid for pid in children if alive(pid)] == []


def test_a_second_ctrl_c_ends_calls_in_flight(tmp_path: Path) -> None:
    with running(tmp_path, "--port", str(free_port()), "--demo-port", str(free_port())) as run:
        stream = run.client().chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "[demo:events=600,pace=0.1]"}], stream=True
        )
        next(iter(stream))
        children = run.children()
        run.process.send_signal(signal.SIGINT)
        run.wait_for("the hint", lambda e: "Ctrl-C again" in e.get("message", ""))
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(10) == 0
        assert [pid for pid in children if alive(pid)] == []
        stream.close()


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        pytest.param("UPDATE endpoints SET spec = '{}'", 2, "another release", id="stored by another release"),
        pytest.param(None, 1, "not a database", id="not a database"),
    ],
)
def test_a_state_folder_that_cannot_be_used_is_named(tmp_path: Path, spoil: str | None, code: int, words: str) -> None:
    options = ("--port", str(free_port()), "--demo-port", str(free_port()))
    with running(tmp_path, *options) as run:
        run.serving()
    database = run.state / "state.sqlite"
    if spoil is None:
        database.write_bytes(b"nonsense" * 1000)
    else:
        with closing(sqlite3.connect(database)) as db, db:
            db.execute(spoil)
    again = Run(tmp_path, *options)
    assert again.process.wait(PATIENCE) == code
    again.interrupt()
    assert words in again.text
    assert "Traceback" not in again.text
