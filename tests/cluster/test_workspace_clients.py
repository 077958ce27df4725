"""Real clients at the front door of a namespace on real pods: the scripts that drive `model-serving run`, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clients.workspace import ENDPOINTS, SECRETS, execute, surroundings
from tests.cluster import samples
from tests.cluster.installed import PROVIDER, Installed, apply_folder, rolled_out
from tests.cluster.test_workspace_router import ACCOUNT, SETTINGS, WORKSPACE, may

SCRIPTS = Path(__file__).parents[1] / "clients" / "scripts"
CALLER = "alice"


@dataclass(frozen=True)
class Surroundings:
    """Where a script runs, and what it finds around it."""

    environ: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def around(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """A workspace whose caller may do everything in its namespace, with the secret that the scripts name."""
    cluster, space = installed.cluster, installed.namespace("clients")
    cluster.kubectl("create", "rolebinding", CALLER, "--clusterrole=admin", f"--user={CALLER}", "-n", space)
    cluster.wait_for(lambda: may(cluster, space, CALLER, "list", "servingendpoints"), 30, "the caller's rights")
    apply_folder(cluster, WORKSPACE, installed.image, SETTINGS, namespace=space, user=CALLER)
    rolled_out(cluster, ACCOUNT, space)
    host, token = cluster.service_url(ACCOUNT, space), cluster.token(CALLER)
    with httpx.Client(base_url=host, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        # The router is ready without management, so that a rolled-out door may have none for a moment.
        cluster.wait_for(lambda: client.get(ENDPOINTS).status_code == 200, 60, "management")
        made = client.post(f"{SECRETS}/scopes/create", json={"scope": "my_scope"})
        assert made.status_code == 200, made.text
        put = {"scope": "my_scope", "key": "my_openai_api_key", "string_value": samples.PROVIDER_KEY}
        assert client.post(f"{SECRETS}/put", json=put).status_code == 200
    folder = tmp_path_factory.mktemp("clients")
    more = {"CALLER": CALLER, "PROVIDER_KEY": samples.PROVIDER_KEY, "HOME": str(folder)}
    yield Surroundings({**surroundings(host, token, PROVIDER), **more}, folder)


@pytest.mark.parametrize(("environment", "script"), [("mlflow-3", "mlflow_life"), ("databricks-sdk", "sdk_life")])
def test_an_endpoint_lives_through_the_front_door(around: Surroundings, environment: str, script: str) -> None:
    execute(environment, [str(SCRIPTS / f"{script}.py")], around.environ, around.folder)
