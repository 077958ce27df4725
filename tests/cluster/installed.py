"""A cluster with everything installed as an admin would: CRD, policies, operator, and a demo provider to call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from openai import OpenAI

from tests.cluster import samples
from tests.cluster.harness import Cluster
from tests.cluster.operator_process import ACCOUNT, SYSTEM, assert_clean, install_crd

ROOT = Path(__file__).parents[2]
PROVIDER_NAMESPACE = "demo"
PROVIDER = f"http://demo-provider.{PROVIDER_NAMESPACE}.svc.cluster.local:8090/v1"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PRIVATE = {"model-serving.dev/private-upstreams": "true"}
SETTINGS = {
    "MODEL_SERVING_PROGRESS_DEADLINE_SECONDS": "25",
    "MODEL_SERVING_SECRET_GRACE_SECONDS": "12",
    "MODEL_SERVING_DRAIN_DELAY_SECONDS": "3",
    "MODEL_SERVING_MAX_REQUEST_SECONDS": "60",
}


@dataclass
class Installed:
    """The cluster, and short words for what the scenarios do."""

    cluster: Cluster
    image: str
    names: list[str] = field(default_factory=list)

    def namespace(self, name: str) -> str:
        """A restricted namespace whose endpoints may call the demo provider, with the Secret and the caller's key."""
        self.cluster.kubectl("delete", "namespace", name, "--ignore-not-found")
        self.cluster.create_namespace(name, RESTRICTED | PRIVATE)
        self.create(samples.api_keys(name), samples.secret(name, {samples.SECRET_KEY: samples.PROVIDER_KEY}))
        self.names.append(name)
        return name

    def clear(self) -> None:
        """Removes the namespaces that were made, without waiting until their pods have drained."""
        if self.names:
            self.cluster.kubectl("delete", "namespace", *self.names, "--wait=false", "--ignore-not-found")
            self.names.clear()

    def create(self, *manifests: dict[str, Any]) -> None:
        """Applies manifests as the admin."""
        self.cluster.apply("\n---\n".join(json.dumps(m) for m in manifests))

    def endpoint(self, namespace: str, name: str) -> dict[str, Any]:
        """An endpoint as it is now."""
        return self.cluster.get("servingendpoint", name, namespace) or {}

    def ready(self, namespace: str, name: str, seconds: float = 60) -> dict[str, Any]:
        """Waits until the present generation of an endpoint is ready."""
        return self.until(namespace, name, lambda e: is_current(e, "Ready"), seconds, "ready")

    def until(self, namespace: str, name: str, holds: Any, seconds: float, what: str) -> dict[str, Any]:
        """Waits until `holds(endpoint)`, four times the figure at most; says what stands in its way."""

        def look() -> dict[str, Any] | None:
            found = self.endpoint(namespace, name)
            return found if found and holds(found) else None

        try:
            return self.cluster.wait_for(look, 4 * seconds, f"{namespace}/{name} {what} (≤ {seconds:g} s)")
        except TimeoutError:
            print(json.dumps(self.endpoint(namespace, name).get("status"), indent=1))
            print(self.cluster.kubectl("get", "pods,deployments,rs,events", "-n", namespace, "-o", "wide").stdout)
            print(self.operator_log()[-4000:])
            raise

    def client(self, namespace: str, name: str, key: str = samples.CALLER_KEY) -> OpenAI:
        """The official client, on the endpoint's Service."""
        base = self.cluster.service_url(name, namespace) + "/serving-endpoints"
        return OpenAI(base_url=base, api_key=key, max_retries=0, timeout=60)

    def pods(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """The proxy pods of an endpoint that are not on their way out."""
        found = self.cluster.list("pods", namespace, selector=f"model-serving.dev/endpoint={name}")
        return [p for p in found if not p["metadata"].get("deletionTimestamp")]

    def annotate(self, namespace: str, name: str, **annotations: str) -> None:
        """Sets annotations of the endpoint by their short names."""
        words = [f"model-serving.dev/{key}={value}" for key, value in annotations.items()]
        self.cluster.kubectl("annotate", "--overwrite", "sep", name, "-n", namespace, *words)

    def operator_log(self) -> str:
        """What the operator has logged so far."""
        return self.cluster.logs(f"deployment/{ACCOUNT}", SYSTEM)

    def restart_operator(self) -> None:
        """Replaces the operator's pod and waits for the new one."""
        self.cluster.kubectl("rollout", "restart", f"deployment/{ACCOUNT}", "-n", SYSTEM)
        self.cluster.kubectl("rollout", "status", f"deployment/{ACCOUNT}", "-n", SYSTEM, "--timeout=120s")

    def check(self) -> None:
        """After the tests: the operator's log holds no traceback and no error, and the canary is nowhere."""
        log = self.operator_log()
        assert_clean(log)
        assert samples.PROVIDER_KEY not in log


def is_current(manifest: dict[str, Any], kind: str, status: str = "True") -> bool:
    """Whether a condition has that status for the present generation."""
    found = samples.condition(manifest, kind)
    return found.get("status") == status and found.get("observedGeneration") == manifest["metadata"]["generation"]


def reason(manifest: dict[str, Any]) -> str:
    """The reason of Ready, for the present generation only."""
    found = samples.condition(manifest)
    current = found.get("observedGeneration") == manifest["metadata"]["generation"]
    return str(found.get("reason", "")) if current else ""


def apply_folder(
    cluster: Cluster, folder: Path, image: str, settings: dict[str, str] | None = None, **scope: str
) -> None:
    """`kubectl apply -k`, with the image in the place of the one that the manifests name, and settings added. `scope`:
    namespace and user, where they are not the manifests' and the admin."""
    documents = list(yaml.safe_load_all(cluster.kubectl("kustomize", folder).stdout))
    for document in documents:
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            container["image"] = image
            if settings:
                container["env"] += [{"name": name, "value": value} for name, value in settings.items()]
    cluster.apply("\n---\n".join(json.dumps(document) for document in documents), **scope)


def install(cluster: Cluster, image: str, settings: dict[str, str] | None = None) -> Installed:
    """What the README tells a cluster admin to do, with short deadlines."""
    settings = SETTINGS if settings is None else settings
    install_crd(cluster)
    cluster.apply(ROOT / "manifests" / "policies")
    apply_folder(cluster, ROOT / "manifests" / "operator", image, settings)
    if cluster.get("namespace", PROVIDER_NAMESPACE) is None:
        cluster.create_namespace(PROVIDER_NAMESPACE, RESTRICTED)
    cluster.apply("\n---\n".join(json.dumps(m) for m in provider(image)))
    rolled_out(cluster, ACCOUNT, SYSTEM)
    rolled_out(cluster, "demo-provider", PROVIDER_NAMESPACE)
    return Installed(cluster, image)


def rolled_out(cluster: Cluster, deployment: str, namespace: str) -> None:
    """Waits for a Deployment; says what its pods say if it does not come up."""
    done = cluster.kubectl(
        "rollout", "status", f"deployment/{deployment}", "-n", namespace, "--timeout=120s", check=False
    )
    if done.returncode != 0:
        print(cluster.kubectl("describe", "pods", "-n", namespace).stdout[-6000:])
        print(cluster.kubectl("logs", f"deployment/{deployment}", "-n", namespace, check=False).stdout[-4000:])
        raise AssertionError(f"{namespace}/{deployment}: {done.stderr}")


def provider(image: str) -> list[dict[str, Any]]:
    """The demo provider; it accepts the keys that stand in the Secret `demo-provider-keys`, one per line."""
    labels = {"app": "demo-provider"}
    meta = {"name": "demo-provider", "namespace": PROVIDER_NAMESPACE}
    container = {
        "name": "provider",
        "image": image,
        "args": ["demo-provider", "--host", "0.0.0.0", "--port", "8090", "--keys-file", "/keys/keys"],
        "ports": [{"containerPort": 8090, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8090}, "periodSeconds": 1},
        "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "keys", "secret": {"secretName": "demo-provider-keys", "optional": True}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"port": 8090, "targetPort": 8090, "protocol": "TCP"}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": ports}},
        samples.secret(PROVIDER_NAMESPACE, {"keys": f"{samples.PROVIDER_KEY}\n"}, "demo-provider-keys"),
    ]


def accept_keys(installed: Installed, *keys: str) -> None:
    """Makes the provider accept exactly these keys, and waits until it does."""
    installed.create(samples.secret(PROVIDER_NAMESPACE, {"keys": "\n".join(keys) + "\n"}, "demo-provider-keys"))
    pods = installed.cluster.list("pods", PROVIDER_NAMESPACE, selector="app=demo-provider")
    base = installed.cluster.service_url("demo-provider", PROVIDER_NAMESPACE) + "/v1"

    def does() -> bool:
        for pod in pods:  # A changed annotation makes the kubelet look at once.
            name = pod["metadata"]["name"]
            installed.cluster.kubectl(
                "annotate", "--overwrite", "pod", name, "-n", PROVIDER_NAMESPACE, f"look={len(keys)}-{id(pod)}"
            )
        for key in (*keys, "certainly-wrong"):
            try:
                OpenAI(base_url=base, api_key=key, max_retries=0).models.list()
                accepted = True
            except Exception:
                accepted = False
            if accepted != (key in keys):
                return False
        return True

    installed.cluster.wait_for(does, 120, "the provider to accept the keys")
