"""What the router is told, and which port it gets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from model_serving.api.status import Condition, EndpointStatus
from model_serving.local import front
from model_serving.local.errors import InputError
from model_serving.local.front import claim_port, claim_socket, port_of, table_entry
from model_serving.local.settings import RunSettings, child_environ
from model_serving.proxy_config import Grant, Policy
from tests.local.running import free_port


def status(ready: str, reason: str, *more: str) -> EndpointStatus:
    conditions = [Condition(type="Ready", status=ready, reason=reason, message="words")]  # type: ignore[arg-type]
    return EndpointStatus(
        task="llm/v1/chat", conditions=conditions + [Condition(type=kind, status="True", reason="x") for kind in more]
    )


@pytest.mark.parametrize(
    ("given", "addresses", "state", "message"),
    [
        pytest.param(status("True", "Ready"), ["a:1"], "ready", "", id="ready"),
        pytest.param(
            status("False", "RolloutInProgress", "Reconciling"), ["a:1"], "ready", "", id="the old one serves"
        ),
        pytest.param(status("False", "UpdateFailed", "Stalled"), ["a:1"], "ready", "", id="the old one serves on"),
        pytest.param(status("False", "Progressing", "Reconciling"), [], "starting", "words", id="calls are held"),
        pytest.param(status("False", "Recovering", "Reconciling"), [], "starting", "words", id="and while it recovers"),
        pytest.param(status("False", "SecretNotFound", "Reconciling"), [], "not_ready", "words", id="not for a Secret"),
        pytest.param(status("False", "NotSupported", "Stalled"), [], "not_ready", "words", id="not for the impossible"),
    ],
)
def test_the_state_of_an_endpoint(given: EndpointStatus, addresses: list[str], state: str, message: str) -> None:
    entry = table_entry(given, None, addresses)
    assert (entry["state"], entry["message"], entry["task"]) == (state, message, "llm/v1/chat")


def test_grants_say_who_may_see_it() -> None:
    policy = Policy("v", grants=[Grant("user", "me", "CAN_QUERY")])
    assert table_entry(status("True", "Ready"), policy, [])["grants"] == [
        {"kind": "user", "name": "me", "level": "CAN_QUERY"}
    ]


async def test_a_free_port_is_taken_as_it_is_and_0_picks_one() -> None:
    port = free_port()
    assert await claim_port("127.0.0.1", port, "--port") == port
    assert await claim_port("127.0.0.1", 0, "--port") > 0


async def test_a_port_that_becomes_free_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        claim = asyncio.create_task(claim_port("127.0.0.1", port, "--port"))
        await asyncio.sleep(0.3)
        assert not claim.done()
    assert await claim == port


async def test_a_taken_port_is_named_with_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_PORT_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match=r"taken.*--demo-port"):
        await claim_port("127.0.0.1", taken.getsockname()[1], "--demo-port")


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match="choose another --host"):
        await claim_port("192.0.2.1", free_port(), "--port")


async def test_connections_wait_at_the_door_while_nobody_accepts_them() -> None:
    with await claim_socket("127.0.0.1", 0, "--port") as door:
        waiting = [socket.create_connection(("127.0.0.1", port_of(door)), timeout=5) for _ in range(200)]
        for connection in waiting:
            connection.close()


def test_admin_ports_are_for_this_machine_alone_whatever_the_host() -> None:
    assert child_environ(RunSettings(host="0.0.0.0"))["MODEL_SERVING_ADMIN_HOST"] == "127.0.0.1"
