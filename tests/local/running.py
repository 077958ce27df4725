"""Runs `model-serving run` as a user would, in a process of its own. Used by the tests of this folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import openai

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds: generous, for a busy machine; everything polls and goes on as soon as it can."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(check: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of `check`; errors count as not yet."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            value = check()
        except (OSError, openai.APIError, LookupError, ValueError) as error:
            last = error
        else:
            if value:
                return value
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not come true in {seconds} s; last error: {last!r}")


class Run:
    """One `model-serving run`, with what it printed. `kill` and `interrupt` end it."""

    def __init__(self, folder: Path, *options: str, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.events: list[dict[str, Any]] = []
        self.text = ""
        arguments = [sys.executable, "-m", "model_serving.cli", "run", "--state", str(self.state)]
        self.process = subprocess.Popen(
            [*arguments, "--output", "json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def wait_for(self, what: str, match: Callable[[dict[str, Any]], bool], after: int = 0) -> dict[str, Any]:
        """The first event from number `after` on that matches."""

        def look() -> dict[str, Any] | None:
            if self.process.poll() is not None and not any(map(match, self.events[after:])):
                raise AssertionError(f"run ended with {self.process.returncode} before {what}: {self.text}")
            return next((event for event in self.events[after:] if match(event)), None)

        found = eventually(look, what)
        assert found is not None
        return found

    def serving(self) -> dict[str, Any]:
        """The event that says that everything is up."""
        return self.wait_for("the summary", lambda event: event["event"] == "serving")

    def ready(self, name: str, version: int, after: int = 0) -> dict[str, Any]:
        """Waits until an endpoint serves a config version."""
        return self.wait_for(
            f"{name} version {version}",
            lambda e: (e.get("name"), e.get("ready"), e.get("config_version")) == (name, True, version),
            after,
        )

    def client(self) -> openai.OpenAI:
        """The official client, without retries: what fails is seen."""
        serving = self.serving()
        return openai.OpenAI(base_url=serving["base_url"], api_key=serving["token"], max_retries=0, timeout=60)

    def children(self) -> dict[int, str]:
        """Process ids and command lines of the processes that it started."""
        return {pid: line for pid, line in _processes().items() if _parent(pid) == self.process.pid}

    def child(self, *words: str) -> int:
        """The process id of the child whose arguments hold `words`."""
        found = [pid for pid, line in self.children().items() if all(word in line.split() for word in words)]
        if len(found) != 1:
            raise LookupError(f"{words} names {len(found)} of {self.children()}")
        return found[0]

    def kill(self) -> None:
        """As `kill -9` of the runner."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def interrupt(self) -> int:
        """As Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


def _processes() -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
            except OSError:
                continue
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def alive(pid: int) -> bool:
    """Whether a process is there and not just waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def running(folder: Path, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[Run]:
    """A run that is ended whatever happens, with all its processes."""
    run = Run(folder, *options, environ=environ)
    children: set[int] = set()
    try:
        yield run
        children = set(run.children())
    finally:
        children |= set(run.children())
        try:
            run.interrupt()
        except subprocess.TimeoutExpired:
            run.kill()
        for pid in children:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def chat_endpoint(name: str, port: int, **changes: str) -> str:
    """YAML of a chat endpoint on a demo provider; `changes`: entity, model, task, secret, key, annotations, more."""
    values = {
        "entity": "e1",
        "model": "demo-chat",
        "task": "llm/v1/chat",
        "secret": "provider",
        "key": "api_key",
        "annotations": "",
        "more": "",
        **changes,
    }
    return f"""
apiVersion: model-serving.dev/v1alpha1
kind: ServingEndpoint
metadata: {{name: {name}, annotations: {{{values["annotations"]}}}}}
spec:
  config:
    servedEntities:
    - name: {values["entity"]}
      externalModel:
        name: {values["model"]}
        provider: openai
        task: {values["task"]}
        openaiConfig:
          openaiApiBase: http://127.0.0.1:{port}/v1
          openaiApiKeySecretRef: {{name: {values["secret"]}, key: {values["key"]}}}
{values["more"]}
"""


def secret(name: str, **values: str) -> str:
    """YAML of a Secret."""
    lines = "\n".join(f"  {key}: {value}" for key, value in values.items())
    return f"\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n{lines or '  none: none'}\n"


def documents(*parts: str) -> str:
    """Several objects in one file."""
    return "---".join(parts)


def write(path: Path, text: str) -> None:
    """Replaces a file at once, as editors do."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


@contextmanager
def demo_provider(*options: str) -> Iterator[int]:
    """A demo provider of its own; its port."""
    arguments = [sys.executable, "-m", "model_serving.cli", "demo-provider", "--port", "0", *options]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rsplit(":", 1)[1].split("/")[0])
    finally:
        process.terminate()
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def say(text: str) -> list[Any]:
    """Messages of a chat."""
    return [{"role": "user", "content": text}]


def stream_words(client: openai.OpenAI, model: str, events: int, pace: float) -> Iterator[str]:
    """The words of a stream that takes `events` x `pace` seconds."""
    text = f"[demo:events={events},pace={pace}]"
    for chunk in client.chat.completions.create(model=model, messages=say(text), stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content
