"""What translating costs: a proxy in front of each vendor, beside the one that passes through, in the same rounds.

Part of `make bench`; alone with `make bench PROVIDERS=1`."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rich.table import Table

from tests.bench import cache, ours, targets
from tests.bench.peers.base import Say
from tests.bench.report import titled
from tests.bench.rounds import Driver, Effort, Sample, measure_all
from tests.bench.run import Surroundings, surroundings
from tests.bench.summary import PROXY
from tests.bench.targets import Target, running
from tests.bench.vendors import VENDORS, Vendor
from tests.bench.workload import BURST, SHAPES, SPARSE, TYPICAL, Shape

BUDGET = 3.0
"""A translated call or stream may cost so many times the CPU of one that is passed through."""
LARGE = SHAPES[4]
MEASURED = (TYPICAL, LARGE, SPARSE, BURST)


class Times(msgspec.Struct, frozen=True):
    """One vendor with one shape: CPU per unit, median of the rounds in µs, and how many times the pass-through's.

    `ratio` is the median of the rounds' own ratios."""

    vendor: str
    shape: str
    unit: str
    cost_us: float
    ratio: float
    lowest: float
    highest: float


class Translation(msgspec.Struct, frozen=True):
    """All of one run. `faults`: windows in which calls failed; their costs mean nothing."""

    interpreter: str
    times: list[Times]
    faults: list[str]

    @property
    def worst(self) -> float:
        """The highest ratio."""
        return max((each.ratio for each in self.times), default=0.0)


@dataclass(frozen=True, slots=True)
class _Place:
    around: Surroundings
    folder: Path
    tokens: str


def compare(effort: Effort, say: Say, shapes: Sequence[Shape] = MEASURED) -> Translation:
    """Measures all vendors. Unavailable when something that is needed is missing."""
    with surroundings(say) as (around, folder), _token_service() as tokens, contextlib.ExitStack() as stack:
        place = _Place(around, folder, tokens)
        found = [stack.enter_context(ours.proxy(_stage(place, PROXY, around.provider), PROXY))]
        for vendor in VENDORS.values():
            say(f"starting a proxy in front of {vendor.name}")
            found.append(stack.enter_context(_proxy(vendor, place)))
        driver = Driver(cache.compiled("load", around.store), around.cores.driver, folder)
        samples = measure_all(driver, found, shapes, effort, say)
    return Translation(around.python.name, _times(samples, shapes), _faults(samples))


@contextlib.contextmanager
def _proxy(vendor: Vendor, place: _Place) -> Iterator[Target]:
    around = place.around
    folder = place.folder / f"mock {vendor.name}"
    folder.mkdir()
    vendor.write_answers(folder)
    log = folder / "log"
    with running(
        vendor.name, around.cores.driver, log, lambda port: [*targets.direct(around.mock, port), str(folder)]
    ) as mock:
        stage = _stage(place, vendor.name, mock.port)
        vendor.write_credentials(stage.folder / "root", place.tokens)
        upstream = vendor.target(f"http://127.0.0.1:{mock.port}")
        with ours.proxy(stage, vendor.name, upstream=upstream) as target:
            yield target


def _stage(place: _Place, name: str, provider: int) -> ours.Stage:
    folder = place.folder / f"proxy {name}"
    folder.mkdir()
    return ours.Stage(folder, place.around.cores.target, provider, place.around.python)


def _times(samples: Sequence[Sample], shapes: Sequence[Shape]) -> list[Times]:
    found = []
    for shape in shapes:
        costs = {(s.target, s.round): s.cost_us for s in samples if s.shape == shape.name}
        rounds = sorted({number for _, number in costs})
        for vendor in (PROXY, *VENDORS):
            ratios = [costs[vendor, number] / costs[PROXY, number] for number in rounds]
            cost = median(costs[vendor, number] for number in rounds)
            found.append(Times(vendor, shape.name, shape.unit, cost, median(ratios), min(ratios), max(ratios)))
    return found


def _faults(samples: Sequence[Sample]) -> list[str]:
    return [
        f"{s.target}, {s.shape}: {s.failed} calls failed, {s.units} counted" for s in samples if s.failed or not s.units
    ]


def table(found: Translation) -> Table:
    """The figures for people."""
    title = (
        f"Translating: CPU in µs, and how many times that of passing through (range of the rounds); "
        f"at most {BUDGET:g}× is promised ({found.interpreter})"
    )
    shapes = {each.shape: each.unit for each in found.times}
    shown = titled(title, ("", *(f"{shape}\nper {unit}" for shape, unit in shapes.items())))
    for vendor in dict.fromkeys(each.vendor for each in found.times):
        of_it = {each.shape: each for each in found.times if each.vendor == vendor}
        shown.add_row(vendor, *(_cell(of_it[shape]) for shape in shapes))
    return shown


def _cell(times: Times) -> str:
    if times.vendor == PROXY:
        return f"{times.cost_us:.1f}"
    colour = "red" if times.ratio > BUDGET else "green"
    return f"{times.cost_us:.1f}  [{colour}]{times.ratio:.2f}×[/] ({times.lowest:.2f}–{times.highest:.2f})"


@contextlib.contextmanager
def _token_service() -> Iterator[str]:
    """Gives out tokens, as Google does for a service account; what it yields is the file of such an account."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            body = json.dumps(
                {"access_token": "token-of-the-bench", "expires_in": 3600, "token_type": "Bearer"}
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield _account(f"http://127.0.0.1:{server.server_port}/token")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _account(token_uri: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account", "project_id": "bench", "private_key_id": "bench", "private_key": key.decode(),
            "client_email": "bench@bench.iam.gserviceaccount.com", "token_uri": token_uri,
        }
    )  # fmt: skip
