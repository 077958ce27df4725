"""A router that is fed: ready with a table, faults of the feed, and the copy that serves a restart."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model_serving.proxy.router_copy import RouterCopy, recorded_issuers
from model_serving.proxy_config import News
from tests.fakes.upstream import FakeUpstream
from tests.proxy.fronts import AUTH, USER, Feed, ask, entry, fed, ready
from tests.proxy.harness import Files, Running, call, until, write
from tests.proxy.tokens.minting import cluster, jwk, rsa_key


@pytest.fixture
def settings(files: Files) -> dict[str, Any]:
    write(files.root / "token", "own-canary")
    files.key(USER)
    return {"root": files.root, "token_file": files.root / "token", "state_file": files.root / "state/copy.json"}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    monkeypatch.setattr("model_serving.proxy.feeding.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("model_serving.proxy.feeding.AGAIN_SECONDS", 0.1)
    monkeypatch.setattr("model_serving.proxy.router_copy.WRITE_SECONDS", 0.1)
    (files.root / "state").mkdir()


async def status(front: Running) -> Any:
    return (await call(front.admin_port, "/status")).json


def kept(settings: dict[str, Any]) -> Any:
    path: Path = settings["state_file"]
    return json.loads(path.read_bytes()) if path.exists() else {}


async def test_a_router_is_ready_with_its_first_table(settings: dict[str, Any]) -> None:
    feed = Feed()
    async with fed(feed, **settings) as front:
        await until(lambda: feed.runs)
        assert not await ready(front)
        answer = await ask(front)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE"), (
            "not 404: it may be there"
        )
        assert (await call(front.port, "/.well-known/databricks-config")).status == 200
        feed.tell(News(workspace_id="12"))
        assert not await ready(front)
        feed.tell(News(table={}))
        assert await ready(front)
        assert (await ask(front)).status == 404
        assert (await call(front.port, "/.well-known/databricks-config")).json["workspace_id"] == "12"


async def test_a_router_without_its_own_token_is_not_ready(settings: dict[str, Any], files: Files) -> None:
    (files.root / "token").unlink()
    async with fed(Feed(News(table={})), **settings) as front:
        page = await call(front.admin_port, "/readyz")
        assert (page.status, b"own token" in page.body) == (503, True)
        write(files.root / "token", "own-canary")
        service: Any = front.service
        service._state.refresh(time.time())
        assert await ready(front)


async def test_a_feed_that_fails_is_run_again(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed(News(table={}))
    feed.faults = 2
    async with fed(feed, **settings) as front:
        await until(lambda: feed.runs == 3)
        assert await ready(front)
    assert "RuntimeError: no answer" in caplog.text


async def test_what_is_told_replaces_its_part_alone(settings: dict[str, Any], upstream: FakeUpstream) -> None:
    feed = Feed(News(table={"ep": entry(upstream.port)}))
    async with fed(feed, **settings) as front:
        await until(lambda: feed.runs)
        feed.tell(News(issuers=[]))
        assert (await ask(front)).status == 200
        feed.tell(News(table={"ep": entry(1)}))
        assert (await ask(front)).status == 503


async def test_a_restart_without_the_feed_serves_from_the_copy(
    settings: dict[str, Any], upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    issuers = [cluster(jwk(rsa_key(), "k1"))]
    async with fed(Feed(News(table={"ep": entry(upstream.port)}, issuers=issuers, workspace_id="5")), **settings):
        await until(lambda: kept(settings))
    mute = Feed()
    async with fed(mute, **settings) as front:
        assert not await ready(front), "the feed has its time first"
        await until(lambda: front.service.pipeline._table is not None)  # type: ignore[attr-defined]
        assert await ready(front)
        assert (await ask(front)).status == 200
        assert (await call(front.port, "/.well-known/databricks-config")).json["workspace_id"] == "5"
        found = await status(front)
        assert 0 <= found["copy_age_seconds"] < 600
        assert any("the table is a copy" in problem for problem in found["problems"])
        mute.tell(News(table={"ep": entry(upstream.port)}))
        found = await status(front)
        assert "copy_age_seconds" not in found and not found.get("problems")
    assert "the table is a copy" in caplog.text


async def test_what_the_feed_has_told_in_time_is_not_replaced_by_the_copy(settings: dict[str, Any]) -> None:
    async with fed(Feed(News(table={"old": entry(1)}, workspace_id="5")), **settings):
        await until(lambda: kept(settings))
    feed = Feed(News(workspace_id="6"))
    async with fed(feed, **settings) as front:
        service: Any = front.service
        await until(lambda: service.pipeline._table is not None)
        assert list(service.pipeline._table) == ["old"]
        assert (await call(front.port, "/.well-known/databricks-config")).json["workspace_id"] == "6"
    async with fed(Feed(News(table={"new": entry(1)})), **settings) as front:
        await asyncio.sleep(0.4)
        assert list(front.service.pipeline._table) == ["new"]  # type: ignore[attr-defined]
    assert kept(settings)["table"].keys() == {"new"}


async def test_the_copy_holds_no_secret_and_nobody_else_may_read_it(settings: dict[str, Any]) -> None:
    feed = Feed(News(table={"ep": entry(1)}, workspace_id="5"), owners={"opaque": ("mallory", frozenset())})
    async with fed(feed, **settings) as front:
        await ask(front, {"authorization": "Bearer opaque"})
        await ask(front, AUTH)
        await until(lambda: kept(settings))
    path: Path = settings["state_file"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(kept(settings)) == {"table", "workspace_id", "at"}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    content = path.read_text()
    assert not any(secret in content for secret in (USER, "opaque", "own-canary", "mallory"))


async def test_many_changes_are_few_writes(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(RouterCopy, "_write", lambda self, content: written.append(content))
    feed = Feed()
    async with fed(feed, **settings):
        await until(lambda: feed.runs)
        for port in range(1, 101):
            feed.tell(News(table={"ep": entry(port)}))
        await until(lambda: written and b"127.0.0.1:100" in written[-1])
        assert len(written) <= 2


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half of it"),
        pytest.param(b'{"table": {"ep": {"addresses": ["nowhere"]}}}', id="an address that is none"),
        pytest.param(b'{"table": []}', id="another shape"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b'{"workspace_id": "5"}', id="no table"),
    ],
)
async def test_a_copy_that_cannot_be_used_is_left_alone(settings: dict[str, Any], content: bytes) -> None:
    settings["state_file"].write_bytes(content)
    feed = Feed()
    async with fed(feed, **settings) as front:
        await asyncio.sleep(0.4)
        assert not await ready(front)
        feed.tell(News(table={}))
        assert await ready(front)


async def test_a_folder_that_cannot_be_written_harms_nobody(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    settings["state_file"] = Path("/proc/no/such/copy.json")
    feed = Feed(News(table={}))
    async with fed(feed, **settings) as front:
        await until(lambda: "cannot be written" in caplog.text)
        assert await ready(front)
        feed.tell(News(table={}))
        await asyncio.sleep(0.3)
    assert caplog.text.count("cannot be written") == 1


def test_a_feed_may_ask_for_the_issuers_of_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "copy.json"
    assert not recorded_issuers(None) and not recorded_issuers(path)
    copy = RouterCopy(path)
    copy.note(News(issuers=[cluster(jwk(rsa_key(), "k1"))]), 100.0)
    copy.close()
    assert recorded_issuers(path) == [cluster(jwk(rsa_key(), "k1"))]


def test_a_copy_keeps_the_parts_that_were_told_before(tmp_path: Path) -> None:
    path = tmp_path / "copy.json"
    copy = RouterCopy(path)
    copy.note(News(table={"ep": entry(1)}), 100.0)
    copy.note(News(workspace_id="7"), 200.0)
    copy.close()
    found = RouterCopy(path).kept
    assert (found.at, found.workspace_id, found.table) == (100.0, "7", {"ep": entry(1)})
    assert msgspec.json.decode(path.read_bytes())["at"] == 100.0
