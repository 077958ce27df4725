"""docs/rest.md does what it says: every curl is taken from the page and carried out in order, every error is listed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from pathlib import Path

from model_serving.management import errors
from model_serving.management.operations import OPERATIONS
from model_serving.management.server import serve_management
from tests.management.memory import ALICE, World
from tests.management.rest import NAME

PAGE = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def carry_out(block: str, address: str) -> str:
    """Runs a block of the page; what it wrote."""
    environ = {"PATH": os.environ["PATH"], "DATABRICKS_HOST": address, "DATABRICKS_TOKEN": ALICE.token}
    shell = await asyncio.create_subprocess_exec(
        "bash", "-euc", block, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0, f"{block}\n{output.decode()}"
    return output.decode()


def prepare(world: World, block: str) -> None:
    """Before an update is cancelled one has to run; the operator sees it and does not get on with it."""
    slow = "config:cancel" in block or "config:retry" in block
    world.steps = 0 if slow or "config:rollback" in block else 2
    world.before_look = (lambda: world.look(NAME, done=False)) if slow else None


async def test_every_line_of_the_page_works_in_order() -> None:
    world = World()
    said = {}
    with socket.create_server(("127.0.0.1", 0)) as door:
        async with serve_management(world.platform(), door):
            for block in BLOCKS:
                prepare(world, block)
                said[block] = await carry_out(block, f"http://127.0.0.1:{door.getsockname()[1]}")
    updates = {
        action: json.loads(text)["state"]["config_update"]
        for block, text in said.items()
        for action in re.findall(r"config:(\w+)", block)
    }
    assert updates == {"rollback": "IN_PROGRESS", "cancel": "UPDATE_CANCELED", "retry": "IN_PROGRESS"}
    assert not world.records, "the last line deletes it"


def test_the_table_of_errors_is_complete() -> None:
    told = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE)}
    kinds: list[type[errors.ApiError]] = [errors.ApiError, *errors.ApiError.__subclasses__()]
    assert told == {(kind.status, kind.code) for kind in kinds}


def test_routes_of_our_own_that_are_told_of_exist() -> None:
    told = re.findall(r"^\| (GET|POST) `…(/\{name\}/[\w:-]+)`", PAGE, re.MULTILINE)
    assert len(told) == 4
    assert {(method, f"/api/2.0/serving-endpoints{path}") for method, path in told} <= {
        (row.method, row.path) for row in OPERATIONS
    }
