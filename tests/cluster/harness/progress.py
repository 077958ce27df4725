"""Progress lines for whatever takes more than a moment.  Used by the builders and the cluster."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK_SECONDS = 15


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what begins, that it still goes on every 15 s, and what it took."""
    begin = time.monotonic()
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK_SECONDS):
            print(f"    … {what}: {time.monotonic() - begin:.0f} s", flush=True)

    print(f"  {what} …", flush=True)
    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()
    print(f"  {what}: done in {time.monotonic() - begin:.1f} s", flush=True)
