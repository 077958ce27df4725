"""Wait for something to become true.  Used by the cluster and by tests."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.25


def wait_for(predicate: Callable[[], T | None], seconds: float, what: str, *, quiet: bool = False) -> T:
    """Poll until the predicate returns something true, and return that; say what it took.

    An exception of the predicate counts as "not yet".

    Raises:
        TimeoutError: it did not happen in time; the message has the last answer or exception.
    """
    begin = time.monotonic()
    last: object = None
    while True:
        try:
            result = predicate()
            if result:
                if not quiet:
                    print(f"  {what}: after {time.monotonic() - begin:.1f} s", flush=True)
                return result
            last = result
        except Exception as error:
            last = error
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s; last: {str(last)[-2000:]!r}")
        time.sleep(POLL_SECONDS)
