"""What is kept of calls that have ended. Called once per call, whatever became of it."""

from __future__ import annotations

from model_serving.proxy.course import Course
from model_serving.proxy.metrics import Metrics


class Journal:
    """Tells everybody who keeps something."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def ended(self, course: Course, now: float) -> None:
        """A call has ended at `now` (the loop's clock)."""
        entity = course.target.entity if course.target is not None else ""
        task = course.runtime.task if course.runtime is not None else ""
        self._metrics.call(entity, task, course.status, now - course.began)
        if course.pieces:
            self._metrics.first_byte(entity, task, course.first_byte - course.began)
        if course.usage is not None:
            self._metrics.usage(entity, course.usage)
