"""Traces of calls, where OpenTelemetry is installed and asked for (placeholder: none yet)."""

from __future__ import annotations

from typing import Protocol

from model_serving.proxy.course import Course


class Tracer(Protocol):
    """What the journal tells."""

    def ended(self, course: Course, now: float) -> None:
        """A call has ended."""

    def close(self) -> None:
        """The process ends."""
