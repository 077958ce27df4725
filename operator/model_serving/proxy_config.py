"""The contract between control plane and data plane: plain values, no Kubernetes.

`lifecycle/proxy_config.py` builds them, a platform writes them as JSON files, `proxy/` reads and compiles them.

Files of a proxy (below one root, see `Layout`):

    config/config.json        `ProxyConfig`: immutable, one per revision
    policy/policy.json        `Policy`: mutable, applied live
    secrets/SECRET/KEY        credentials, re-read when they change; absent until the Secret exists
    api-keys/SHA256           one `ApiKey` per file, named by the hexadecimal SHA-256 of the key
    limits-store/password     of the limits' common store, and `ca.crt` if its certificate needs one; optional
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


class CredentialFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a credential lies: `secrets/SECRET/KEY`."""

    secret: str
    key: str


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One upstream that a call may go to: a served entity with its provider's settings.

    `settings` are the provider block's plain fields by Databricks' snake_case names (`openai_api_base`),
    `credentials` its secrets by the same names (`openai_api_key`, `token`, `value`).
    """

    entity: str
    provider: str
    task: str
    model: str
    weight: int = 100
    settings: dict[str, str] = {}
    credentials: dict[str, CredentialFile] = {}


class ProxyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one revision of an endpoint serves. `revision` is the hash that names it on the platform."""

    endpoint: str
    config_version: int
    revision: str
    targets: list[Target]
    request_timeout_seconds: float = 297.0
    max_body_bytes: int = 4 * 1024 * 1024
    upstream_ca: CredentialFile | None = None
    """Certificates in PEM of authorities that vouch for upstreams besides the usual ones."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """At most `calls`, or `tokens`, in any 60 seconds over all proxies; 0 blocks, None does not limit.

    `key`: `endpoint`, `user`, `user_group` or `service_principal`; `principal` names whom, empty with `user`: each.
    """

    key: str
    calls: int | None = None
    tokens: int | None = None
    principal: str = ""


class LimitsStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The Valkey or Redis in which proxies count together: `valkey://HOST:PORT/DB`, `valkeys://` with TLS.

    `name` sets an endpoint's counters apart from others'. The password, if any, is a file (`Layout.limits_store`).
    """

    url: str
    name: str


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One principal's level: `kind` is user or group; ServiceAccounts are users `system:serviceaccount:NS:NAME`."""

    kind: str
    name: str
    level: str


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who signs tokens that callers may show, and how its claims name a caller: as the API server's claim mapping."""

    issuer: str
    """The `iss` of its tokens."""
    audiences: list[str]
    """A token must be meant for one of these."""
    keys: list[dict[str, str]]
    """Its public keys, as in a JWKS."""
    service_accounts: bool = False
    """The cluster's own: its tokens name ServiceAccounts, whose groups follow from the name. No claim is mapped."""
    username_claim: str = "sub"
    username_prefix: str = ""
    groups_claim: str = ""
    """Empty: its tokens bring no groups."""
    groups_prefix: str = ""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is neither config nor revision and takes effect live. `version` is a digest of the rest."""

    version: str
    limits: list[Limit] = []
    limits_parts: int = 1
    """The largest number of proxies; without a store each grants this part of every limit."""
    limits_store: LimitsStore | None = None
    grants: list[Grant] = []
    upstream_leave: str = "public"
    """Which hosts may be called: `public` (https only), `private` (the admin's leave), `local` (loopback too)."""
    issuers: list[Issuer] = []
    """Whose tokens callers may show."""
    router: str = ""
    """The principal whose headers name the caller in its place; empty: nobody's do."""


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a key belongs to. The file's name is the key's hexadecimal SHA-256; the key itself is nowhere."""

    principal: str
    groups: list[str] = []


class Layout:
    """The files of a proxy below one root folder."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config" / "config.json"
        self.policy = root / "policy" / "policy.json"
        self.secrets = root / "secrets"
        self.api_keys = root / "api-keys"
        self.limits_store = root / "limits-store"

    def credential(self, file: CredentialFile) -> Path:
        """The path of one credential."""
        return self.secrets / file.secret / file.key


class CredentialReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one credential stands; never its value or a digest of it. `problem` is empty when it is loaded."""

    secret: str
    key: str
    loaded_at: str = ""
    problem: str = ""


class TokenReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one token stands that is fetched and renewed; never its value. Times in ISO 8601, empty without a token.

    `problem`, with its remedy, is empty unless the last attempt to fetch it failed; a former token serves on until
    `expires_at`.
    """

    name: str
    fetched_at: str = ""
    expires_at: str = ""
    problem: str = ""
    fetches: int = 0
    """How often it was fetched, or tried to, since the process began; `failures` of them in vain."""
    failures: int = 0


class ProxyStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `GET /status` on the admin port answers; read by platforms as evidence and for causes."""

    endpoint: str
    revision: str
    config_version: int
    ready: bool
    draining: bool = False
    policy_version: str = ""
    credentials: list[CredentialReport] = []
    tokens: list[TokenReport] = []
    problems: list[str] = []
    in_flight: int = 0
    limits_problem: str = ""
    """Why this proxy does not count together with the others although it should; empty when it does."""
    copy_age_seconds: float | None = None
    """A router's: its table is a copy from before its start, told so long ago; None: it is not."""


TLS_CERTIFICATE, TLS_KEY = "tls.crt", "tls.key"
"""The keys of a `kubernetes.io/tls` Secret."""

CREDENTIAL_MISSING = "missing"
"""`CredentialReport.problem` of a Secret or key that is not there (other texts: unreadable, empty)."""


class EntryState(StrEnum):
    """Whether an endpoint can be called."""

    READY = "ready"
    STARTING = "starting"
    """On its first start: calls are held for a while."""
    NOT_READY = "not_ready"
    NOT_SUPPORTED = "not_supported"
    """Not ready, and waiting will not change that: it asks for what is not done here."""


class Entry(msgspec.Struct, frozen=True):
    """One endpoint in the router's table, by the name that clients use.

    `addresses` are HOST:PORT of its ready proxies; `message` says why it is not ready.
    """

    addresses: list[str] = []
    state: EntryState = EntryState.READY
    message: str = ""
    grants: list[Grant] = []
    task: str = ""
    tls: bool = False
    """Whether its proxies speak TLS."""
    server_name: str = ""
    """The name that their certificate must be for, such as the Service's; empty: the address itself."""

    def __post_init__(self) -> None:
        for address in self.addresses:
            split_address(address)


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a router learns of its workspace; each part that is there replaces the former value whole."""

    table: dict[str, Entry] | None = None
    """Endpoints by the name that clients use."""
    issuers: list[Issuer] | None = None
    """Whose tokens callers may show."""
    workspace_id: str | None = None
    """Digits: the number that clients see as the workspace's."""


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT or [HOST]:PORT. ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
