"""Where the cluster is and how to log in: kubeconfigs, pods, exec plugins."""

from __future__ import annotations

import base64
import json
import os
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_serving.kube.config import ConfigError, connect, from_kubeconfig
from model_serving.kube.credentials import CredentialsError

PEM = ssl.DER_cert_to_PEM_cert(b"not a certificate, but PEM all the same")


def write(folder: Path, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Path:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "ns"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://k:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


async def test_a_token(tmp_path: Path) -> None:
    connection = from_kubeconfig(write(tmp_path, {"token": "t"}))
    assert (connection.server, connection.namespace) == ("https://k:6443", "ns")
    assert await connection.credentials.token() == "t"


async def test_a_token_file_beside_the_kubeconfig_is_read_again_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    credentials = from_kubeconfig(write(tmp_path, {"tokenFile": "token"})).credentials
    assert await credentials.token() == "one"
    (tmp_path / "fresh").write_text("second")
    (tmp_path / "fresh").replace(tmp_path / "token")
    assert await credentials.token() == "second"
    (tmp_path / "token").unlink()
    assert await credentials.token() == "second", "a file that is being swapped does not log us out"


async def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    credentials = from_kubeconfig(write(tmp_path, {"tokenFile": "nowhere"})).credentials
    with pytest.raises(CredentialsError, match="nowhere"):
        await credentials.token()


@pytest.mark.parametrize("inline", [True, False], ids=["as data", "as files"])
def test_certificates(tmp_path: Path, inline: bool) -> None:
    if inline:
        data = base64.b64encode(PEM.encode()).decode()
        user = {"client-certificate-data": data, "client-key-data": data}
        cluster = {"certificate-authority-data": data}
    else:
        (tmp_path / "x.pem").write_text(PEM)
        user = {"client-certificate": "x.pem", "client-key": str(tmp_path / "x.pem")}
        cluster = {"certificate-authority": "x.pem"}
    connection = from_kubeconfig(write(tmp_path, user, cluster))
    assert connection.authorities == connection.client_certificate == connection.client_key == PEM
    assert PEM not in repr(connection) or "client_key" not in repr(connection)


def test_no_verification_only_when_asked_for(tmp_path: Path) -> None:
    strict, lax = (
        from_kubeconfig(write(tmp_path)),
        from_kubeconfig(write(tmp_path, cluster={"insecure-skip-tls-verify": True})),
    )
    assert strict.ssl_context().verify_mode is ssl.CERT_REQUIRED  # type: ignore[union-attr]
    assert lax.ssl_context().verify_mode is ssl.CERT_NONE  # type: ignore[union-attr]


def plugin(folder: Path, answer: dict[str, Any], code: int = 0) -> dict[str, Any]:
    script = folder / "plugin"
    text = json.dumps({"kind": "ExecCredential", "status": answer})
    script.write_text(
        f"#!/bin/sh\necho run >> {folder}/runs\ntest -n \"$KUBERNETES_EXEC_INFO\" && echo '{text}'\nexit {code}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "args": ["x"]}}


async def test_an_exec_plugin_runs_once_and_again_when_its_token_was_refused(tmp_path: Path) -> None:
    credentials = from_kubeconfig(write(tmp_path, plugin(tmp_path, {"token": "secret-1"}))).credentials
    assert await credentials.token() == await credentials.token() == "secret-1"
    assert (tmp_path / "runs").read_text() == "run\n"
    await credentials.token(renew=True)
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


async def test_an_exec_plugin_runs_again_when_its_token_has_expired(tmp_path: Path) -> None:
    answer = {"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    credentials = from_kubeconfig(write(tmp_path, plugin(tmp_path, answer))).credentials
    await credentials.token()
    await credentials.token()
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


BROKEN_PLUGINS = [
    pytest.param({"token": "canary"}, 3, id="that fails"),
    pytest.param({}, 0, id="without a token"),
]


@pytest.mark.parametrize(("answer", "code"), BROKEN_PLUGINS)
async def test_a_broken_exec_plugin_is_named_and_its_words_are_not(
    tmp_path: Path, answer: dict[str, Any], code: int
) -> None:
    credentials = from_kubeconfig(write(tmp_path, plugin(tmp_path, answer, code))).credentials
    with pytest.raises(CredentialsError, match="plugin") as caught:
        await credentials.token()
    assert "canary" not in str(caught.value)


async def test_in_a_pod(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pod-token")
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "namespace").write_text("mine")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    connection = connect(environ, service_account=tmp_path)
    assert (connection.server, connection.namespace) == ("https://[fd00::1]:6443", "mine")
    assert await connection.credentials.token() == "pod-token"


def test_the_environment_decides(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert connect({"KUBECONFIG": f"{path}{os.pathsep}other"}, service_account=tmp_path).server == "https://k:6443"
    (tmp_path / ".kube").mkdir()
    path.rename(tmp_path / ".kube" / "config")
    assert connect({"HOME": str(tmp_path)}, service_account=tmp_path).server == "https://k:6443"
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        connect({"HOME": "/nowhere"}, service_account=tmp_path)


BROKEN = [
    pytest.param("{", "not YAML", id="not YAML"),
    pytest.param("[]", "not a mapping", id="not a mapping"),
    pytest.param("{}", "contexts has no entry named ''", id="no context"),
    pytest.param("{current-context: c, contexts: [{name: c, context: {cluster: x}}]}", "'x'", id="no such cluster"),
    pytest.param(
        "{current-context: c, contexts: [{name: c, context: {cluster: x}}], clusters: [{name: x}]}",
        "no server",
        id="no server",
    ),
]


@pytest.mark.parametrize(("text", "words"), BROKEN)
def test_a_broken_kubeconfig_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match="reading the kubeconfig") as caught:
        from_kubeconfig(path)
    assert words in str(caught.value)
