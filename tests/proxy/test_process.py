"""Real processes: start, readiness, signals, drain, the death of the parent."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream, events_of, silence, stream
from tests.proxy.harness import Files, call, chat, read_answer, request_bytes, until
from tests.proxy.processes import PROXY, Child, start

PATH = "/serving-endpoints/ep/invocations"
BODY = b'{"messages": [{"role": "user", "content": "hi"}], "stream": true}'


@pytest.fixture
def child(files: Files, upstream: FakeUpstream, tmp_path: Path) -> Iterator[Child]:
    files.usual(upstream.base)
    with start(PROXY, tmp_path / "log", ROOT=str(files.root)) as child:
        yield child


async def _in_thread(work: object, *arguments: object) -> object:
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)  # type: ignore[arg-type]


async def _slow_stream(port: int, upstream: FakeUpstream, pause: float) -> asyncio.Task[bytes]:
    """Begins a stream and returns when its first byte is there."""

    async def slowly(request, writer):  # type: ignore[no-untyped-def]
        await stream(events_of(request), pause=pause)(request, writer)

    upstream.scripts.append(slowly)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes("POST", PATH, BODY))
    first = await reader.readuntil(b"data: ")

    async def rest() -> bytes:
        data = first + await reader.read()
        writer.close()
        return data

    return asyncio.create_task(rest())


async def test_a_proxy_is_ready_when_config_policy_and_credentials_are_loaded(child: Child) -> None:
    await _in_thread(child.wait_ready)
    assert (await chat(child.port)).status == 200


async def test_sigterm_turns_unready_but_accepts_until_the_drain_delay_is_over(child: Child) -> None:
    await _in_thread(child.wait_ready)
    child.terminate()
    await asyncio.sleep(0.1)
    status, text = await _in_thread(child.admin_page, "/readyz")  # type: ignore[misc]
    assert status == 503
    assert "draining" in text
    answer = await chat(child.port)
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert await _in_thread(child.wait) == 0
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", child.port)


@pytest.mark.parametrize("second", [None, signal.SIGTERM, signal.SIGINT], ids=["alone", "then SIGTERM", "then SIGINT"])
async def test_a_stream_under_way_is_finished_before_the_process_ends(
    child: Child, upstream: FakeUpstream, second: signal.Signals | None
) -> None:
    await _in_thread(child.wait_ready)
    streaming = await _slow_stream(child.port, upstream, pause=0.3)
    child.terminate()
    if second is not None:
        await asyncio.sleep(0.5)
        child.terminate(second)
    assert b"data: [DONE]\n\n" in await asyncio.wait_for(streaming, 20)
    assert await _in_thread(child.wait) == 0


async def test_a_stream_that_outlives_the_longest_request_ends_in_an_error(
    files: Files, upstream: FakeUpstream, tmp_path: Path
) -> None:
    files.usual(upstream.base)
    with start(PROXY, tmp_path / "log", ROOT=str(files.root), MAX_REQUEST_SECONDS="0.5") as child:
        await _in_thread(child.wait_ready)
        streaming = await _slow_stream(child.port, upstream, pause=5)
        child.terminate()
        data = await asyncio.wait_for(streaming, 20)
        assert b'"error"' in data
        assert b"[DONE]" not in data
        assert await _in_thread(child.wait) == 0


async def test_a_call_that_outlives_the_longest_request_is_503(
    files: Files, upstream: FakeUpstream, tmp_path: Path
) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(silence())
    with start(PROXY, tmp_path / "log", ROOT=str(files.root), MAX_REQUEST_SECONDS="0.5") as child:
        await _in_thread(child.wait_ready)
        calling = asyncio.create_task(chat(child.port))
        await until(lambda: upstream.requests)
        child.terminate()
        answer = await asyncio.wait_for(calling, 20)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
        assert await _in_thread(child.wait) == 0


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    program = """
import resource
from model_serving.proxy.process import raise_file_limit
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
raise_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE), hard)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout
    soft, hard, before = map(int, out.split())
    assert soft == (65536 if hard == resource.RLIM_INFINITY else min(hard, 65536))
    assert hard == before


async def test_sigint_drains_too(child: Child) -> None:
    await _in_thread(child.wait_ready)
    child.terminate(signal.SIGINT)
    assert await _in_thread(child.wait) == 0


async def test_the_end_of_the_control_pipe_ends_the_process(child: Child) -> None:
    await _in_thread(child.wait_ready)
    child.hang_up()
    assert await _in_thread(child.wait) == 0


async def test_a_kept_connection_gets_its_answer_during_the_drain_and_is_closed_then(child: Child) -> None:
    await _in_thread(child.wait_ready)
    reader, writer = await asyncio.open_connection("127.0.0.1", child.port)
    writer.write(request_bytes("POST", PATH, BODY))
    assert (await read_answer(reader)).status == 200
    child.terminate()
    await asyncio.sleep(0.1)
    writer.write(request_bytes("POST", PATH, BODY))
    answer = await read_answer(reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_port_in_use_is_said_and_ends_with_1(child: Child, files: Files, tmp_path: Path) -> None:
    log = tmp_path / "second"
    with start(PROXY, log, ROOT=str(files.root), PORT=str(child.port)) as second:
        assert await _in_thread(second.wait) == 1
        text = log.read_text()
        assert "cannot listen" in text
        assert "Traceback" not in text


async def test_the_router_key_comes_over_the_pipe_and_principals_count_with_it_alone(child: Child) -> None:
    await _in_thread(child.wait_ready)
    headers = {"authorization": "", "x-model-serving-principal": "ada", "x-model-serving-router-key": "k1"}
    assert (await chat(child.port, headers)).status == 401
    child.tell({"router_key": "k1"})
    await asyncio.sleep(0.3)
    assert (await chat(child.port, headers)).status == 200
    assert (await chat(child.port, headers | {"x-model-serving-router-key": "k2"})).status == 401


async def test_nonsense_on_the_pipe_is_ignored_and_not_logged(child: Child) -> None:
    await _in_thread(child.wait_ready)
    child.tell({"router_key": 5, "canary-9": 1})
    child.tell({"router_key": "k1"})
    await asyncio.sleep(0.3)
    headers = {"authorization": "", "x-model-serving-principal": "ada", "x-model-serving-router-key": "k1"}
    assert (await call(child.port, PATH, BODY, headers)).status == 200
    assert "canary-9" not in child.log.read_text()


def _listens_at(pid: int, port: int) -> set[str]:
    """The hexadecimal addresses at which some process of this machine listens at a port."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    found = [line.split() for line in lines]
    return {local.split(":")[0] for _, local, _, state, *_ in found if state == "0A" and int(local[-4:], 16) == port}


def test_the_admin_port_listens_where_it_is_told_to(files: Files, tmp_path: Path) -> None:
    files.usual("http://127.0.0.1:1")
    told = {"ROOT": str(files.root), "HOST": "0.0.0.0", "ADMIN_HOST": "127.0.0.1"}
    with start(PROXY, tmp_path / "log", **told) as child:
        assert _listens_at(child.process.pid, child.port) == {"00000000"}
        assert _listens_at(child.process.pid, child.admin) == {"0100007F"}
