"""Which port the router gets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from model_serving.local import front
from model_serving.local.errors import InputError
from model_serving.local.front import claim_port, claim_socket, port_of
from model_serving.local.settings import RunSettings, child_environ
from tests.local.running import free_port


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
