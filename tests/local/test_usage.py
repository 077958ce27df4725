"""Usage on one machine and from logs: recorded, bounded, added up, shown; never what was said in a call."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from model_serving.cli import USAGE_GROUPS, main
from model_serving.local import usage_writer
from model_serving.local.errors import InputError
from model_serving.local.folder import StateFolder
from model_serving.local.report import JsonReport
from model_serving.local.settings import RunSettings, child_environ
from model_serving.local.usage_report import parse_since
from model_serving.local.usage_store import GROUPS, Query, open_usage
from model_serving.local.usage_writer import UsageWriter
from model_serving.usage_record import UsageRecord
from tests.local.running import PATIENCE, chat_endpoint, demo_provider, documents, eventually, running, secret, write

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


def line(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "ts": "2026-01-31T08:00:00.000Z",
        "id": "1",
        "status": 200,
        "ms": 10.0,
        "endpoint": "chat",
        "entity": "gpt",
        "principal": "ada",
        "input_tokens": 7,
        "output_tokens": 4,
    }
    return msgspec.json.encode(UsageRecord(**(values | changes))) + b"\n"


LINES = [
    line(),
    line(principal="bob", ms=20.0, cached_tokens=3),
    line(ts="2026-02-01T09:00:00.000Z", ms=30.0, status=429, error_code="REQUEST_LIMIT_EXCEEDED",
         input_tokens=None, output_tokens=None),
    line(ts="2026-02-01T10:00:00.000Z", endpoint="embed", entity="ada-002", output_tokens=0),
]  # fmt: skip


def sums(lines: Sequence[bytes] = LINES, **query: Any) -> list[dict[str, Any]]:
    store = open_usage(None)
    store.add(lines)
    return store.sums(Query(**query))


# Adding up


def test_calls_tokens_and_durations_are_added_up_by_endpoint() -> None:
    assert sums() == [
        {"endpoint": "chat", "calls": 3, "errors": 1, "input_tokens": 14, "output_tokens": 8, "cached_tokens": 3,
         "p50_ms": 20.0, "p95_ms": 30.0, "last": "2026-02-01T09:00:00.000Z"},
        {"endpoint": "embed", "calls": 1, "errors": 0, "input_tokens": 7, "output_tokens": 0, "cached_tokens": 0,
         "p50_ms": 10.0, "p95_ms": 10.0, "last": "2026-02-01T10:00:00.000Z"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        pytest.param({"by": ("principal",)}, [("ada", 3), ("bob", 1)], id="by caller, most calls first"),
        pytest.param({"by": ("day",)}, [("2026-01-31", 2), ("2026-02-01", 2)], id="by day, in order"),
        pytest.param({"by": ("hour",), "endpoint": "chat"}, [("2026-01-31T08", 2), ("2026-02-01T09", 1)], id="by hour"),
        pytest.param({"by": ("error",)}, [("", 3), ("REQUEST_LIMIT_EXCEEDED", 1)], id="by error"),
        pytest.param({"by": ("entity",), "endpoint": "embed"}, [("ada-002", 1)], id="of one endpoint"),
        pytest.param({"principal": "bob"}, [("chat", 1)], id="of one caller"),
        pytest.param({"since": "2026-02-01T09:30:00"}, [("embed", 1)], id="since a moment"),
        pytest.param({"endpoint": "chat' OR '1'='1"}, [], id="a name is only a name"),
    ],
)
def test_groups_and_filters(query: dict[str, Any], groups: list[tuple[str, int]]) -> None:
    assert [(row[query.get("by", ("endpoint",))[0]], row["calls"]) for row in sums(**query)] == groups


def test_several_groups_at_once() -> None:
    rows = sums(by=("day", "principal"))
    assert [(row["day"], row["principal"], row["calls"]) for row in rows] == [
        ("2026-01-31", "ada", 1), ("2026-01-31", "bob", 1), ("2026-02-01", "ada", 2),
    ]  # fmt: skip


def test_the_command_offers_the_stores_groups() -> None:
    assert list(GROUPS) == USAGE_GROUPS


def test_lines_of_other_kinds_are_passed_over() -> None:
    assert sums([b"", b'{"listening": 1}', b"2026 INFO hello", *LINES[:1]])[0]["calls"] == 1


# Keeping


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        pytest.param({"calls": 2}, 2, id="the newest calls"),
        pytest.param({"days": 1}, 2, id="the last days"),
        pytest.param({}, 4, id="all while there are few"),
    ],
)
def test_old_calls_are_forgotten(bounds: dict[str, int], left: int) -> None:
    store = open_usage(None)
    store.add(LINES)
    store.prune(NOW, **bounds)
    assert sum(row["calls"] for row in store.sums(Query())) == left
    assert store.sums(Query())[0]["last"] >= "2026-02-01"


def test_a_database_of_an_older_release_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE calls (ts, id, status, ms, endpoint)")
        old.execute("INSERT INTO calls VALUES ('2026-01-31T08:00:00.000Z', '0', 200, 5.0, 'chat')")
    old.close()
    store = open_usage(path)
    store.add(LINES[:1])
    assert [(row["calls"], row["input_tokens"]) for row in store.sums(Query())] == [(2, 7)]
    store.close()


def test_only_its_owner_may_read_the_database(tmp_path: Path) -> None:
    open_usage(tmp_path / "usage.sqlite").close()
    assert (tmp_path / "usage.sqlite").stat().st_mode & 0o077 == 0


# Writing


async def test_what_was_taken_is_written_at_the_end(tmp_path: Path) -> None:
    async with UsageWriter(tmp_path / "u", JsonReport()) as writer:
        for one in LINES:
            await writer.take(one)
    store = open_usage(tmp_path / "u", read_only=True)
    assert sum(row["calls"] for row in store.sums(Query())) == 4
    store.close()


async def test_a_database_that_falls_behind_makes_its_readers_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, busy = threading.Event(), threading.Event()

    def add(*_: object) -> None:
        busy.set()
        slow.wait(PATIENCE)

    monkeypatch.setattr(usage_writer, "_WAITING_BYTES", 100)
    monkeypatch.setattr(usage_writer, "_add", add)
    async with UsageWriter(tmp_path / "u", JsonReport()) as writer:
        await writer.take(LINES[0])
        await asyncio.to_thread(busy.wait, PATIENCE)
        await writer.take(b"".join(LINES))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.take(LINES[0]), 0.05)
        slow.set()
        await asyncio.wait_for(writer.take(LINES[0]), PATIENCE)  # there is room again


async def test_a_disk_that_fails_is_told_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(usage_writer, "_BATCH_SECONDS", 0.01)
    async with UsageWriter(tmp_path / "u", JsonReport()) as writer:
        monkeypatch.setattr(usage_writer, "_add", full)
        for one in LINES:
            await writer.take(one)
            await asyncio.sleep(0.05)
    assert capsys.readouterr().out.count("database or disk is full") == 1


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "u").write_text("thesis " * 1000)
    with pytest.raises(InputError, match=r"u: file is not a database; move the file away"):
        async with UsageWriter(tmp_path / "u", JsonReport()):
            pass


# The command


def usage(*arguments: str, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["usage", *arguments], input=input)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    store = open_usage(folder.usage)
    store.add(LINES)
    store.close()
    return folder.root


def test_a_table_for_people(state: Path) -> None:
    done = usage("--state", str(state))
    assert done.exit_code == 0, done.output
    head, chat, embed, total = done.stdout.splitlines()
    assert head.split()[:6] == ["ENDPOINT", "CALLS", "ERRORS", "INPUT", "OUTPUT", "CACHED"]
    assert chat.split()[:6] == ["chat", "3", "1", "14", "8", "3"]
    assert embed.split()[0] == "embed"
    assert total.split() == ["TOTAL", "4", "1", "21", "8", "3"]


def test_names_are_not_read_as_markup(state: Path) -> None:
    log = line(principal="[bold]x[/]", endpoint="a" * 300)
    done = usage("--file", "-", "--by", "principal", input=log)
    assert "[bold]x[/]" in done.stdout


def test_json_and_csv_for_programs(state: Path) -> None:
    rows = json.loads(usage("--state", str(state), "--output", "json").stdout)
    assert [row["calls"] for row in rows] == [3, 1]
    table = usage("--state", str(state), "--by", "day", "--output", "csv").stdout.splitlines()
    assert table[0] == "day,calls,errors,input_tokens,output_tokens,cached_tokens,p50_ms,p95_ms,last"
    assert table[1] == "2026-01-31,2,0,14,8,3,20.0,20.0,2026-01-31T08:00:00.000Z"


def test_a_clusters_log_gives_the_same(state: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"listening": 8080, "admin": 8081}\n' + b"".join(b"[pod/a/proxy] " + one for one in LINES))
    wanted = usage("--state", str(state), "--output", "json").stdout
    assert usage("--file", str(log), "--output", "json").stdout == wanted
    assert usage("--file", "-", "--output", "json", input=log.read_bytes()).stdout == wanted


def test_nothing_that_fits_is_said_and_no_fault(state: Path) -> None:
    done = usage("--state", str(state), "--endpoint", "other", "--output", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
    assert "no calls are recorded that fit" in done.stderr
    assert usage("--file", "-", input=b"").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "input", "told"),
    [
        pytest.param(["--state", "nowhere"], None, "holds no records of calls: start `model-ser", id="no folder"),
        pytest.param(["--file", "-"], b"hello\nworld\n", "2 lines, but no line of an access log", id="another log"),
        pytest.param(["--file", "-", "--since", "soon"], b"", "--since soon is no time: write 30m, 24h", id="no time"),
        pytest.param(["--file", "nowhere"], None, "No such file", id="no file"),
        pytest.param(["--by", "colour"], None, "'colour' is not one of", id="no such group"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], input: bytes | None, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = usage(*arguments, input=input)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("30m", "2026-02-01T11:30:00"),
        ("24h", "2026-01-31T12:00:00"),
        ("7d", "2026-01-25T12:00:00"),
        ("2w", "2026-01-18T12:00:00"),
        ("2026-01-31", "2026-01-31T00:00:00"),
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00"),
        ("2026-01-31T08:00:00+02:00", "2026-01-31T06:00:00"),
    ],
)
def test_since(text: str, since: str) -> None:
    assert parse_since(text, NOW) == since


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "999999w", "2026-13-01", "yesterday"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError):
        parse_since(text, NOW)


def test_children_learn_where_traces_go_and_no_key_of_the_shell() -> None:
    shell = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OPENAI_API_KEY": "canary", "PATH": "/bin"}
    inherited = child_environ(RunSettings(environ=shell))
    assert inherited["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://c:4318"
    assert "canary" not in inherited.values()


# A run


@pytest.mark.slow
def test_a_run_records_its_calls_and_nothing_that_was_said(tmp_path: Path) -> None:
    with demo_provider("--key", "sk-provider-canary") as port:
        endpoints = (chat_endpoint("one", port), chat_endpoint("two", port, entity="e2"))
        write(tmp_path / "e.yaml", documents(*endpoints, secret("provider", api_key="sk-provider-canary")))
        with running(tmp_path, "-f", "e.yaml", "--port", "0") as run:
            client = run.client()
            say: list[Any] = [{"role": "user", "content": "prompt-canary"}]
            for _ in range(3):
                client.chat.completions.create(model="one", messages=say)
            for _ in client.chat.completions.create(model="two", messages=say, stream=True):
                pass
            eventually(lambda: _recorded(run.state) == {"one": 3, "two": 1}, "the calls are recorded while it runs")
            client.chat.completions.create(model="two", messages=say)
            token = run.serving()["token"]
            assert run.interrupt() == 0
        assert _recorded(run.state) == {"one": 3, "two": 2}, "the last call before the end is recorded too"
    everything = b"".join(path.read_bytes() for path in _visible(run.state)) + run.text.encode()
    assert b"canary" not in everything
    for path in _visible(run.state):
        assert token.encode() not in path.read_bytes(), path


def _visible(state: Path) -> list[Path]:
    """The files of a state folder that are not there to hold secrets."""
    hidden = ("user.json", "secrets")
    return [p for p in state.rglob("*") if p.is_file() and not set(hidden) & set(p.relative_to(state).parts)]


def _recorded(state: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "model_serving.cli", "usage", "--state", str(state), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    rows = json.loads(done.stdout)
    assert all(row["errors"] == 0 and row["output_tokens"] > 0 for row in rows)
    return {row["endpoint"]: row["calls"] for row in rows}
