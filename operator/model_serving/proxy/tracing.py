"""Traces of calls: what the pipeline and the journal tell, and who listens where OpenTelemetry is asked for.

Without the extra `model-serving[otel]`, or without an endpoint to send to, there is no tracer and nothing is done.
"""

from __future__ import annotations

import importlib
import logging
from typing import Protocol

from model_serving.proxy.course import Course

log = logging.getLogger(__name__)


class Tracer(Protocol):
    """What is told."""

    def began(self, course: Course) -> None:
        """A call has begun: sets `course.trace`."""

    def ended(self, course: Course, now: float) -> None:
        """The call has ended."""

    def close(self) -> None:
        """The process ends: sends what is left."""


def open_tracer(wanted: bool) -> Tracer | None:
    """The tracer, if it is wanted and OpenTelemetry is installed."""
    if not wanted:
        return None
    try:
        module = importlib.import_module("model_serving.proxy.otel")
    except ImportError as error:
        log.error("no traces: OpenTelemetry is not installed (%s): install model-serving[otel]", error.name)
        return None
    tracer: Tracer = module.open_otel()
    return tracer
