"""Connecting to a namespace: its number, its leave, and whom the connection may speak for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from model_serving.kube.config import ConfigError
from model_serving.kube.workspace.platform import connect_platform, connection_of
from model_serving.kube.workspace_id import workspace_id
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.kube.workspace.conftest import NAMESPACE

NAMESPACES = "/api/v1/namespaces"
LEAVE = {"model-serving.dev/private-upstreams": "true"}


async def test_a_namespace_is_one_workspace_for_all_replicas(api: FakeKubeApi) -> None:
    uid = api.put(NAMESPACES, {"metadata": {"name": NAMESPACE}})["metadata"]["uid"]
    async with (
        connect_platform(api.connection, NAMESPACE) as one,
        connect_platform(api.connection, NAMESPACE) as two,
    ):
        assert one.workspace_id == two.workspace_id == workspace_id(uid)
        assert one.namespace == NAMESPACE and one.leave == "public"


async def test_the_leave_follows_the_namespaces_label(api: FakeKubeApi) -> None:
    api.put(NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": LEAVE}})
    async with connect_platform(api.connection, NAMESPACE, look_seconds=0.02) as platform:
        assert platform.leave == "private"
        api.failures.append(Failure(500, times=9))
        api.put(NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": {}}})
        async with asyncio.timeout(20):
            while platform.leave != "public":
                await asyncio.sleep(0.01)


async def test_a_cluster_that_is_away_is_waited_for(api: FakeKubeApi) -> None:
    api.failures.append(Failure(403))
    api.put(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    async with asyncio.timeout(20), connect_platform(api.connection, NAMESPACE) as platform:
        assert platform.workspace_id.isdigit()


def test_a_client_certificate_would_speak_for_everybody(tmp_path: Path) -> None:
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "users": [{"name": "it", "user": {"client-certificate-data": "cGVt", "client-key-data": "cGVt"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match="would take for every caller"):
        connection_of({"KUBECONFIG": str(tmp_path / "config")})
