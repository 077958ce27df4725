"""Settings of the router's feed in a cluster, from its environment. Read once at start by `cli.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_serving.kube.issuers.settings import IssuerSetting, parse_issuers, quoted

PREFIX = "MODEL_SERVING_"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting that cannot be; the text names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Which namespace is served, and whose tokens count besides those of the cluster's ServiceAccounts."""

    namespace: str
    issuers: tuple[IssuerSetting, ...] = ()
    issuers_renew_seconds: float = 600.0
    cluster_domain: str = "cluster.local"
    """For the names in the certificates of proxies that speak TLS."""


def from_environ(environ: Mapping[str, str], own_namespace: str = "") -> FeedSettings:
    """The settings; `own_namespace` is the pod's. SettingsError names every bad one."""
    given: dict[str, Any] = {}
    complaints: list[str] = []
    for name, parse in (
        ("namespace", _namespace), ("issuers", parse_issuers),
        ("issuers_renew_seconds", _renew_seconds), ("cluster_domain", _domain),
    ):  # fmt: skip
        text = environ.get(PREFIX + name.upper(), "").strip()
        try:
            if text:
                given[name] = parse(text)
        except ValueError as error:
            complaints.append(f"{PREFIX}{name.upper()}: {error}, not {quoted(text)}")
    if complaints:
        raise SettingsError("\n".join(complaints))
    return FeedSettings(**{"namespace": own_namespace, **given})


def _namespace(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("set it to the name of the namespace that is served")
    return text


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise ValueError("set it to the domain of the cluster's Services, such as cluster.local")
    return text


def _renew_seconds(text: str) -> float:
    if text.isascii() and text.isdigit() and 5 <= int(text) <= 86400:
        return float(text)
    raise ValueError("set it to a whole number of seconds from 5 to 86400")
