"""Child processes: started again when they end, told what they need, ended in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model_serving.local.child import CONTROL_FD, Child, Program
from model_serving.local.supervised import Hooks, Supervised

LISTENER = f"""
import json, os, signal, sys
print(json.dumps({{"listening": os.getpid(), "admin": 2}}), flush=True)
for line in os.fdopen(int(os.environ["{CONTROL_FD}"])):
    print("told", line.strip(), file=sys.stderr, flush=True)
"""


def supervised(tmp_path: Path, script: str, greet: Callable[[Child], None] = lambda _: None) -> Supervised:
    program = Program((sys.executable, "-c", script), dict(os.environ), tmp_path / "logs" / "it.log")
    return Supervised(program, Hooks(greet, lambda: None))


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0.02)


async def test_a_child_is_greeted_told_and_ended(tmp_path: Path) -> None:
    it = supervised(tmp_path, LISTENER, lambda child: child.tell({"hello": 1}))
    await until(lambda: it.child)
    assert it.child is not None
    assert (it.child.port, it.child.admin_port) == (it.child.pid, 2)
    it.child.tell({"more": 2})
    await until(lambda: '{"more": 2}' in (tmp_path / "logs" / "it.log").read_text())
    assert "told" + " " + json.dumps({"hello": 1}) in (tmp_path / "logs" / "it.log").read_text()
    await it.stop()
    assert it.child is None


async def test_a_killed_child_comes_back(tmp_path: Path) -> None:
    it = supervised(tmp_path, LISTENER)
    await until(lambda: it.child)
    assert it.child is not None
    first = it.child.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: it.child and it.child.pid != first)
    assert "signal 9" in it.last_words
    await it.stop()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("import sys; sys.exit('no port')", "no port", id="ends with words"),
        pytest.param("print('{}')", "without a word", id="says nothing useful"),
        pytest.param("raise ValueError('bad')", "ValueError: bad", id="crashes"),
    ],
)
def test_a_child_that_does_not_come_up_is_tried_again_ever_more_slowly(tmp_path: Path, script: str, words: str) -> None:
    async def scenario() -> None:
        it = supervised(tmp_path, script)
        await until(lambda: it.failures >= 3)
        assert words in it.last_words
        await it.stop()

    asyncio.run(scenario())


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    it = Supervised(Program(("/nowhere/x",), {}, tmp_path / "log"), Hooks(lambda _: None, lambda: None))
    await until(lambda: it.failures)
    assert "/nowhere/x" in it.last_words
    await it.stop()


async def test_a_child_that_does_not_listen_to_sigterm_can_be_killed(tmp_path: Path) -> None:
    it = supervised(tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LISTENER)
    await until(lambda: it.child)
    stopping = asyncio.create_task(it.stop())
    await asyncio.sleep(0.2)
    assert not stopping.done()
    it.kill()
    await stopping


async def test_the_log_is_private(tmp_path: Path) -> None:
    it = supervised(tmp_path, LISTENER)
    await until(lambda: it.child)
    await it.stop()
    assert (tmp_path / "logs" / "it.log").stat().st_mode & 0o077 == 0
