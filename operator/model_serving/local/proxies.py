"""The proxies of one endpoint: what a Deployment is on Kubernetes. Called by `runner.py`.

The old revision answers until the new one is ready; then the router's table swaps and the old one drains.
"""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from model_serving.lifecycle.decide import Decision
from model_serving.lifecycle.observed import Rollout
from model_serving.lifecycle.revision import Revision, serving
from model_serving.local.folder import write_private
from model_serving.local.instance import Instance, ProxyPlan
from model_serving.local.supervised import Hooks
from model_serving.proxy_config import Policy, ProxyStatus

_HAND_OVER_SECONDS = 1.0


class EndpointProxies:
    """One process per revision that is wanted; those on their way out count nowhere."""

    def __init__(self, plan: ProxyPlan, hooks: Hooks, progress_deadline: float) -> None:
        self._plan = plan
        self._hooks = hooks
        self._progress_deadline = progress_deadline
        self._target: str | None = None
        self._instances: dict[str, Instance] = {}
        self._leaving: dict[asyncio.Task[None], Instance] = {}
        self._policy_file = plan.folder / "policy" / "policy.json"
        self.policy = self._stored_policy()

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Asks all processes how they are."""
        await asyncio.gather(*(instance.ask(session) for instance in self._instances.values()))

    def rollout(self) -> Rollout | None:
        """How the roll-out stands; None before the first one."""
        if self._target is None:
            return None
        target = self._instances.get(self._target)
        return Rollout(
            revision=self._target,
            settled=True,
            replicas=1,
            pods=len(self._instances),
            ready=sum(instance.ready for instance in self._instances.values()),
            updated=int(target is not None),
            updated_ready=int(target is not None and target.ready),
            deadline_exceeded=target is not None and target.waits_longer_than(self._progress_deadline),
            findings=target.findings() if target else (),
        )

    def statuses(self) -> tuple[ProxyStatus, ...]:
        """What the ready processes say of themselves."""
        return tuple(i.status for i in self._instances.values() if i.ready and i.status)

    def addresses(self) -> list[str]:
        """Where calls go now: the target as soon as it is ready, else whatever is."""
        target = self._instances.get(self._target or "")
        ready = [target] if target and target.ready else [i for i in self._instances.values() if i.ready]
        return [f"127.0.0.1:{instance.child.port}" for instance in ready if instance.child]

    def admin_ports(self) -> dict[str, int]:
        """Where the processes that listen tell of themselves, by revision."""
        return {name: each.child.admin_port for name, each in self._instances.items() if each.child}

    def act(self, decision: Decision) -> bool:
        """Starts what is wanted and retires what is not; True if that changed what runs."""
        if decision.policy is not None and decision.policy != self.policy:
            self._write_policy(decision.policy)
        base = serving(decision.history)
        # A problem with the spec leaves everything as it is, and after a restart that is what served.
        target = decision.target or (base if self._target is None else None)
        if target is None:
            return False
        self._target = target.name
        running = self._instances.get(target.name)
        wanted = {target.name: target}
        if base is not None and not (running and running.ready):
            wanted[base.name] = base
        return self._run(wanted)

    async def stop(self) -> None:
        """Drains all processes and waits for their end."""
        await asyncio.gather(*(instance.retire() for instance in self._instances.values()), *self._leaving)

    def kill(self) -> None:
        """Ends all processes at once."""
        for instance in (*self._instances.values(), *self._leaving.values()):
            instance.kill()

    def _run(self, wanted: dict[str, Revision]) -> bool:
        added = [revision for name, revision in wanted.items() if name not in self._instances]
        for revision in added:
            self._instances[revision.name] = Instance(self._plan, revision, self._hooks)
        removed = [name for name in self._instances if name not in wanted]
        for name in removed:
            self._retire(self._instances.pop(name))
        return bool(added or removed)

    def _retire(self, instance: Instance) -> None:
        task = asyncio.create_task(self._see_out(instance))
        self._leaving[task] = instance
        task.add_done_callback(self._forget)

    async def _see_out(self, instance: Instance) -> None:
        # The router has to read the table that no longer names the process.
        await asyncio.sleep(_HAND_OVER_SECONDS)
        await instance.retire()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._leaving.pop(task, None)
        self._hooks.wake()

    def _write_policy(self, policy: Policy) -> None:
        write_private(self._policy_file, msgspec.json.encode(policy))
        self.policy = policy

    def _stored_policy(self) -> Policy | None:
        try:
            return msgspec.json.decode(self._policy_file.read_bytes(), type=Policy)
        except (OSError, msgspec.MsgspecError):
            return None
