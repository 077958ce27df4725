"""`model-serving run`: checks what it was given, starts everything, and ends it. The door of the local platform."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import sqlite3
from datetime import UTC, datetime

import aiohttp
from pydantic import ValidationError

from model_serving.local.ending import Ending
from model_serving.local.errors import InputError
from model_serving.local.folder import StateFolder
from model_serving.local.front import Router, claim_port, claim_socket, loopback_socket, port_of
from model_serving.local.inputs import Inputs
from model_serving.local.keeper import Keeper, Parts
from model_serving.local.platform import Management, State, build_platform
from model_serving.local.report import JsonReport, Report, TextReport
from model_serving.local.sample import SampleSource
from model_serving.local.secret_files import sweep_secrets
from model_serving.local.settings import RunSettings, demo_program, router_program
from model_serving.local.sources import GivenFiles
from model_serving.local.store import Store, open_store
from model_serving.local.supervised import Hooks, Supervised
from model_serving.local.usage_writer import UsageWriter
from model_serving.local.users import Owner, UsersWatch, load_owner
from model_serving.local.workspace import Surroundings, Workspace


def run_local(settings: RunSettings, management: Management) -> int:
    """Serves until SIGINT or SIGTERM, the REST API by `management`; returns the exit code.

    0 after a clean end, 1 when the machine fails it (disk, database), 2 for bad input.
    """
    report: Report = JsonReport() if settings.json_output else TextReport()
    try:
        return asyncio.run(_run(settings, management, report))
    except InputError as error:
        for line in str(error).splitlines():
            report.fault(line)
        return 2
    except sqlite3.Error as error:
        report.fault(f"cannot go on with the state folder {settings.state}: {error}; give another with --state")
        return 1
    except OSError as error:
        report.fault(f"cannot go on: {error}")
        return 1


async def _run(settings: RunSettings, management: Management, report: Report) -> int:
    folder = StateFolder(settings.state)
    folder.prepare()
    with folder.lock():
        store = open_store(folder.database)
        try:
            _check_stored(store, folder)
            _clear_leftovers(store, folder)
            return await _serve(settings, State(folder, store), management, report)
        finally:
            store.close()


def _check_stored(store: Store, folder: StateFolder) -> None:
    try:
        store.records()
    except (ValidationError, ValueError, KeyError):
        raise InputError(
            f"the endpoints in {folder.root} were stored by another release that this one does not understand: "
            "remove the folder, or give another with --state"
        ) from None


def _clear_leftovers(store: Store, folder: StateFolder) -> None:
    """Removes what a killed runner left behind: folders of proxies, Secrets of nobody; policies stay."""
    for root in folder.endpoints.glob("*/*-*"):
        shutil.rmtree(root, ignore_errors=True)
    sweep_secrets(store, folder.secrets)


async def _serve(settings: RunSettings, state: State, management: Management, report: Report) -> int:
    """One run. Ports are claimed before anything is stored, and faults of the input found before anything starts."""
    _ = settings.deadlines  # refused now rather than when everything runs
    ending = Ending.on_signals(asyncio.get_running_loop())
    owner = load_owner(state.folder.user) if settings.users is None else None
    users = UsersWatch(settings.users, owner)
    sample = _sample(settings, state.store)
    if not any(user.admin for user in users.users.values()):
        report.note("no user has `admin: true`: nobody can create endpoints or scopes through REST")
    keeper = Keeper(report, ending.asked)
    with await claim_socket(settings.host, settings.port, "--port") as door, loopback_socket() as inner:
        wants_demo = settings.demo or sample is not None
        demo_port = await claim_port("127.0.0.1", settings.demo_port, "--demo-port") if wants_demo else None
        inputs = _inputs(settings, state, sample, owner)
        keeper.tell(inputs.apply(datetime.now(UTC)))
        base = f"http://{settings.shown_host}:{port_of(door)}/serving-endpoints"
        async with UsageWriter(state.folder.usage, report) as usage, aiohttp.ClientSession() as session:
            around = Surroundings(settings, state.folder, secrets.token_hex(32), base, session, keeper.wake, usage.take)
            workspace = Workspace(around, state.store)
            async with management(build_platform(state, workspace, keeper, users), inner):
                router = _router(around, door, inner)
                demo = _demo(around, demo_port)
                try:
                    token = owner.token if owner else None
                    await keeper.keep(Parts(inputs, users, router, workspace, session, base, token, demo))
                finally:
                    await ending.carry_out([router, workspace, *demo], settings.grace, report)
    return 0


def _inputs(settings: RunSettings, state: State, sample: SampleSource | None, owner: Owner | None) -> Inputs:
    """What declares endpoints; those without a creator are the owner's."""
    sources = GivenFiles(settings.files).list if sample is None else lambda: [sample]
    return Inputs(sources, state.store, state.folder.secrets, owner.user.name if owner else "")


def _router(around: Surroundings, door: socket.socket, inner: socket.socket) -> Router:
    """The router at `door`, which hands on what is for the REST API at `inner`."""
    program = router_program(around.settings, around.folder, door.fileno(), around.lines)
    router = Router(program, around.wake, around.router_key, door)
    router.set_management(f"127.0.0.1:{port_of(inner)}")
    return router


def _demo(around: Surroundings, port: int | None) -> list[Supervised]:
    """The demo provider, where it was asked for or the sample needs it."""
    if port is None:
        return []
    return [Supervised(demo_program(around.settings, around.folder, port), Hooks(lambda _: None, around.wake))]


def _sample(settings: RunSettings, store: Store) -> SampleSource | None:
    """The sample: without files, in a new state folder or one that has it; beside it stands what REST made."""
    sample = SampleSource(settings.demo_port)
    declared = {record.source for record in store.records()}
    fresh = not declared
    return sample if not settings.files and (fresh or sample.name in declared) else None
