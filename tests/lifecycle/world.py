"""A small world for life-cycle tests: an endpoint, its stored history and proxies that do what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.status import Condition, EndpointStatus
from model_serving.lifecycle.decide import Decision, decide
from model_serving.lifecycle.observed import Deadlines, Finding, Observed, Rollout
from model_serving.lifecycle.revision import History, Shape
from model_serving.proxy_config import ProxyStatus

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def config(model: str = "gpt-4", task: str = "llm/v1/chat", name: str = "chat") -> dict[str, Any]:
    return {
        "servedEntities": [
            {
                "name": name,
                "externalModel": {
                    "name": model,
                    "provider": "openai",
                    "task": task,
                    "openaiConfig": {"openaiApiKeySecretRef": {"name": "my-scope", "key": "openai"}},
                },
            }
        ]
    }


@dataclass
class World:
    """Everything a platform would store between two looks at an endpoint."""

    spec: dict[str, Any] = field(default_factory=lambda: {"config": config()})
    annotations: dict[str, str] = field(default_factory=dict)
    generation: int = 1
    now: datetime = START
    history: History = ()
    status: EndpointStatus = field(default_factory=EndpointStatus)
    rollout: Rollout | None = None
    shape: Shape = field(default_factory=lambda: Shape(image="proxy:1"))
    may_reshape: bool = True
    limits_store: str = ""
    external_url: str = ""
    refusal: str = ""
    problems: tuple[Finding, ...] = ()
    says: tuple[ProxyStatus, ...] | None = None
    """What the ready proxies say of themselves."""

    @property
    def endpoint(self) -> ServingEndpoint:
        return ServingEndpoint.model_validate(
            {
                "metadata": {
                    "name": "chat",
                    "namespace": "gen-ai",
                    "uid": "8c9e-11",
                    "generation": self.generation,
                    "annotations": self.annotations,
                },
                "spec": self.spec,
                "status": self.status,
            }
        )

    def look(self) -> Decision:
        """One look: decides, stores what was decided; the proxies' template follows the target at once."""
        observed = Observed(
            endpoint=self.endpoint,
            history=self.history,
            shape=self.shape,
            now=self.now,
            rollout=self.rollout,
            refusal=self.refusal,
            problems=self.problems,
            proxies=self.says,
            url="http://chat.gen-ai.svc.cluster.local/serving-endpoints/chat/invocations",
            external_url=self.external_url,
            may_reshape=self.may_reshape,
            limits_store=self.limits_store,
        )
        decision = decide(observed, Deadlines())
        self.history, self.status = decision.history, decision.status
        if decision.target and (self.rollout is None or self.rollout.revision != decision.target.name):
            ready = self.rollout.ready if self.rollout else 0
            self.rollout = Rollout(decision.target.name, True, self.replicas, max(ready, 1), ready, 0, 0)
        return decision

    @property
    def replicas(self) -> int:
        return int(self.spec.get("proxy", {}).get("replicas", 1))

    def edit(self, **spec: Any) -> None:
        """A change of the spec by its owner."""
        self.spec = {**self.spec, **spec}
        self.generation += 1

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def proxies(self, **facts: Any) -> None:
        """The proxies change."""
        assert self.rollout is not None
        self.rollout = replace(self.rollout, **facts)

    def succeed(self) -> Decision:
        """The roll-out completes and is looked at."""
        n = self.replicas
        self.proxies(pods=n, ready=n, updated=n, updated_ready=n, deadline_exceeded=False, findings=())
        return self.look()

    def fail(self, reason: str = "ProxyCrashLooping", message: str = "exit code 1") -> Decision:
        """The roll-out stands still beyond its deadline and is looked at."""
        self.proxies(updated=1, updated_ready=0, deadline_exceeded=True, findings=(Finding(reason, message),))
        return self.look()

    def served(self) -> World:
        """An endpoint whose first version serves."""
        self.look()
        self.look()
        self.succeed()
        return self

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.status.conditions if c.type == kind), None)

    @property
    def row(self) -> str:
        """The columns of the situation table, conditions first."""
        words = [
            c.status if (c := self.condition(k)) else "-" for k in ("Available", "Ready", "Reconciling", "Stalled")
        ]
        ready = self.condition("Ready")
        entities = ",".join(
            f"{e.config_version}:{e.state.deployment.removeprefix('DEPLOYMENT_')}" for e in self.status.served_entities
        )
        state = f"{self.status.state.ready}/{self.status.state.config_update}/{entities or '-'}"
        return " ".join([*words, ready.reason if ready else "-", state])

    @property
    def outcomes(self) -> list[tuple[int, str]]:
        return [(r.config_version, str(r.outcome)) for r in self.history]
