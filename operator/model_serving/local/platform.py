"""This machine as the REST API sees it, and how it is served: inside the runner, behind the router. By `runner.py`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from model_serving.local.callers import LocalCallers
from model_serving.local.endpoint_store import LocalEndpoints
from model_serving.local.evidence import Evidence
from model_serving.local.folder import StateFolder
from model_serving.local.keeper import Keeper
from model_serving.local.secret_store import NAMESPACE, LocalSecrets
from model_serving.local.settings import workspace_id
from model_serving.local.store import Store
from model_serving.local.users import UsersWatch
from model_serving.local.workspace import Workspace
from model_serving.stores import Platform

Management = Callable[[Platform, socket.socket], AbstractAsyncContextManager[None]]
"""Serves the REST API of a platform at a listening socket, for as long as the context lasts."""


@dataclass(frozen=True, slots=True)
class State:
    """What outlives a run: the folder, and the database in it."""

    folder: StateFolder
    store: Store


def build_platform(state: State, workspace: Workspace, keeper: Keeper, users: UsersWatch) -> Platform:
    """The workspace of one run."""
    evidence = Evidence(workspace.session, workspace)
    return Platform(
        callers=LocalCallers(users),
        endpoints=LocalEndpoints(state.store, state.folder.secrets, evidence, keeper),
        secrets=LocalSecrets(state.store, state.folder.secrets),
        workspace_id=workspace_id(state.folder),
        namespace=NAMESPACE,
        leave="local",
    )
