"""What a running proxy knows: the compiled config and policy, credentials and keys, and what is wrong with any of them.

Re-reads files that changed (`refresh`, called every second). The old state stays in force when a new file is bad.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from model_serving.proxy.api_keys import ApiKeys
from model_serving.proxy.auth import Authenticator, TrustedRouter
from model_serving.proxy.credentials.store import CredentialStore
from model_serving.proxy.files import Watched
from model_serving.proxy.hosts import Leave
from model_serving.proxy.identity import Identity
from model_serving.proxy.runtime import CompileError, Runtime, compile_runtime, moved_schemes, shared_among
from model_serving.proxy.tls import ServerTls
from model_serving.proxy.tokens.verifier import TokenVerifier
from model_serving.proxy.upstream_trust import UpstreamTrust
from model_serving.proxy_config import CredentialReport, Layout, Policy, ProxyConfig, ProxyStatus

T = TypeVar("T", ProxyConfig, Policy)


class State:
    """The current state of one proxy."""

    def __init__(self, layout: Layout, tls_secret: str = "", workers: int = 1, ca_file: str = "") -> None:
        self._workers = workers
        self.tls = ServerTls(tls_secret, layout) if tls_secret else None
        """The certificate of the data port; None for plain HTTP."""
        self.trust = UpstreamTrust(layout, ca_file)
        """Whose certificates upstreams may show."""
        self.runtime: Runtime | None = None
        self.credentials = CredentialStore(layout)
        self.identity = Identity(router="")
        self.draining = False
        self.listening = False
        self._config_file = Watched(layout.config)
        self._policy_file = Watched(layout.policy)
        self._config: ProxyConfig | None = None
        self._policy: Policy | None = None
        self._keys = ApiKeys(layout.api_keys)
        self._tokens: TokenVerifier | None = None
        self._problems: dict[str, str] = {}

    def refresh(self, now: float, wall: float) -> None:
        """Takes over what changed on disk."""
        changed_config = self._config_file.changed()
        if self._policy_file.changed() or changed_config:
            self._recompile()
        if self._keys.refresh():
            self._set_authenticators()
        self.credentials.refresh(now, wall)
        if self.tls is not None:
            self.tls.refresh(wall)
        self.trust.refresh(wall)

    @property
    def leave(self) -> Leave:
        """Which hosts may be called."""
        return Leave(self._policy.upstream_leave) if self._policy is not None else Leave.PUBLIC

    def trust_router(self, key: str) -> None:
        """Believes principal headers that come with `key` from now on."""
        self.identity.trust(TrustedRouter(key))

    def problems(self) -> list[str]:
        """Why this proxy is not ready, or what it could not take over."""
        found = [*self._problems.values(), *([self._keys.problem] if self._keys.problem else [])]
        for report in self._reports():
            if report.problem:
                found.append(f"the key {report.key} of Secret {report.secret} is {report.problem}")
        found += [f"{token.name}: {token.problem}" for token in self.credentials.tokens() if token.problem]
        if self.runtime is not None:
            found += [f"target {t.entity}: {t.refusal}" for t in self.runtime.targets if t.refusal]
        return found

    @property
    def ready(self) -> bool:
        """Whether calls should come here."""
        runtime = self.runtime
        if runtime is None or self.draining or not self.listening:
            return False
        if self.tls is not None and not self.tls.loaded:
            return False
        if not self.trust.loaded:
            return False
        return self.credentials.loaded and not any(target.refusal for target in runtime.targets)

    def status(self, in_flight: int) -> ProxyStatus:
        """What `/status` answers."""
        config = self.runtime.config if self.runtime is not None else self._config
        return ProxyStatus(
            endpoint=config.endpoint if config else "",
            revision=config.revision if config else "",
            config_version=config.config_version if config else 0,
            ready=self.ready,
            draining=self.draining,
            policy_version=self.runtime.policy_version if self.runtime else "",
            credentials=self._reports(),
            tokens=self.credentials.tokens(),
            problems=self.problems(),
            in_flight=in_flight,
        )

    def _reports(self) -> list[CredentialReport]:
        tls = self.tls.reports() if self.tls is not None else []
        return [*self.credentials.reports(), *tls, *self.trust.reports()]

    def _recompile(self) -> None:
        config = self._read("config", self._config_file, ProxyConfig) or self._config
        policy = self._read("policy", self._policy_file, Policy) or self._policy
        self._problems.pop("compile", None)
        if config is None or policy is None:
            return
        try:
            runtime = compile_runtime(config, shared_among(policy, self._workers))
        except CompileError as error:
            self._problems["compile"] = str(error)
            return
        moved = moved_schemes(self.runtime, runtime) if self.runtime is not None else ()
        before, self._config, self._policy, self.runtime = self._policy, config, policy, runtime
        if before is None or (before.issuers, before.router) != (policy.issuers, policy.router):
            self._tokens = TokenVerifier(policy.issuers) if policy.issuers else None
            self._set_authenticators()
        self.credentials.track(runtime.schemes, moved)
        self.trust.follow(config.upstream_ca)

    def _read(self, name: str, file: Watched, kind: type[T]) -> T | None:
        self._problems.pop(name, None)
        try:
            return msgspec.json.decode(file.read(), type=kind)
        except FileNotFoundError:
            problem = "the file is missing"
        except OSError as error:
            problem = f"the file cannot be read: {error.strerror}"
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            problem = f"the file is not valid: {error}"
        self._problems[name] = f"{name}: {problem}"
        return None

    def _set_authenticators(self) -> None:
        authenticators: list[Authenticator] = [self._keys.table]
        if self._tokens is not None:
            authenticators.append(self._tokens)
        self.identity.replace(authenticators, self._policy.router if self._policy is not None else "")
