"""docs/permissions.md and the REST part of docs/secrets.md do what they say: every curl is carried out in order."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path

from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.management.operations import OPERATIONS
from model_serving.management.server import serve_management
from tests.management.memory import ALICE, World
from tests.management.test_permissions import make

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    """The shell blocks of a page that call a workspace."""
    found = re.findall(r"^```sh\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in found if "DATABRICKS_HOST" in block]


async def carry_out(world: World, page: str, **environ: str) -> list[str]:
    """Runs the blocks of a page in order; what each wrote."""
    said = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        known = {"PATH": os.environ["PATH"], "DATABRICKS_HOST": address, "DATABRICKS_TOKEN": ALICE.token, **environ}
        async with serve_management(world.platform(), door):
            for block in blocks(page):
                shell = await asyncio.create_subprocess_exec(
                    "bash", "-euc", block, env=known, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
                )
                output, _ = await asyncio.wait_for(shell.communicate(), 60)
                assert shell.returncode == 0, f"{block}\n{output.decode()}"
                said.append(output.decode())
    return said


async def test_permissions_as_the_page_says() -> None:
    world = World()
    path = await make(world, creator=ALICE.name)
    record = world.record("chat")
    # The page speaks of the endpoint of the reference's example.
    spec = record.endpoint.spec.model_copy(update={"endpoint_name": "openai_endpoint"})
    record.endpoint = record.endpoint.model_copy(update={"spec": spec})
    await carry_out(world, "permissions.md", ENDPOINT_ID=path.rpartition("/")[2])
    (entry,) = world.endpoint("openai_endpoint").spec.access or []
    assert (entry.name, entry.permission_level) == ("bob@example.com", "CAN_VIEW")
    assert world.endpoint("openai_endpoint").metadata.annotations[CREATOR_ANNOTATION] == ALICE.name


async def test_secrets_as_the_page_says() -> None:
    world = World()
    filled, emptied = await carry_out(world, "secrets.md")
    assert '"key":"my_openai_api_key"' in filled and '"principal":"bob@example.com"' in filled
    assert "no-real-key" not in filled + emptied
    assert not world.scopes


def test_paths_that_the_pages_name_exist() -> None:
    routes = {row.path for row in OPERATIONS}
    for page in ("permissions.md", "secrets.md"):
        for path in re.findall(r"/api/2\.0/(?:secrets|permissions|preview)[\w./$-]*", (DOCS / page).read_text()):
            assert path.replace("$ENDPOINT_ID", "{id}") in routes, path
