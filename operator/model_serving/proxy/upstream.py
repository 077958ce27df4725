"""One call to one target: the request that the provider gets, and what its answer means for the client.

Made by the pipeline for each call, driven by a `Relay`. Knows credentials and provider, not sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

from model_serving.proxy.awaited import AwaitedFetch
from model_serving.proxy.batch import Batch
from model_serving.proxy.course import Course
from model_serving.proxy.credentials.scheme import Outgoing, Source
from model_serving.proxy.credentials.secrecy import redacted
from model_serving.proxy.credentials.store import CredentialStore
from model_serving.proxy.errors import ProviderError, ProxyError, Unavailable
from model_serving.proxy.http.head import JSON, JSON_HEAD, lines
from model_serving.proxy.http.pool import Fetch, Pool
from model_serving.proxy.http.response import Cause, Failure, ResponseListener
from model_serving.proxy.journal import Journal
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.provider_errors import with_kind
from model_serving.proxy.providers.base import Asked, provider_error
from model_serving.proxy.relay import Answer
from model_serving.proxy.retry_after import delay_of
from model_serving.proxy.runtime import CompiledTarget
from model_serving.proxy.sse import StreamTranslator

STREAM_HEAD = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\n"  # nginx would collect the stream otherwise
)


@dataclass(frozen=True, slots=True)
class Services:
    """What calls share."""

    pool: Pool
    credentials: CredentialStore
    metrics: Metrics
    journal: Journal
    now: Callable[[], float]
    """The loop's clock."""
    wall: Callable[[], float]
    """Seconds since the epoch."""


def _uncallable(target: CompiledTarget, source: Source) -> Unavailable:
    return Unavailable(f"served entity {target.entity} cannot be called: {source.fault}", retry_after=5.0)


class TargetCall:
    """The delivery of one call to its target. Unavailable when that may not or cannot be called."""

    __slots__ = ("_batch", "_bodies", "_call", "_course", "_place", "_refused", "_retried", "_services", "_source",
                 "_stream", "_target", "_value", "complete")  # fmt: skip

    def __init__(self, services: Services, course: Course) -> None:
        call, target = course.call, course.target
        assert call is not None and target is not None
        if target.refusal:
            raise Unavailable(f"served entity {target.entity} may not be called: {target.refusal}")
        self._bodies = target.dialect.request(call)
        source = services.credentials.of(target.scheme)
        value = source.value
        if not value and not source.pending:
            raise _uncallable(target, source)
        self._services = services
        self._target = target
        self._place = target.stream if call.stream else target.whole
        self._call = call
        self._course = course
        self._stream: StreamTranslator | None = None
        self._batch: Batch | None = None
        self._source = source  # the store forgets those that a later config does not name
        self._value = value
        self._refused: Any = None
        self._retried = False
        self.complete = False

    def send(self, listener: ResponseListener) -> Fetch:
        if not self._value:
            return AwaitedFetch(self._source, self._renewed, listener)
        if len(self._bodies) == 1:
            return self._send(self._bodies[0], listener)
        self._batch = Batch(self._bodies, self._send, listener)
        self._batch.start()
        return self._batch

    def again(self, failure: Failure | None, status: int) -> bool:
        """Once after a refused credential, for such a call was not processed, with another value."""
        if status not in self._target.scheme.refusals or self._retried:
            return False
        if not self._services.credentials.knows(self._source):  # its Secret may be another host's by now
            return False
        now = self._services.now()
        self._source.refresh(now, self._services.wall())
        other = self._source.other_than(self._value, now)
        self._retried = True
        if other or self._source.pending:
            self._refused, self._value = self._value, other
            return True
        return False

    def stream_head(self, status: int, headers: dict[bytes, bytes]) -> bytes | None:
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.strip().lower() != b"identity":
            raise Unavailable("the provider's answer is compressed, although that was not asked for")
        target = self._target
        kind = target.dialect.stream_type
        if status != 200 or not kind or not headers.get(b"content-type", b"").lower().startswith(kind):
            return None
        self._stream = target.dialect.stream(self._asked())
        return STREAM_HEAD + self._course.head()

    def feed(self, data: bytes) -> bytes:
        assert self._stream is not None
        course = self._course
        course.pieces += 1
        piece = self._told(self._stream.feed(data))
        self.complete = self._stream.complete
        course.bytes_out += len(piece)
        return piece

    def close(self, framed: bool) -> bytes:
        assert self._stream is not None
        rest = self._told(self._stream.close())
        if not self._stream.complete:  # however its transfer ended
            raise Unavailable("the provider's stream ended before its end mark: the answer is not complete")
        return rest

    def whole(self, status: int, headers: dict[bytes, bytes], body: bytes, framed: bool) -> Answer:
        target, course = self._target, self._course
        if not 200 <= status < 300:
            course.unused = self._batch is None or not any(self._batch.answers)
            raise self._error(status, headers, body)
        try:
            reply = target.dialect.reply(self._asked(), self._batch.answers if self._batch is not None else [body])
        except Unavailable:
            if framed:
                raise
            raise Unavailable("the provider's answer broke off") from None
        course.usage = reply.usage
        told = self._told(reply.body)
        course.bytes_out = len(told)
        return Answer(200, JSON_HEAD + course.head(), told)

    def broken(self, failure: Failure) -> ProxyError:
        entity = self._target.entity
        self._course.sent = failure.sent
        if not self._value:
            return _uncallable(self._target, self._source)
        if failure.cause is Cause.FORBIDDEN:
            return Unavailable(f"served entity {entity} may not be called: {failure.detail}", retry_after=5.0)
        if failure.cause is Cause.CONNECT:
            place = f"served entity {entity} at {self._place.host}"
            return Unavailable(f"the provider of {place} cannot be reached: {failure.detail}")
        return Unavailable(f"the provider of served entity {entity} failed: {failure.detail}")

    def refused(self, error: ProxyError) -> Answer:
        self._course.error_code = error.error_code
        error.scrub(self._scrubbed)
        head = lines([JSON, *error.headers()]) + self._course.head()
        return Answer(error.status, head, error.body(self._course.route.openai))

    def settled(self, status: int, first_byte: float, last_byte: float, now: float) -> None:
        course = self._course
        course.status, course.first_byte, course.last_byte = status, first_byte, last_byte
        if self._stream is not None:
            course.usage = self._stream.usage
        if course.reservation is not None:
            used = course.usage.total_tokens if course.usage is not None else 0
            course.reservation.settle(used or (0 if course.unused else None), now, course.sent)
        self._services.journal.ended(course, now)

    def _renewed(self, listener: ResponseListener) -> Fetch | None:
        """The request, once what was pending has ended; None when that failed. A service may give the same value
        again: then the provider's own refusal of that is the answer."""
        value, source = self._source.value, self._source
        if not value or (value == self._refused and any(token.problem for token in source.tokens())):
            return None
        self._value = value
        return self.send(listener)

    def _send(self, body: bytes, listener: ResponseListener) -> Fetch:
        place = self._place
        shown = self._target.scheme.headers(self._value, Outgoing(place.host, place.path, body, self._services.wall()))
        head = place.head
        if self._course.trace is not None:
            head += self._course.trace.head
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (head, shown, len(body), body)
        return self._services.pool.send(place.origin, request, listener)

    def _error(self, status: int, headers: dict[bytes, bytes], body: bytes) -> ProviderError:
        """The provider's error, with what its headers say of it."""
        body = with_kind(self._scrubbed(body), headers.get(b"x-amzn-errortype", b""))
        error = provider_error(self._target.provider.name, status, body, delay_of(headers, self._services.wall()))
        if (again := headers.get(b"x-should-retry")) in (b"true", b"false"):
            error.retry = again == b"true"
        return error

    def _asked(self) -> Asked:
        course = self._course
        return Asked(self._call, self._target.target.model, course.id.decode(), int(self._services.wall()))

    def _told(self, answer: bytes) -> bytes:
        """What the client gets of an answer: one that may speak of an error may repeat secrets."""
        return self._scrubbed(answer) if b'"error"' in answer else answer

    def _scrubbed(self, text: bytes) -> bytes:
        """An error's words without secrets: those known now, and those that this call was made with."""
        own = [part for value in (self._value, self._refused) if value for part in _texts(value)]
        return self._services.credentials.scrub(redacted(text, (*own, *self._source.known_values())))


def _texts(value: Any) -> tuple[str, ...]:
    """What a credential's value consists of: keys of AWS have several parts."""
    return (value,) if isinstance(value, str) else astuple(value)
