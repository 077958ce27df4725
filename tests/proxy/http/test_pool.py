"""Connections to upstreams: addresses of a name, caps, the queue, what is used again and what never is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from model_serving.proxy.http import names
from model_serving.proxy.http.dial import Dialler, Origin, in_turn
from model_serving.proxy.http.names import Names
from model_serving.proxy.http.pool import Fetch, Pool, PoolSettings
from model_serving.proxy.http.response import Failure
from tests.proxy.harness import until

REQUEST = b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Resolver:
    """A loop whose resolver is a dictionary; everything else is the running loop's."""

    def __init__(self, **known: list[str]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.clock = 0.0
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._loop.time() + self.clock

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        self.asked.append(host)
        if self.gate is not None:
            await self.gate.wait()
        if not self.known.get(host):
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(0, 0, 0, "", (address, port)) for address in self.known[host]]


class Dialled(Dialler):
    """Addresses are silent but for one."""

    def __init__(self, loop: Any, good: str) -> None:
        super().__init__(loop, lambda origin, address: "", seconds=1.5)
        self._good = good
        self.tried: list[str] = []

    async def _open(self, origin: Origin, address: str, make: Any) -> Any:
        self.tried.append(address)
        if address != self._good:
            await asyncio.Event().wait()
        return f"connected to {address}"


@pytest.mark.parametrize("good", ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
async def test_a_silent_address_leaves_time_for_the_others(good: str) -> None:
    dialled = Dialled(Resolver(name=["192.0.2.1", "192.0.2.2", "192.0.2.3"]), good)
    async with asyncio.timeout(15):
        connection: Any = await dialled.dial(Origin(True, "name", 443), 0, lambda address: None)  # type: ignore[arg-type,return-value]
    assert connection == f"connected to {good}"
    assert dialled.tried[-1] == good
    assert len(dialled.tried) == int(good[-1])


@pytest.mark.parametrize(
    ("addresses", "turn", "expected"),
    [
        pytest.param((), 3, [], id="none"),
        pytest.param(("a", "b", "c"), 0, ["a", "b", "c"], id="the first dial keeps the resolver's order"),
        pytest.param(("a", "b", "c"), 4, ["b", "c", "a"], id="dials are spread"),
        pytest.param(("a", "b", "::1", "::2"), 1, ["b", "a", "::1", "::2"], id="the other family stays behind"),
        pytest.param(("::1", "a", "::2"), 1, ["::2", "::1", "a"], id="families mixed"),
    ],
)
def test_addresses_take_turns(addresses: tuple[str, ...], turn: int, expected: list[str]) -> None:
    assert in_turn(addresses, turn) == expected


# Names


async def test_all_who_ask_share_one_lookup_and_its_answer_is_remembered() -> None:
    loop = Resolver(name=["192.0.2.1"])
    loop.gate = asyncio.Event()
    found = Names(loop)  # type: ignore[arg-type]
    asking = [asyncio.ensure_future(found.addresses("name")) for _ in range(50)]
    await asyncio.sleep(0.01)
    asking[0].cancel()  # the others do not lose the answer
    loop.gate.set()
    assert await asyncio.gather(*asking[1:]) == [("192.0.2.1",)] * 49
    assert await found.addresses("name") == ("192.0.2.1",)
    assert loop.asked == ["name"]
    loop.known["name"] = ["192.0.2.2"]
    loop.clock = names.FRESH_SECONDS + 1
    assert await found.addresses("name") == ("192.0.2.2",)
    assert len(loop.asked) == 2


async def test_an_address_is_never_looked_up() -> None:
    loop = Resolver()
    assert await Names(loop).addresses("::1") == ("::1",)  # type: ignore[arg-type]
    assert loop.asked == []


async def test_a_resolver_that_is_away_leaves_the_last_addresses_for_a_while() -> None:
    loop = Resolver(name=["192.0.2.1"])
    found = Names(loop)  # type: ignore[arg-type]
    assert await found.addresses("name") == ("192.0.2.1",)
    loop.known.clear()
    loop.clock = names.FRESH_SECONDS + 1
    assert await found.addresses("name") == ("192.0.2.1",)
    loop.clock = names.STALE_SECONDS + 1
    with pytest.raises(socket.gaierror):
        await found.addresses("name")
    asked = len(loop.asked)
    with pytest.raises(socket.gaierror):
        await found.addresses("name")
    assert len(loop.asked) == asked, "the failure answers for a moment, too"


# Connections


class Recorder:
    """What a listener hears of one fetch."""

    def __init__(self) -> None:
        self.status = 0
        self.failure: Failure | None = None
        self.ended = False

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status, self.ended = status, True

    def response_started(self, status: int, headers: dict[bytes, bytes], *_: bytes) -> None:
        self.status = status

    def response_data(self, data: bytes) -> None:
        """Of no interest."""

    def response_ended(self, *_: Any, **__: Any) -> None:
        self.ended = True

    def response_failed(self, failure: Failure) -> None:
        self.failure, self.ended = failure, True


class Server:
    """Answers each request once it is let; counts connections."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.requests = 0
        self.let = asyncio.Event()
        self.let.set()
        self.port = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                await self.let.wait()
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listener = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    made.let.set()
    for writer in made.writers:
        writer.close()
    listener.close()


class World:
    """A pool, and fetches over it."""

    def __init__(self, server: Server, loop: Any = None, **limits: Any) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.pool = Pool(self.loop, lambda origin, address: "", PoolSettings(**limits))
        self.origin = Origin(False, "upstream" if loop else "127.0.0.1", server.port)
        self.fetches: list[Fetch] = []
        self.heard: list[Recorder] = []

    def send(self, number: int = 1) -> list[Recorder]:
        heard = [Recorder() for _ in range(number)]
        self.fetches += [self.pool.send(self.origin, REQUEST, recorder) for recorder in heard]
        self.heard += heard
        return heard

    async def done(self, *heard: Recorder) -> None:
        await until(lambda: all(recorder.ended for recorder in heard or self.heard))


async def test_no_more_connections_than_the_cap_and_who_waits_comes_next(server: Server) -> None:
    world = World(server, connections=3, waiting=100)
    server.let.clear()
    world.send(40)
    await until(lambda: server.requests == 3)
    await asyncio.sleep(0.05)
    assert (len(server.writers), world.pool.state()) == (3, (3, 37))
    server.let.set()
    await world.done()
    assert [recorder.status for recorder in world.heard] == [200] * 40
    assert len(server.writers) == 3
    assert world.pool.state() == (3, 0)


async def test_beyond_the_queue_requests_are_refused_at_once_unsent(server: Server) -> None:
    world = World(server, connections=1, waiting=2)
    server.let.clear()
    world.send(3)
    refused = world.send(5)
    assert not any(recorder.ended for recorder in refused), "a listener never hears from within send"
    await world.done(*refused)
    for recorder in refused:
        assert recorder.failure is not None
        assert not recorder.failure.sent
        assert "under way" in recorder.failure.detail
    server.let.set()
    await world.done()
    assert server.requests == 3


async def test_who_waits_too_long_is_refused(server: Server) -> None:
    world = World(server, connections=1, wait_seconds=0.1)
    server.let.clear()
    world.send(2)
    await asyncio.sleep(0.2)
    world.pool.sweep(world.loop.time())
    assert [bool(recorder.failure) for recorder in world.heard] == [False, True]
    assert world.pool.state() == (1, 0)


async def test_who_leaves_the_queue_makes_room_in_it(server: Server) -> None:
    world = World(server, connections=1, waiting=1)
    server.let.clear()
    world.send(2)
    world.fetches[1].abort()
    assert world.pool.state()[1] == 0
    (late,) = world.send()
    server.let.set()
    await world.done(world.heard[0], late)
    assert late.status == 200
    assert not world.heard[1].ended


Ending = Callable[[World, Server], None]


def abort(world: World, server: Server) -> None:
    world.fetches[0].abort()


def cut(world: World, server: Server) -> None:
    server.writers[0].transport.abort()


@pytest.mark.parametrize("ending", [abort, cut], ids=["the call is aborted", "the upstream cuts"])
async def test_a_lost_connection_makes_room_for_another(server: Server, ending: Ending) -> None:
    world = World(server, connections=1)
    server.let.clear()
    world.send(2)
    await until(lambda: server.requests == 1)
    ending(world, server)
    server.let.set()
    await world.done(world.heard[1])
    assert world.heard[1].status == 200
    await until(lambda: world.pool.state() == (1, 0))


async def test_a_dial_that_fails_or_is_aborted_leaves_no_place_taken(server: Server) -> None:
    world = World(server, connections=2)
    world.origin = Origin(False, "127.0.0.1", 1)
    world.send(6)
    world.fetches[0].abort()
    await world.done(*world.heard[1:])
    assert all(recorder.failure and "refused" in recorder.failure.detail for recorder in world.heard[1:])
    await until(lambda: world.pool.state() == (0, 0))
    world.pool.sweep(world.loop.time())
    assert not world.pool._lanes, "an origin that nobody calls is forgotten"


async def test_connections_to_an_address_that_is_gone_are_not_used_again(server: Server) -> None:
    loop = Resolver(upstream=["127.0.0.1"])
    world = World(server, loop)
    await world.done(*world.send())
    await world.done(*world.send())
    assert len(server.writers) == 1
    name = world.pool._lanes[world.origin].name
    name.fresh_until = 0.0
    loop.known["upstream"] = ["127.0.0.2"]
    world.pool.sweep(loop.time())
    await until(lambda: len(loop.asked) == 2)
    await world.done(*world.send())
    assert len(server.writers) == 1, "some names give a part of their addresses at a time"
    name.seen["127.0.0.1"] -= names.GONE_SECONDS
    (failed,) = world.send()
    await world.done(failed)
    await until(lambda: server.writers[0].is_closing())
    assert len(server.writers) == 1


async def test_a_connection_that_idled_for_long_is_not_used_again(server: Server) -> None:
    loop = Resolver(upstream=["127.0.0.1"])
    world = World(server, loop)
    await world.done(*world.send())
    loop.clock = 4.5
    await world.done(*world.send())
    assert len(server.writers) == 2
    assert [recorder.status for recorder in world.heard] == [200, 200]
