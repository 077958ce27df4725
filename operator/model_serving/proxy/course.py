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

    # What a call does not reach stays a default of the class: that spares a dozen assignments per call.
    route = NO_ROUTE
    runtime: Runtime | None = None
    principal: Principal | None = None
    call: Call | None = None
    target: CompiledTarget | None = None
    reservation: Reservation | None = None
    trace: Trace | None = None
    sent = True
    """False when it is certain that the provider never got the call."""
    unused = False
    """The provider answered with an error, which uses no tokens."""
    status = 0
    """The answer's; of a stream that broke the error's; 499 when the client left."""
    error_code = ""
    first_byte = 0.0
    last_byte = 0.0
    pieces = 0
    """Reads that brought parts of a stream."""
    usage: Usage | None = None
    """What the provider reported; None when it was silent."""
    bytes_out = 0

    def __init__(self, request: Request, began: float, call_id: bytes) -> None:
        self.request = request
        self.began = began
        self.id = call_id
        self.bytes_in = len(request.body)

    def head(self) -> bytes:
        """The header lines that tell about the call, on every answer to it."""
        head = b"x-request-id: %b\r\n" % self.id
        if self.reservation is not None:
            head += self.reservation.head
        if self.target is not None:
            return head + self.target.answer_head
        return head + self.runtime.config_head if self.runtime is not None else head
