"""Envoy, twice: passing everything through, and with filters of its own that do part of our work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench import cache, identity
from tests.bench.peers.base import Peer, Place
from tests.bench.workload import Speech

Json = dict[str, Any]
_API = "type.googleapis.com/envoy.extensions"
_OFTEN = 1_000_000_000


def _command(program: Path, place: Place, filters: list[Json], log: list[Json]) -> list[str]:
    config = place.folder / "envoy.json"
    config.write_text(json.dumps(_config(place, filters, log)))
    return [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def _config(place: Place, filters: list[Json], log: list[Json]) -> Json:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    manager = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [
            *filters,
            {"name": "router", "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router"}},
        ],
        "access_log": log,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "data", "address": _address(place.port), "filter_chains": [chain]}
    hosts = [{"endpoint": {"address": _address(place.provider)}}]
    load = {"cluster_name": "provider", "endpoints": [{"lb_endpoints": hosts}]}
    cluster = {"name": "provider", "type": "STATIC", "load_assignment": load}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _filters() -> list[Json]:
    """Verify the caller's token, then count the call against a limit."""
    provider = {
        "issuer": identity.ISSUER,
        "audiences": [identity.AUDIENCE],
        "local_jwks": {"inline_string": json.dumps({"keys": [identity.issuer().public_key]})},
        "forward": True,
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}
    whole = {"numerator": 100, "denominator": "HUNDRED"}
    enabled = {"default_value": whole, "runtime_key": "bench"}
    return [
        {
            "name": "jwt",
            "typed_config": {
                "@type": f"{_API}.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": {"bench": provider},
                "rules": [rule],
            },
        },
        {
            "name": "limit",
            "typed_config": {
                "@type": f"{_API}.filters.http.local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": "limit",
                "token_bucket": {"max_tokens": _OFTEN, "tokens_per_fill": _OFTEN, "fill_interval": "60s"},
                "filter_enabled": enabled,
                "filter_enforced": enabled,
            },
        },
    ]


def _log(folder: Path) -> list[Json]:
    fields = {
        "time": "%START_TIME%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "ms": "%DURATION%",
        "id": "%REQ(X-REQUEST-ID)%", "in": "%BYTES_RECEIVED%", "out": "%BYTES_SENT%",
    }  # fmt: skip
    written = {
        "@type": f"{_API}.access_loggers.file.v3.FileAccessLog",
        "path": str(folder / "access.log"),
        "log_format": {"json_format": fields},
    }
    return [{"name": "file", "typed_config": written}]


ENVOY = Peer("Envoy", "passes everything through", cache.envoy, lambda program, at: _command(program, at, [], []))
ENVOY_FILTERS = Peer(
    "Envoy + filters",
    "JWT (RS256), one limit of calls, access log as JSON; no users, no tokens counted",
    cache.envoy,
    lambda program, at: _command(program, at, _filters(), _log(at.folder)),
    lambda: Speech(tokens=identity.issuer().tokens),
)
