"""Which image the operator itself runs: proxies run the same unless told otherwise. Called by `operator.py`."""

from __future__ import annotations

from dataclasses import replace

from model_serving.controller.settings import PREFIX, Settings, SettingsError
from model_serving.kube.client import Client
from model_serving.kube.errors import KubeError
from model_serving.kube.resources import PODS

CONTAINER = "operator"


async def with_image(settings: Settings, client: Client) -> Settings:
    """The settings with an image in any case. Raises `SettingsError`."""
    if settings.image:
        return settings
    remedy = f"set {PREFIX}IMAGE to the image of the proxies"
    try:
        pod = await client.get(PODS, settings.operator_namespace, settings.identity)
    except KubeError as error:
        raise SettingsError(f"reading the operator's own image from its pod: {error}: {remedy}") from None
    for container in pod["spec"]["containers"]:
        if container["name"] == CONTAINER:
            return replace(settings, image=container["image"])
    raise SettingsError(f"the operator's pod has no container named {CONTAINER}: {remedy}")
