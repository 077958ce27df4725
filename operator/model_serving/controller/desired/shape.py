"""What shapes an endpoint's pods besides its config, as plain data: it becomes a part of the revision, and
`deployment.py` builds the pod template from the revision alone. So an old revision can be taken back to, and nothing
that is live can slip into a template."""

from __future__ import annotations

from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.controller.settings import Settings
from model_serving.lifecycle.proxy_config import authorities_of
from model_serving.lifecycle.revision import Shape

TEMPLATE_VERSION = 2
"""Raise it when `deployment.py` changes what it makes of the same shape: endpoints then follow a few at a time."""


def shape_of(endpoint: ServingEndpoint, settings: Settings) -> Shape:
    """The shape that the endpoint's pods should have now."""
    return Shape(image=settings.image, proxy=_proxy(endpoint), platform=_platform(settings))


def _proxy(endpoint: ServingEndpoint) -> dict[str, Any]:
    asked = endpoint.spec.proxy
    values = {
        "resources": asked.resources.manifest() if asked.resources else {},
        "nodeSelector": dict(asked.node_selector or {}),
        "tolerations": [t.manifest() for t in asked.tolerations or []],
        "priorityClassName": asked.priority_class_name or "",
        "tls": asked.tls.secret_name if asked.tls else "",
        "upstreamCa": authorities_of(endpoint),
        # A cloud's webhook reads them when a pod is made, so pods must be made anew when they change.
        "serviceAccountAnnotations": dict(asked.service_account_annotations or {}),
    }
    return {key: value for key, value in values.items() if value}


def _tuned(settings: Settings) -> dict[str, Any]:
    """What the admin chose for proxies; nothing chosen leaves no trace, so that pods stay as they are."""
    chosen = dict(word.split("=", 1) for word in sorted(settings.proxy_settings))
    if settings.upstream_proxy:
        chosen |= {"UPSTREAM_PROXY": settings.upstream_proxy, "UPSTREAM_NO_PROXY": ",".join(settings.upstream_no_proxy)}
    return {"settings": chosen} if chosen else {}


def _platform(settings: Settings) -> dict[str, Any]:
    shape = {
        **_tuned(settings),
        "template": TEMPLATE_VERSION,
        "imagePullPolicy": settings.image_pull_policy,
        "imagePullSecrets": list(settings.image_pull_secrets),
        "runAsUser": settings.run_as_user,
        "drainDelaySeconds": settings.drain_delay_seconds,
        "maxRequestSeconds": settings.max_request_seconds,
    }
    # What is not asked for is not there, so that pods stay as they are. With a store they mount its password.
    chosen = {
        "limitsStore": bool(settings.limits_store),
        "tracesEndpoint": settings.traces_endpoint,
        "tracesPercent": settings.traces_percent if settings.traces_endpoint else 0,
    }
    return shape | {name: value for name, value in chosen.items() if value}
