"""`model-serving run`: checks what it was given, starts everything, and ends it. The door of the local platform."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from model_serving.local.ending import Ending
from model_serving.local.errors import InputError
from model_serving.local.folder import StateFolder
from model_serving.local.front import Router, claim_port, claim_socket, port_of
from model_serving.local.inputs import FileSource, Inputs, Source
from model_serving.local.keeper import Keeper, Parts
from model_serving.local.report import JsonReport, Report, TextReport
from model_serving.local.sample import SampleSource
from model_serving.local.settings import RunSettings, demo_program, router_program
from model_serving.local.store import Store, open_store
from model_serving.local.supervised import Hooks, Supervised
from model_serving.local.usage_writer import UsageWriter
from model_serving.local.users import UsersWatch, load_owner
from model_serving.local.workspace import Surroundings, Workspace


def run_local(settings: RunSettings) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit code.

    0 after a clean end, 1 when the machine fails it (disk, database), 2 for bad input.
    """
    report: Report = JsonReport() if settings.json_output else TextReport()
    try:
        return asyncio.run(_run(settings, report))
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


async def _run(settings: RunSettings, report: Report) -> int:
    folder = StateFolder(settings.state)
    folder.prepare()
    with folder.lock():
        store = open_store(folder.database)
        try:
            _check_stored(store, folder)
            return await _serve(settings, folder, store, report)
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


async def _serve(settings: RunSettings, folder: StateFolder, store: Store, report: Report) -> int:
    """One run. Whatever is wrong with the input is found before anything is started."""
    _ = settings.deadlines  # refused now rather than when everything runs
    ending = Ending.on_signals(asyncio.get_running_loop())
    _clear_leftovers(folder)
    owner = load_owner(folder.user) if settings.users is None else None
    users = UsersWatch(settings.users, owner)
    sources = _sources(settings, store)
    inputs = Inputs(sources, store, folder.secrets, owner.user.name if owner else "")
    keeper = Keeper(report, ending.asked)
    keeper.tell(inputs.apply(datetime.now(UTC)))
    door = await claim_socket(settings.host, settings.port, "--port")
    router_key = secrets.token_hex(32)
    base = f"http://{settings.shown_host}:{port_of(door)}/serving-endpoints"
    async with UsageWriter(folder.usage, report) as usage, aiohttp.ClientSession() as session:
        demo = await _start_demo(settings, folder, sources, keeper)
        router = Router(router_program(settings, folder, door.fileno(), usage.take), keeper.wake, router_key, door)
        around = Surroundings(settings, folder, router_key, base, session, keeper.wake, usage.take)
        workspace = Workspace(around, store)
        token = owner.token if owner else None
        try:
            await keeper.keep(Parts(inputs, users, router, workspace, session, base, token, demo))
        finally:
            await ending.carry_out([router, workspace, *demo], settings.grace, report)
    return 0


def _sources(settings: RunSettings, store: Store) -> list[Source]:
    """The files; without any what the state folder holds; and if that is nothing, the sample."""
    if settings.files:
        return [FileSource(path) for path in _yaml_files(settings.files)]
    sample = SampleSource(settings.demo_port)
    if all(record.source == sample.name for record in store.records()):
        return [sample]
    return []


def _yaml_files(paths: Sequence[Path]) -> list[Path]:
    """The files, a folder standing for the YAML files in it. Raises `InputError`."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"cannot read {path}: it does not exist")
        found = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no .yaml files")
        files += found
    return files


async def _start_demo(
    settings: RunSettings, folder: StateFolder, sources: Sequence[Source], keeper: Keeper
) -> list[Supervised]:
    """The demo provider, where it was asked for or the sample needs it."""
    if not settings.demo and not any(isinstance(source, SampleSource) for source in sources):
        return []
    port = await claim_port("127.0.0.1", settings.demo_port, "--demo-port")
    return [Supervised(demo_program(settings, folder, port), Hooks(lambda _: None, keeper.wake))]


def _clear_leftovers(folder: StateFolder) -> None:
    """Removes the folders of proxies that a killed runner left behind; policies stay."""
    for root in folder.endpoints.glob("*/*-*"):
        shutil.rmtree(root, ignore_errors=True)
