"""The Deployment of an endpoint's proxies. A revision is a ReplicaSet: the template follows from the revision alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_serving.controller.desired.config_map import POLICY_SUFFIX, config_suffix
from model_serving.controller.desired.owner import Owner, child, pod_labels
from model_serving.controller.desired.service_account import SERVICE_ACCOUNT_SUFFIX, account_annotations
from model_serving.controller.settings import Settings
from model_serving.kube.labels import MANAGED_BY_LABEL, OPERATOR
from model_serving.kube.resources import DEPLOYMENTS, Manifest
from model_serving.lifecycle.proxy_config import secret_files, tls_secret
from model_serving.lifecycle.revision import Revision, digest

REVISION = "model-serving.dev/revision"
"""Annotation of the pod template: the name of the revision."""

CONTAINER = "proxy"
DATA_PORT, ADMIN_PORT = 8080, 8081
ROOT = "/etc/model-serving"
API_KEYS_SECRET = "model-serving-api-keys"  # noqa: S105 (the name of an object)
LIMITS_STORE_SECRET = "model-serving-limits-store"  # noqa: S105 (the name of an object)

_STOPPING_SECONDS = 10
"""What a proxy needs to end after its last call."""
_READ_BY_GROUP = 0o440


def deployment(owner: Owner, revision: Revision, replicas: int | None, settings: Settings) -> Manifest:
    """The proxies of `revision`. `replicas` None: an autoscaler owns the number, and we have no opinion."""
    spec: dict[str, Any] = {
        "selector": {"matchLabels": pod_labels(owner)},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": settings.progress_deadline_seconds,
        "minReadySeconds": settings.min_ready_seconds,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "template": _template(owner, revision),
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return child(owner, DEPLOYMENTS, {"spec": spec})


def _template(owner: Owner, revision: Revision) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {**pod_labels(owner), MANAGED_BY_LABEL: OPERATOR},
            "annotations": {REVISION: revision.name, "kubectl.kubernetes.io/default-container": CONTAINER},
        },
        "spec": _pod(owner, revision),
    }


def _pod(owner: Owner, revision: Revision) -> dict[str, Any]:
    proxy, platform = revision.shape.proxy, revision.shape.platform
    secrets = secret_files(revision)
    drain, longest = int(platform.get("drainDelaySeconds", 10)), int(platform.get("maxRequestSeconds", 300))
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": drain + longest + _STOPPING_SECONDS,
        "securityContext": _pod_security(int(platform.get("runAsUser", 0))),
        "topologySpreadConstraints": [
            _spread(owner, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(revision, secrets)],
        "volumes": _volumes(owner, revision, secrets),
    }
    optional = {
        "serviceAccountName": f"{owner.name}-{SERVICE_ACCOUNT_SUFFIX}"
        if account_annotations(revision) is not None
        else None,
        "imagePullSecrets": [{"name": name} for name in platform.get("imagePullSecrets", [])],
        "nodeSelector": proxy.get("nodeSelector"),
        "tolerations": proxy.get("tolerations"),
        "priorityClassName": proxy.get("priorityClassName"),
    }
    return pod | {key: value for key, value in optional.items() if value}


def _pod_security(user: int) -> dict[str, Any]:
    security: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return security | ({"runAsUser": user, "runAsGroup": user, "fsGroup": user} if user else {})


def _spread(owner: Owner, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": pod_labels(owner)},
        # Without it the pods of the old revision would push the new ones to one side.
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(revision: Revision, secrets: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    shape = revision.shape
    return {
        "name": CONTAINER,
        "image": shape.image,
        "imagePullPolicy": shape.platform.get("imagePullPolicy", "IfNotPresent"),
        "args": ["proxy"],
        "env": _environment(revision),
        "ports": [
            {"name": data_port_name(revision), "containerPort": DATA_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(shape.proxy.get("resources") or {}),
        # The last words of a crashed proxy then stand in the pod's status: the operator needs no right to read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe("/livez", period=1, failures=60),
        "readinessProbe": _probe("/readyz", period=1, failures=2),
        "livenessProbe": _probe("/livez", period=10, failures=3),
        "volumeMounts": [
            _mount("config", f"{ROOT}/config"),
            _mount("policy", f"{ROOT}/policy"),
            _mount("api-keys", f"{ROOT}/api-keys"),
            *([_mount("limits-store", f"{ROOT}/limits-store")] if shape.platform.get("limitsStore") else []),
            *(_mount(_volume_name(secret), f"{ROOT}/secrets/{secret}") for secret in secrets),
        ],
    }


def data_port_name(revision: Revision) -> str:
    """What a revision's pods call their data port: the Service finds those that speak TLS, or do not, by it."""
    return "https" if tls_secret(revision) else "http"


def _environment(revision: Revision) -> list[dict[str, Any]]:
    platform, certificate = revision.shape.platform, tls_secret(revision)
    values = {
        "ROOT": ROOT,
        "PORT": DATA_PORT,
        "ADMIN_PORT": ADMIN_PORT,
        "DRAIN_DELAY_SECONDS": platform.get("drainDelaySeconds", 10),
        "MAX_REQUEST_SECONDS": platform.get("maxRequestSeconds", 300),
        # Upstreams must not be a way to the API server. The kubelet fills in its address.
        "DENIED_ADDRESSES": "$(KUBERNETES_SERVICE_HOST)",
        **platform.get("settings", {}),
        **({"TLS_SECRET": certificate} if certificate else {}),
    }
    memory = {"resourceFieldRef": {"containerName": CONTAINER, "resource": "limits.memory"}}
    return [
        *({"name": f"MODEL_SERVING_{name}", "value": str(value)} for name, value in values.items()),
        # How much calls may hold follows from it. The kubelet fills it in, in bytes.
        {"name": "MODEL_SERVING_MEMORY_LIMIT_BYTES", "valueFrom": memory},
        *({"name": f"OTEL_{name}", "value": value} for name, value in _traces(platform).items()),
    ]


def _traces(platform: Mapping[str, Any]) -> dict[str, str]:
    """OpenTelemetry's own variables."""
    if not platform.get("tracesEndpoint"):
        return {}
    return {
        "EXPORTER_OTLP_ENDPOINT": platform["tracesEndpoint"],
        "TRACES_SAMPLER": "parentbased_traceidratio",
        "TRACES_SAMPLER_ARG": str(platform.get("tracesPercent", 0) / 100),
    }


def _resources(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The endpoint's wishes, with defaults where they cannot contradict them."""
    requests, limits = dict(asked.get("requests") or {}), dict(asked.get("limits") or {})
    if "memory" not in requests and "memory" not in limits:
        requests["memory"], limits["memory"] = "64Mi", "256Mi"
    if "cpu" not in requests and "cpu" not in limits:
        requests["cpu"] = "100m"
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "admin", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def _mount(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path, "readOnly": True}


def _volumes(owner: Owner, revision: Revision, secrets: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    config, policy = f"{owner.name}-{config_suffix(revision.name)}", f"{owner.name}-{POLICY_SUFFIX}"
    return [
        {"name": "config", "configMap": {"name": config, "defaultMode": _READ_BY_GROUP}},
        {"name": "policy", "configMap": {"name": policy, "defaultMode": _READ_BY_GROUP}},
        {"name": "api-keys", "secret": _optional_secret(API_KEYS_SECRET)},
        *(
            [{"name": "limits-store", "secret": _optional_secret(LIMITS_STORE_SECRET)}]
            if revision.shape.platform.get("limitsStore")
            else []
        ),
        *({"name": _volume_name(secret), "secret": _optional_secret(secret, keys)} for secret, keys in secrets.items()),
    ]


def _optional_secret(name: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    # Optional: the pod starts without it and says what is missing, which nobody else could.
    volume: dict[str, Any] = {"secretName": name, "optional": True, "defaultMode": _READ_BY_GROUP}
    return volume | ({"items": [{"key": key, "path": key} for key in keys]} if keys else {})


def _volume_name(secret: str) -> str:
    # A Secret's name may be longer than a volume's and hold dots.
    return f"secret-{digest(secret)}"
