"""What is measured: each target as running processes that answer calls on a port. Used by `rounds.py`.

All forward to the same mock provider, but for `direct`, which is a mock itself: the floor."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import Cores, Unavailable, family, free_port, on_core, resident_bytes, stop
from tests.bench.workload import PATH, TYPICAL

START_SECONDS = 30.0
LOOK_SECONDS = 0.005

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_buffer_size 64k; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A running target. `start_seconds`: from its start to its first answer."""

    name: str
    port: int
    pids: list[int]
    start_seconds: float
    idle_bytes: int


def direct(mock: Path, port: int) -> list[str]:
    """The command of a mock provider."""
    return [str(mock), str(port)]


def nginx(program: Path, folder: Path, port: int, provider: int) -> list[str]:
    """The command of nginx that passes everything through."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, provider=provider))
    return [str(program), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]


def envoy(program: Path, folder: Path, port: int, provider: int) -> list[str]:
    """The command of Envoy that passes everything through."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy_config(port, provider)))
    return [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]


def _envoy_config(port: int, provider: int) -> dict[str, object]:
    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    api = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{api}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "http", "typed_config": manager}]
    hosts = [{"endpoint": {"address": address(provider)}}]
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "provider", "endpoints": [{"lb_endpoints": hosts}]},
    }
    listeners = [{"name": "data", "address": address(port), "filter_chains": [{"filters": filters}]}]
    return {"static_resources": {"listeners": listeners, "clusters": [cluster]}}


@contextlib.contextmanager
def running(name: str, core: int, log: Path, command: Callable[[int], Sequence[str]]) -> Iterator[Target]:
    """A target that is one command, given its port; ended at the end. Unavailable when it does not answer."""
    port = free_port()
    arguments = command(port)
    began = time.monotonic()
    with on_core(core), log.open("wb") as output:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_for_answer(name, port, log, process.poll)
        yield started(name, port, [process.pid], began)
    finally:
        stop(process)


def started(name: str, port: int, pids: Sequence[int], began: float) -> Target:
    """A target that answers now, with its processes and their children; `began`: the clock when it was started."""
    seconds = time.monotonic() - began
    everyone = [member for pid in pids for member in family(pid)]
    return Target(name, port, everyone, seconds, resident_bytes(everyone))


def wait_for_answer(name: str, port: int, log: Path, ended: Callable[[], int | None]) -> None:
    """Waits for the first answered call. Unavailable when there is none in time, or when the process has ended."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if ended() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
            raise Unavailable(f"{name} does not answer calls: {said[-1]}")
        time.sleep(LOOK_SECONDS)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"authorization": "Bearer key-0", "content-type": "application/json"}
        connection.request("POST", PATH, TYPICAL.body(), headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def provider(mock: Path, cores: Cores, folder: Path) -> Iterator[int]:
    """The mock provider that all targets forward to; gives its port."""
    with running("provider", cores.driver, folder / "provider.log", lambda port: direct(mock, port)) as target:
        yield target.port
