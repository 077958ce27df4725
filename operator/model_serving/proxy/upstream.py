"""One call to one target: the request that the provider gets, and what its answer means for the client.

Made by the pipeline for each call, driven by a `Relay`. Knows credentials and provider, not sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_serving.proxy.course import Course
from model_serving.proxy.credentials.store import REDACTED, CredentialStore
from model_serving.proxy.errors import ProxyError, Unavailable
from model_serving.proxy.http.head import JSON, JSON_HEAD, lines
from model_serving.proxy.http.pool import Fetch, Pool
from model_serving.proxy.http.response import Cause, Failure, ResponseListener
from model_serving.proxy.journal import Journal
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.relay import Answer
from model_serving.proxy.retry_after import seconds_of
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy.usage import is_json, is_utf8, read_usage

EVENT_STREAM = b"text/event-stream"
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


class TargetCall:
    """The delivery of one call to its target. Unavailable when that may not or cannot be called."""

    __slots__ = ("_body", "_call", "_course", "_credential", "_retried", "_secret", "_services", "_stream", "_target",
                 "complete")  # fmt: skip

    def __init__(self, services: Services, course: Course) -> None:
        call, target = course.call, course.target
        assert call is not None and target is not None
        if target.refusal:
            raise Unavailable(f"served entity {target.entity} may not be called: {target.refusal}")
        self._body = target.provider.request(call, target.target)
        credential = services.credentials.get(target.credential)
        if not credential.value:
            raise Unavailable(f"served entity {target.entity} cannot be called: {credential.fault}", retry_after=5.0)
        self._services = services
        self._target = target
        self._call = call
        self._course = course
        self._stream: StreamTranslator | None = None
        self._credential = credential  # the store forgets those that a later config does not name
        self._secret = credential.value
        self._retried = False
        self.complete = False

    def send(self, listener: ResponseListener) -> Fetch:
        target, body = self._target, self._body
        credential = target.scheme.headers(self._secret)
        head = target.request_head
        if self._course.trace is not None:
            head += self._course.trace.head
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (head, credential, len(body), body)
        return self._services.pool.send(target.origin, request, listener)

    def again(self, failure: Failure | None, status: int) -> bool:
        """Once after a 401, which was not processed, with another value of the credential."""
        if status != 401 or self._retried:
            return False
        now = self._services.now()
        self._credential.refresh(now, self._services.wall())
        other = self._credential.other_than(self._secret, now)
        self._retried = True
        self._secret = other or self._secret
        return bool(other)

    def stream_head(self, status: int, headers: dict[bytes, bytes]) -> bytes | None:
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.strip().lower() != b"identity":
            raise Unavailable("the provider's answer is compressed, although that was not asked for")
        if status != 200 or not headers.get(b"content-type", b"").lower().startswith(EVENT_STREAM):
            return None
        self._stream = self._target.provider.stream(self._call)
        return STREAM_HEAD + self._course.head()

    def feed(self, data: bytes) -> bytes:
        assert self._stream is not None
        course = self._course
        course.pieces += 1
        piece = self._stream.feed(data)
        self.complete = self._stream.complete
        course.bytes_out += len(piece)
        return piece

    def close(self, framed: bool) -> bytes:
        assert self._stream is not None
        rest = self._stream.close()
        if not self._stream.complete:  # however its transfer ended
            raise Unavailable("the provider's stream ended before its end mark: the answer is not complete")
        return rest

    def whole(self, status: int, headers: dict[bytes, bytes], body: bytes, framed: bool) -> Answer:
        if not 200 <= status < 300:
            self._course.unused = True
            retry_after = seconds_of(headers.get(b"retry-after", b""), self._services.wall())
            body = self._services.credentials.scrub(body).replace(self._secret.encode(), REDACTED)
            raise self._target.provider.error(status, body, retry_after)
        course = self._course
        course.usage, _ = read_usage(body)
        if (course.usage is None and not is_json(body)) or not is_utf8(body):  # a web page, nothing, half of it
            raise Unavailable("the provider's answer is not JSON" if framed else "the provider's answer broke off")
        reply = self._target.provider.reply(self._call, body)
        course.bytes_out = len(reply)
        return Answer(200, JSON_HEAD + course.head(), reply)

    def broken(self, failure: Failure) -> ProxyError:
        entity = self._target.entity
        self._course.sent = failure.sent
        if failure.cause is Cause.FORBIDDEN:
            return Unavailable(f"served entity {entity} may not be called: {failure.detail}", retry_after=5.0)
        if failure.cause is Cause.CONNECT:
            return Unavailable(f"the provider of served entity {entity} cannot be reached: {failure.detail}")
        return Unavailable(f"the provider of served entity {entity} failed: {failure.detail}")

    def refused(self, error: ProxyError) -> Answer:
        self._course.error_code = error.error_code
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
