"""Files that change under a running proxy: credentials, keys, policy, config; and what readiness and status say."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy_config import Grant, Limit
from tests.fakes.upstream import FakeUpstream, Received, whole
from tests.proxy.harness import SECRET, Files, Running, call, chat, policy, proxy, target, until, write


async def status(running: Running) -> Any:
    return (await call(running.admin_port, "/status")).json


async def ready(running: Running) -> tuple[int, str]:
    page = await call(running.admin_port, "/readyz")
    return page.status, page.body.decode()


async def until_ready(running: Running, wanted: int = 200) -> None:
    for _ in range(200):
        if (await ready(running))[0] == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await status(running))


async def test_a_complete_proxy_is_ready_and_says_what_it_serves(running: Running) -> None:
    assert await ready(running) == (200, "ready\n")
    assert (await call(running.admin_port, "/livez")).status == 200
    found = await status(running)
    assert (found["endpoint"], found["revision"], found["config_version"]) == ("ep", "rev-1", 3)
    assert found["policy_version"] == "p1"
    assert found["ready"] is True
    assert found["credentials"][0]["loaded_at"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        pytest.param(lambda f: shutil.rmtree(f.root / "secrets"), "key token of Secret vendor is missing", id="Secret"),
        pytest.param(lambda f: f.secret("  \n"), "key token of Secret vendor is empty", id="empty key"),
        pytest.param(lambda f: f.secret("a\nb"), "characters", id="a key of two lines"),
        pytest.param(lambda f: shutil.rmtree(f.root / "policy"), "policy: the file is missing", id="policy"),
        pytest.param(lambda f: shutil.rmtree(f.root / "config"), "config: the file is missing", id="config"),
        pytest.param(
            lambda f: write(f.root / "config/config.json", b"{"), "config: the file is not valid", id="bad config"
        ),
        pytest.param(lambda f: f.config([]), "at least one", id="no target"),
        pytest.param(lambda f: f.config([target("x", provider="cohere")]), "cohere", id="unknown provider"),
        pytest.param(lambda f: f.config([target("nonsense")]), "https://", id="not a URL"),
        pytest.param(
            lambda f: f.config([target("https://x.example", credentials={})]), "openai_api_key", id="no credential"
        ),
        pytest.param(lambda f: f.policy(upstream_leave="public"), "https", id="http without leave"),
        pytest.param(lambda f: f.policy(limits=[Limit("team", 1)]), "limit key team", id="unknown limit"),
    ],
)
async def test_what_is_missing_keeps_it_unready_and_is_named(
    files: Files, upstream: FakeUpstream, break_it: Any, words: str
) -> None:
    files.usual(upstream.base)
    break_it(files)
    async with proxy(files) as running:
        code, text = await ready(running)
        assert code == 503
        assert words in text
        assert any(words in problem for problem in (await status(running))["problems"])
        answer = await chat(running.port)
        assert answer.status in (401, 503)
        files.usual(upstream.base)
        await until_ready(running)
        assert (await chat(running.port)).status == 200


async def test_a_missing_credential_is_reported_as_missing(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    shutil.rmtree(files.root / "secrets")
    async with proxy(files) as running:
        assert (await status(running))["credentials"] == [{"secret": "vendor", "key": "token", "problem": "missing"}]
        answer = await chat(running.port)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert "Secret vendor" in answer.json["message"]


async def test_a_rotated_credential_is_used_without_a_restart(
    running: Running, upstream: FakeUpstream, files: Files
) -> None:
    await chat(running.port)
    files.secret("sk-new\n")
    await until(lambda: "sk-new" in running.service.state.credentials.files()[0].value)
    await chat(running.port)
    assert [request.header("authorization") for request in upstream.requests] == [f"Bearer {SECRET}", "Bearer sk-new"]


async def test_no_call_fails_when_the_provider_learns_of_a_new_key_late(
    running: Running, upstream: FakeUpstream, files: Files
) -> None:
    upstream.keys = {SECRET}
    files.secret("sk-new")
    await until(lambda: running.service.state.credentials.files()[0].value == "sk-new")
    assert (await chat(running.port)).status == 200
    assert (await chat(running.port, stream=True)).body.endswith(b"[DONE]\n\n")
    assert len(upstream.requests) == 4


async def test_a_key_that_is_revoked_before_we_looked_is_replaced_at_the_first_401(
    running: Running, upstream: FakeUpstream, files: Files
) -> None:
    await chat(running.port)
    upstream.keys = {"sk-new"}
    files.secret("sk-new")
    assert (await chat(running.port)).status == 200


async def test_a_401_is_tried_once_more_at_most(running: Running, upstream: FakeUpstream, files: Files) -> None:
    upstream.keys = {"another"}
    files.secret("sk-new")
    await until(lambda: running.service.state.credentials.files()[0].value == "sk-new")
    answer = await chat(running.port)
    assert (answer.status, answer.json["error_code"]) == (401, "UNAUTHENTICATED")
    assert len(upstream.requests) == 2
    assert SECRET not in answer.json["message"]
    assert "sk-new" not in answer.json["message"]


async def test_without_a_rotation_a_401_is_not_tried_again(running: Running, upstream: FakeUpstream) -> None:
    upstream.keys = {"another"}
    assert (await chat(running.port)).status == 401
    assert len(upstream.requests) == 1


async def test_a_deleted_secret_turns_unready_and_its_value_is_used_no_more(running: Running, files: Files) -> None:
    shutil.rmtree(files.root / "secrets")
    await until_ready(running, 503)
    assert (await chat(running.port)).status == 503
    files.secret(SECRET)
    await until_ready(running)


async def test_the_kubelets_swap_of_a_link_is_noticed(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    shutil.rmtree(files.root / "secrets/vendor")
    folder = files.root / "secrets/vendor"
    folder.mkdir()
    _publish(folder, "1", "sk-first")
    (folder / "token").symlink_to("..data/token")
    async with proxy(files) as running:
        assert (await ready(running))[0] == 200
        _publish(folder, "2", "sk-other")
        await until(lambda: running.service.state.credentials.files()[0].value == "sk-other")
        (folder / "token").unlink()  # the key is removed from the Secret
        await until_ready(running, 503)


def _publish(folder: Path, number: str, value: str) -> None:
    """What the kubelet's atomic writer does."""
    version = folder / f"..{number}"
    version.mkdir()
    (version / "token").write_text(value)
    (folder / "..data_tmp").symlink_to(version.name)
    os.replace(folder / "..data_tmp", folder / "..data")


async def test_a_new_policy_acts_live(running: Running, files: Files) -> None:
    assert (await chat(running.port)).status == 200
    files.policy(version="p2", grants=[Grant("user", "eve", "CAN_QUERY")])
    await until(lambda: running.service.state.runtime.policy_version == "p2")
    assert (await chat(running.port)).status == 403


async def test_a_bad_policy_leaves_the_old_one_in_force_and_is_told(running: Running, files: Files) -> None:
    write(files.root / "policy/policy.json", b'{"version": 5}')
    await until(lambda: running.service.state.problems())
    assert (await chat(running.port)).status == 200
    found = await status(running)
    assert (found["ready"], found["policy_version"]) == (True, "p1")
    assert found["problems"][0].startswith("policy: the file is not valid")
    files.policy()
    await until(lambda: not running.service.state.problems())


async def test_a_policy_that_does_not_compile_leaves_the_old_one_in_force(running: Running, files: Files) -> None:
    files.policy(version="p2", limits=[Limit("team", 1)])
    await until(lambda: running.service.state.problems())
    assert (await status(running))["policy_version"] == "p1"
    assert (await chat(running.port)).status == 200


async def test_a_changed_limit_counts_what_was_admitted_before(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, limits=[Limit("user", 10)])
    async with proxy(files) as running:
        for _ in range(3):
            assert (await chat(running.port)).status == 200
        files.policy(version="p2", limits=[Limit("user", 4)])
        await until(lambda: running.service.state.runtime.policy_version == "p2")
        assert [(await chat(running.port)).status for _ in range(2)] == [200, 429]


async def test_api_keys_come_and_go(running: Running, files: Files) -> None:
    bob = {"authorization": "Bearer key-of-bob"}
    assert (await chat(running.port, bob)).status == 401
    files.key("key-of-bob", "bob", ["team"])
    files.policy(version="p2", grants=[*policy().grants, Grant("group", "team", "CAN_QUERY")])
    await until(lambda: running.service.state.runtime.policy_version == "p2")
    assert (await chat(running.port, bob)).status == 200
    shutil.rmtree(files.root / "api-keys")
    for _ in range(100):
        if (await chat(running.port, bob)).status == 401:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the key still works")


async def test_a_key_that_cannot_be_read_is_told_and_harms_no_other(running: Running, files: Files) -> None:
    write(files.root / "api-keys" / ("0" * 64), b"nonsense")
    await until(lambda: running.service.state.problems())
    assert "API keys" in (await status(running))["problems"][0]
    assert (await chat(running.port)).status == 200


async def test_secrets_appear_nowhere(
    running: Running, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(request: Received, writer: asyncio.StreamWriter) -> None:
        await whole(400, f"bad key {request.header('authorization')}".encode())(request, writer)

    upstream.scripts.append(echo)
    answer = await chat(running.port)
    assert SECRET not in answer.body.decode()
    for path in ("/status", "/metrics", "/readyz"):
        assert SECRET not in (await call(running.admin_port, path)).body.decode()
    assert SECRET not in caplog.text


async def test_the_admin_port_is_for_reading(running: Running) -> None:
    assert (await call(running.admin_port, "/status", b"{}")).status == 405
    assert (await call(running.admin_port, "/nothing")).status == 404


async def test_metrics_count_calls_by_status(running: Running) -> None:
    await chat(running.port)
    await call(running.port, "/serving-endpoints/ep/invocations", b"{")
    page = (await call(running.admin_port, "/metrics")).body.decode()
    assert 'model_serving_calls_total{served_entity="gpt",task="llm/v1/chat",status="200",error_code=""} 1\n' in page
    assert (
        'model_serving_calls_total{served_entity="",task="llm/v1/chat",status="400",error_code="BAD_REQUEST"} 1\n'
        in page
    )
    assert 'model_serving_call_duration_seconds_count{served_entity="gpt",task="llm/v1/chat"} 1\n' in page
    assert "model_serving_in_flight 0\n" in page
    assert 'model_serving_credential_loaded_timestamp_seconds{secret="vendor",key="token"} 1' in page


async def test_the_body_limit_is_the_configs(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, max_body_bytes=100)
    async with proxy(files) as running:
        assert (await chat(running.port)).status == 200
        answer = await chat(running.port, pad="x" * 100)
        assert (answer.status, json.loads(answer.body)["error_code"]) == (413, "INVALID_PARAMETER_VALUE")
