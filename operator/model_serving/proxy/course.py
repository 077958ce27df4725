"""What is known of one call while it passes: filled in on its way, told to the journal when it has ended.

Made by the pipeline for each request, read by `errors`' answers, limits, access log, usage records, metrics and traces.
"""

from __future__ import annotations

from model_serving.proxy.auth import Principal
from model_serving.proxy.call import Call, Route
from model_serving.proxy.http.exchange import Request
from model_serving.proxy.limits import Reservation
from model_serving.proxy.runtime import CompiledTarget, Runtime
from model_serving.proxy.usage import Usage

NO_ROUTE = Route()


class Trace:
    """A call's place in a trace: the header line that hands it on, and the tracer's own span."""

    __slots__ = ("head", "span")

    def __init__(self, head: bytes, span: object) -> None:
        self.head = head
        self.span = span


class Course:
    """One call's facts. Times are the loop's clock, in seconds; 0 while something has not happened."""

    __slots__ = (
        "began", "bytes_in", "bytes_out", "call", "error_code", "first_byte", "id", "last_byte", "pieces", "principal",
        "request", "reservation", "route", "runtime", "sent", "status", "target", "trace", "unused", "usage",
    )  # fmt: skip

    def __init__(self, request: Request, began: float, call_id: bytes) -> None:
        self.request = request
        self.began = began
        self.id = call_id
        self.route = NO_ROUTE
        self.runtime: Runtime | None = None
        self.principal: Principal | None = None
        self.call: Call | None = None
        self.target: CompiledTarget | None = None
        self.reservation: Reservation | None = None
        self.trace: Trace | None = None
        self.sent = True
        """False when it is certain that the provider never got the call."""
        self.unused = False
        """The provider answered with an error, which uses no tokens."""
        self.status = 0
        """The answer's; of a stream that broke the error's; 499 when the client left."""
        self.error_code = ""
        self.first_byte = self.last_byte = 0.0
        self.pieces = 0
        """Reads that brought parts of a stream."""
        self.usage: Usage | None = None
        """What the provider reported; None when it was silent."""
        self.bytes_in = len(request.body)
        self.bytes_out = 0

    def head(self) -> bytes:
        """The header lines that tell about the call, on every answer to it."""
        head = b"x-request-id: %b\r\n" % self.id
        if self.reservation is not None:
            head += self.reservation.head
        if self.target is not None:
            return head + self.target.answer_head
        return head + self.runtime.config_head if self.runtime is not None else head
