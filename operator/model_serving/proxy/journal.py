"""What is kept of calls that have ended: tallies, the access log, traces. Told once per call, whatever became of it."""

from __future__ import annotations

import msgspec

from model_serving.proxy.access_log import AccessLog
from model_serving.proxy.call import text_of
from model_serving.proxy.course import Course
from model_serving.proxy.errors import code_of
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.settings import ProcessSettings
from model_serving.proxy.stamps import Stamps
from model_serving.proxy.tracing import Tracer, open_tracer
from model_serving.usage_record import CONTEXT_BYTES, NAME_LENGTH, NO_TIME, UsageRecord

_decode_context = msgspec.json.Decoder(dict[str, str]).decode


class Journal:
    """Tells everybody who keeps something. `log` and `tracer` are None where they are switched off."""

    def __init__(self, metrics: Metrics, log: AccessLog | None = None, tracer: Tracer | None = None) -> None:
        self._minutes = metrics.minutes
        self._log = log
        self.tracer = tracer
        self._stamps = Stamps()

    def ended(self, course: Course, now: float) -> None:
        """A call has ended at `now` (the loop's clock)."""
        entity = course.target.entity if course.target is not None else ""
        tally = self._minutes.current.get(entity)
        if tally is None:
            tally = self._minutes.begin(entity)
        tally.count(course, now)
        if self._log is not None:
            self._log.write(record_of(course, self._stamps.of(now), now))
        if self.tracer is not None:
            self.tracer.ended(course, now)

    def tick(self, now: float, wall: float) -> None:
        """A quarter of a second has passed: turns the minute, lets the log go."""
        self._stamps.tick(now, wall)
        self._minutes.turn(wall)
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """The process ends: nothing is lost that somebody still takes."""
        if self._log is not None:
            self._log.close()
        if self.tracer is not None:
            self.tracer.close()


def open_journal(metrics: Metrics, settings: ProcessSettings) -> Journal:
    """The journal of a process, with what its settings switch on."""
    fd = settings.access_log_fd
    metrics.log = AccessLog(fd) if fd is not None else None
    return Journal(metrics, metrics.log, open_tracer(settings.tracing))


def record_of(course: Course, ts: str, now: float) -> UsageRecord:
    """The record of a call that has ended at `now` (the loop's clock), `ts` as text."""
    runtime, principal, call, target, usage = course.runtime, course.principal, course.call, course.target, course.usage
    status, began = course.status, course.began
    upstream = target.target if target is not None else None
    record = UsageRecord(
        ts,
        course.id.decode("latin-1"),
        status,
        int((now - began) * 1e6) / 1000,
        runtime.config.endpoint if runtime is not None else "",
        runtime.config.config_version if runtime is not None else 0,
        upstream.entity if upstream is not None else "",
        upstream.provider if upstream is not None else "",
        upstream.model if upstream is not None else "",
        runtime.task if runtime is not None else "",
        principal.name[:NAME_LENGTH] if principal is not None else "",
        course.error_code or ("" if status == 200 else code_of(status)),
        call is not None and call.stream,
        int((course.first_byte - began) * 1e6) / 1000 if course.pieces else NO_TIME,
        usage.prompt_tokens if usage is not None else None,
        usage.completion_tokens if usage is not None else None,
        usage.cached_tokens if usage is not None else 0,
        usage.reasoning_tokens if usage is not None else 0,
        course.bytes_in,
        course.bytes_out,
        course.request.headers.get(b"user-agent", b"")[:NAME_LENGTH].decode("latin-1"),
    )
    if call is None or (call.client_request_id is None and call.usage_context is None):
        return record
    return msgspec.structs.replace(
        record,
        client_request_id=text_of(call.client_request_id)[:NAME_LENGTH],
        usage_context=_context_of(call.usage_context),
    )


def _context_of(raw: msgspec.Raw | None) -> dict[str, str]:
    """The client's words for bookkeeping; none when they are no object of texts, or far too many."""
    if raw is None or memoryview(raw).nbytes > CONTEXT_BYTES:
        return {}
    try:
        return _decode_context(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
