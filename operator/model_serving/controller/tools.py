"""Everything that a reconciliation works with, put together once by `operator.py`."""

from __future__ import annotations

from dataclasses import dataclass

from model_serving.controller.cache import Cache, Key
from model_serving.controller.children import Children
from model_serving.controller.events import Recorder
from model_serving.controller.evidence import Observer
from model_serving.controller.history import Histories
from model_serving.controller.metrics import Metrics
from model_serving.controller.queue import Queue
from model_serving.controller.settings import Settings
from model_serving.controller.sweep import Sweeper
from model_serving.kube.client import Client
from model_serving.kube.issuers.renewal import Issuers


@dataclass(frozen=True, slots=True)
class Tools:
    """The reconciler's hands and eyes."""

    settings: Settings
    client: Client
    cache: Cache
    queue: Queue[Key]
    sweeper: Sweeper
    children: Children
    histories: Histories
    observer: Observer
    issuers: Issuers
    recorder: Recorder
    metrics: Metrics
