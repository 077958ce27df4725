"""The commands of docs/workspace.md, carried out in their order on a control plane; and what the status then tells."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import samples
from tests.cluster.harness import Cluster
from tests.cluster.installed import PRIVATE, PROVIDER
from tests.cluster.operator_process import ROOT, install_rules, running_operator
from tests.proxy.certificates import make_pair

SPACE = "model-serving-demo"
PAGE = ROOT / "docs" / "workspace.md"
ACCOUNT = "model-serving-workspace"


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Iterator[Cluster]:
    install_rules(control_plane)
    control_plane.kubectl("delete", "namespace", SPACE, "--ignore-not-found")
    control_plane.create_namespace(SPACE, PRIVATE | {"pod-security.kubernetes.io/enforce": "restricted"})
    control_plane.kubectl("create", "serviceaccount", "app", "-n", SPACE)
    yield control_plane
    control_plane.kubectl("delete", "namespace", SPACE, "--wait=false")
    control_plane.kubectl("delete", "clusterrolebinding", "model-serving-workspace-demo", "--ignore-not-found")


def commands() -> list[list[str]]:
    """The kubectl commands of the page that end by themselves and need no running pod, in their order."""
    shell = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    lines = [shlex.split(line) for line in shell.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words[0] == "kubectl" and not {"port-forward", "logs"} & set(words)]


def test_every_command_of_the_page_is_carried_out(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pair(tmp_path, "tls")
    (tmp_path / "ca.crt").write_bytes((tmp_path / "tls.crt").read_bytes())
    monkeypatch.chdir(tmp_path)
    for words in commands():
        answer = cluster.kubectl(*(str(ROOT / word) if (ROOT / word).is_dir() else word for word in words), check=False)
        if words[:2] == ["auth", "can-i"]:
            assert answer.stdout.strip() == "no", words
        else:
            assert answer.returncode == 0, (words, answer.stderr)
            assert "Warning" not in answer.stderr, answer.stderr
    assert sum("apply" in words for words in commands()) == 2
    service = cluster.get("service", ACCOUNT, SPACE) or {}
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("https", 443)]
    router = (cluster.get("deployment", ACCOUNT, SPACE) or {})["spec"]["template"]["spec"]["containers"][0]
    names = {entry["name"] for entry in router["env"]}
    assert {"MODEL_SERVING_TLS_SECRET", "MODEL_SERVING_PROXY_CA_FILE"} <= names
    token = cluster.kubectl("create", "token", "app", "-n", SPACE, "--duration=1h").stdout
    assert token.count(".") == 2, "the page's way to a token"


def test_the_ingress_of_the_samples_is_one_for_the_api_server(cluster: Cluster) -> None:
    sample = ROOT / "manifests/samples/ingress.yaml"
    said = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-n", SPACE, "-f", sample)
    assert "created" in said.stdout and not said.stderr


def test_the_status_follows_the_address_from_outside(cluster: Cluster) -> None:
    manifest = samples.endpoint("outside", SPACE, samples.config(samples.model("demo", "chat", PROVIDER)))
    manifest["spec"]["endpointName"] = "Out_side"
    with running_operator(cluster, EXTERNAL_URL="https://models.example.com/{namespace}/"):
        cluster.apply(json.dumps(manifest))

        def url() -> str:
            return str(((cluster.get("sep", "outside", SPACE) or {}).get("status") or {}).get("url", ""))

        found = cluster.wait_for(url, 60, "the endpoint's URL")
    assert found == f"https://models.example.com/{SPACE}/serving-endpoints/Out_side/invocations"
