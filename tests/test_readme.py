"""The commands of README.md and docs/quickstart.md do what is said: each is taken from the text and carried out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from model_serving.api.validation import parse_endpoint
from tests.local.running import PATIENCE, eventually, free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [text for found, text in _BLOCK.findall(path.read_text()) if found == language]


class Reader:
    """Somebody who follows the text, on ports and in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = ""
        self._ports = {"8080": str(free_port()), "8090": str(free_port())}

    def own(self, text: str) -> str:
        """The text with this reader's ports."""
        for told, own in self._ports.items():
            text = re.sub(rf":{told}\b", f":{own}", text)
        return text

    def shell(self, text: str) -> str:
        """Carries out a block of shell commands; its output."""
        environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TOKEN": self.token}
        return subprocess.run(
            ["bash", "-euc", self.own(text)],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout

    def python(self, text: str) -> str:
        """Runs a Python block; its output."""
        environ = {**os.environ, "TOKEN": self.token}
        command = [sys.executable, "-c", self.own(text)]
        return subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=True
        ).stdout

    @contextmanager
    def run(self, command: str) -> Iterator[Path]:
        """A `model-serving run` of the text, until Ctrl-C; yields what it prints."""
        log = self.folder / "printed"
        program, *options = command.split()
        assert program.endswith("model-serving")
        ports = ["--port", self._ports["8080"], "--demo-port", self._ports["8090"]]
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "model_serving.cli", *options, *ports],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            eventually(lambda: "Ctrl-C ends" in log.read_text(), f"the summary of {command}")
            self.token = next(iter(re.findall(r"Bearer (\S+?)'", log.read_text())), "")
            yield log
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0


def recipe(target: str) -> list[str]:
    """The commands behind `make TARGET`, without what sets the environment up."""
    shown = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if "model-serving" in line]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_the_two_commands_come_first() -> None:
    first, second, *_ = blocks(README, "sh")
    assert first == "make run\n"
    assert second.startswith("kubectl apply")


def test_the_readme_on_this_machine(reader: Reader) -> None:
    with reader.run(recipe("run")[-1]):
        streamed = reader.shell(blocks(README, "sh")[2])
        assert streamed.rstrip().endswith("data: [DONE]")
        assert reader.python(blocks(README, "python")[0]) == "You said: hello\n"
    (endpoint,) = blocks(README, "yaml")
    assert parse_endpoint(yaml.safe_load(endpoint)).endpoint_name == "openai_endpoint"


def test_the_quickstart_from_start_to_end(reader: Reader) -> None:
    setup, make_run, curl, status, export, rest, own, update, limit, failure, users = blocks(QUICKSTART, "sh")
    assert setup.startswith("make setup\n")
    assert make_run == "make run\n"
    with reader.run(recipe("run")[-1]):
        call = curl.split("\n", 1)[1]
        assert "data: [DONE]" in reader.shell(call)
        printed = reader.python(blocks(QUICKSTART, "python")[0])
        assert printed.splitlines() == [
            "You said: hello",
            "You said: helloYou said: hello",
            "1536",
            "['chat', 'completions', 'embeddings']",
        ]
        assert "Ready" in reader.shell(status)
        assert '"content": "You said: hello"' in reader.shell(export + rest).splitlines()[-1]
    mine, access = blocks(QUICKSTART, "yaml")
    (reader.folder / "mine.yaml").write_text(reader.own(mine))
    validate, run = own.splitlines()
    reader.shell(validate)
    with reader.run(run) as log:
        reader.shell(update)
        eventually(lambda: "config version 2 serves" in log.read_text(), "version 2")
        reader.shell(limit)
        eventually(lambda: log.read_text().count("my_endpoint: changed") == 2, "the limit")
        assert "503" in reader.shell(failure)
        assert "ERROR" not in log.read_text()
    reader.shell(users)
    with (reader.folder / "mine.yaml").open("a") as file:
        file.write(access)
    with reader.run(f"{run} --users users.yaml"):
        reader.token = "alices-token"
        text = failure.replace("[demo:status=503,retry-after=7]", "hello")
        assert "You said: hello" in reader.shell(text)


@pytest.mark.parametrize("path", [README, QUICKSTART], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_marker_in_the_table_is_known() -> None:
    from model_serving.demo_provider.wishes import Wish, parse_wish

    for marker in re.findall(r"\[demo:[^\]]*\]", QUICKSTART.read_text()):
        assert parse_wish(marker) != Wish()
