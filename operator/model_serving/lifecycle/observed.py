"""What a platform has looked at before anything is decided. Filled by `controller/` and `local/`, read by `decide`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model_serving.api.endpoint import ServingEndpoint
from model_serving.lifecycle.revision import History, Shape
from model_serving.proxy_config import Issuer, ProxyStatus


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something is not as it should be: a documented reason (`api/conditions.py`) and the cause with its remedy."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """The proxies of an endpoint as the platform runs them now.

    `revision` is the name of the revision that the platform was last asked to run, `settled` whether the platform has
    acted on that yet. Proxies that are already on their way out count nowhere.
    """

    revision: str
    settled: bool
    replicas: int
    """How many proxies are asked for."""
    pods: int
    """How many there are, of any revision."""
    ready: int
    """How many of them are ready, of any revision."""
    updated: int
    """How many there are of `revision`."""
    updated_ready: int
    """How many of those are ready."""
    deadline_exceeded: bool = False
    """Nothing has moved for longer than the progress deadline."""
    refusal: str = ""
    """The platform's own words for refusing to make a proxy: quota, policy."""
    findings: tuple[Finding, ...] = ()
    """Why proxies of `revision` are not ready, most telling first."""

    @property
    def complete(self) -> bool:
        """Every proxy runs `revision` and is ready, and no other one answers calls any more."""
        return self.settled and self.updated_ready >= max(self.replicas, 1) and self.ready == self.updated_ready


@dataclass(frozen=True, slots=True)
class Observed:
    """One endpoint and everything that a decision about it may rest on."""

    endpoint: ServingEndpoint
    history: History
    shape: Shape
    """What would shape the proxies if they were rolled out now."""
    now: datetime
    rollout: Rollout | None = None
    """None: there are no proxies yet."""
    proxies: tuple[ProxyStatus, ...] | None = None
    """What the ready proxies say of themselves; None: not asked this time, the last status stands."""
    problems: tuple[Finding, ...] = ()
    """What forbids acting at all: name conflict, invalid or unsupported spec, found by the platform."""
    refusal: str = ""
    """The platform's own words for refusing to make a child object."""
    upstream_leave: str = "public"
    """Which hosts may be called: `public`, `private` or `local`."""
    issuers: tuple[Issuer, ...] = ()
    """Whose tokens callers may show."""
    limits_store: str = ""
    """Address of the common store in which proxies count limits; empty: there is none."""
    may_reshape: bool = True
    """Whether this endpoint may follow a change of image or platform settings now (a few at a time do)."""
    url: str = ""
    """Where callers reach the endpoint's proxies; https when those speak TLS."""
    external_url: str = ""
    """Where they reach it through the workspace's front door, as the admin says; empty: the former is told."""
    selector: str = ""
    """Label selector of the proxies, where the platform has such a thing."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Settings of a platform, in seconds."""

    progress: float = 120.0
    """How long a roll-out may stand still before it has failed."""
    secret_grace: float = 90.0
    """How long a Secret may be missing before the endpoint is stalled."""
