"""Where the API server is and how to authenticate to it: in a pod, or from a kubeconfig.

Called at start by `controller/operator.py`, `management/` and the tools. Nothing here talks to the network; an exec
plugin of a kubeconfig is run by `Credentials.token`.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model_serving.kube.credentials import Credentials, ExecCredentials, FileCredentials, StaticCredentials

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """The connection settings are missing or unreadable; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one API server. Texts are PEM; `namespace` is where to work when none is named."""

    server: str
    credentials: Credentials = field(default_factory=StaticCredentials)
    namespace: str = "default"
    authorities: str = ""
    client_certificate: str = ""
    client_key: str = field(default="", repr=False)
    verify: bool = True
    server_name: str = ""

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS should check and present; None for plain HTTP."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.create_default_context(cadata=self.authorities or None)
        # Python 3.13 turned this on; certificates of many clusters lack the key identifiers that it asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate:
            _load_client_certificate(context, self.client_certificate, self.client_key)
        return context


def connect(environ: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection that the environment describes: `KUBECONFIG`, else the pod's own, else `~/.kube/config`."""
    if environ.get("KUBECONFIG"):
        return from_kubeconfig(Path(environ["KUBECONFIG"].split(":")[0]))
    if environ.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").exists():
        return in_cluster(environ, service_account=service_account)
    default = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise ConfigError("finding the cluster: no KUBECONFIG, not in a pod, no ~/.kube/config: set KUBECONFIG to a file")


def has_cluster(environ: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> bool:
    """Whether the environment describes any cluster, well or badly: where `connect` has something to read."""
    in_pod = bool(environ.get("KUBERNETES_SERVICE_HOST")) and (service_account / "token").exists()
    return bool(environ.get("KUBECONFIG")) or in_pod or (Path(environ.get("HOME", "/")) / ".kube" / "config").exists()


def in_cluster(environ: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of a pod. The token is read again when its file changes: the kubelet replaces it hourly."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = service_account / "namespace"
    return Connection(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        credentials=FileCredentials(service_account / "token"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        authorities=_read(service_account / "ca.crt", "the cluster's certificate authority"),
    )


def from_kubeconfig(path: Path, *, context: str = "") -> Connection:
    """The connection of a kubeconfig's current context, or of the named one."""
    try:
        document = yaml.safe_load(_read(path, "the kubeconfig"))
    except yaml.YAMLError as error:
        raise ConfigError(f"reading the kubeconfig {path}: it is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"reading the kubeconfig {path}: it is not a mapping")
    chosen = _named(document, "contexts", context or document.get("current-context", ""), path).get("context") or {}
    cluster = _named(document, "clusters", chosen.get("cluster", ""), path).get("cluster") or {}
    user = _named(document, "users", chosen["user"], path).get("user") or {} if chosen.get("user") else {}
    base = path.parent
    if not cluster.get("server"):
        raise ConfigError(f"reading the kubeconfig {path}: cluster {chosen.get('cluster')!r} has no server")
    return Connection(
        server=str(cluster["server"]).rstrip("/"),
        credentials=_credentials(user, base),
        namespace=chosen.get("namespace") or "default",
        authorities=_pem(cluster, "certificate-authority", base),
        client_certificate=_pem(user, "client-certificate", base),
        client_key=_pem(user, "client-key", base),
        verify=not cluster.get("insecure-skip-tls-verify", False),
        server_name=cluster.get("tls-server-name", ""),
    )


def _credentials(user: Mapping[str, Any], base: Path) -> Credentials:
    if user.get("exec"):
        return ExecCredentials(user["exec"], base)
    if user.get("tokenFile"):
        return FileCredentials(base / user["tokenFile"])
    return StaticCredentials(user.get("token", ""))


def _named(document: Mapping[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    raise ConfigError(f"reading the kubeconfig {path}: {section} has no entry named {name!r}")


def _pem(section: Mapping[str, Any], field_name: str, base: Path) -> str:
    data = section.get(f"{field_name}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError(f"reading the kubeconfig: {field_name}-data is not base64 of PEM") from None
    file = section.get(field_name)
    return _read(base / file, field_name) if file else ""


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"reading {what} from {path}: {error}") from None


def _load_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    # The ssl module takes client certificates from files only.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "client.pem"
        file.touch(mode=0o600)
        file.write_text(f"{certificate.rstrip()}\n{key}")
        context.load_cert_chain(file)
