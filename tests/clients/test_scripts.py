"""Unmodified clients of Databricks drive a live workspace: each script runs in the environment of its client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.workspace import VIEWER, Workspace

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "scripts"
MLFLOWS = ["mlflow-2.9", "mlflow-2.22", "mlflow-3"]
TASKS = {"chat": "llm/v1/chat", "completions": "llm/v1/completions", "embeddings": "llm/v1/embeddings"}


def execute(workspace: Workspace, environment: str, script: str) -> str:
    """Runs a script of this folder."""
    return workspace.execute(environment, [str(SCRIPTS / f"{script}.py")])


def create(workspace: Workspace, name: str, task: str = "chat", entity: str = "model", **more: Any) -> None:
    """An endpoint at the provider of the tests, ready."""
    workspace.create(name, {"served_entities": [workspace.entity(entity, TASKS[task])]}, **more)


@pytest.mark.parametrize("environment", MLFLOWS)
def test_mlflow_runs_the_examples_of_the_reference_article(workspace: Workspace, environment: str) -> None:
    execute(workspace, environment, "mlflow_article")


@pytest.mark.parametrize("environment", MLFLOWS)
def test_mlflow_creates_predicts_updates_and_deletes_without_a_sleep(workspace: Workspace, environment: str) -> None:
    execute(workspace, environment, "mlflow_life")


@pytest.mark.parametrize("environment", MLFLOWS[1:])
def test_mlflow_in_its_newer_forms(workspace: Workspace, environment: str) -> None:
    execute(workspace, environment, "mlflow_style")


@pytest.mark.parametrize("environment", MLFLOWS)
def test_mlflow_shows_what_is_refused(workspace: Workspace, environment: str) -> None:
    create(workspace, "seen")
    workspace.grant("seen", VIEWER, "CAN_VIEW")
    with workspace.updating("moving"):
        execute(workspace, environment, "mlflow_refused")


def test_the_sdk_lives_through_an_endpoint(workspace: Workspace) -> None:
    execute(workspace, "databricks-sdk", "sdk_life")


def test_the_sdk_changes_policies_and_looks_inside(workspace: Workspace) -> None:
    create(workspace, "chat")
    execute(workspace, "databricks-sdk", "sdk_policies")


def test_the_sdk_manages_secrets_and_permissions(workspace: Workspace) -> None:
    create(workspace, "chat", tags=[{"key": "team", "value": "gen-ai"}])
    execute(workspace, "databricks-sdk", "sdk_access")


def test_the_sdk_shows_what_is_refused(workspace: Workspace) -> None:
    create(workspace, "chat")
    with workspace.updating("moving"):
        execute(workspace, "databricks-sdk", "sdk_refused")


def test_openai(workspace: Workspace) -> None:
    for task in TASKS:
        create(workspace, task, task)
    limit = {"key": "user", "renewal_period": "minute", "calls": 1}
    create(workspace, "limited", rate_limits=[limit])
    execute(workspace, "openai", "openai_client")


def test_langchain_and_databricks_openai(workspace: Workspace) -> None:
    create(workspace, "chat")
    create(workspace, "embeddings", "embeddings")
    execute(workspace, "langchain", "langchain_clients")
