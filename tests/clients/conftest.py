"""One workspace for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.clients.workspace import Workspace
from tests.clients.workspace import workspace as start


@pytest.fixture(scope="session")
def running_workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with start(tmp_path_factory.mktemp("workspace")) as started:
        yield started


@pytest.fixture
def workspace(running_workspace: Workspace) -> Workspace:
    """The workspace without endpoints, with the reference article's two secrets."""
    running_workspace.clear()
    return running_workspace


@pytest.fixture
def admin(workspace: Workspace) -> Iterator[httpx.Client]:
    """Plain HTTP as the admin."""
    with workspace.client() as client:
        yield client
