"""The memory that all calls of a process share: bodies, collected answers, and what slow clients have not taken.

One object per process: connections and relays count in it, and whoever finds it full refuses his own call. Small
things are not counted: their number is bounded by the calls and connections that a process takes.
"""

from __future__ import annotations

SMALL_BYTES = 16 * 1024
"""What is no larger counts for nothing."""


class Memory:
    """How many bytes are held now, and how many may be."""

    __slots__ = ("limit", "unsent", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        """Of bodies and collected answers; kept by connections and relays."""
        self.unsent = 0
        """Of answers that slow clients have not taken; looked at a few times a second."""

    @property
    def full(self) -> bool:
        """Whether more is held than may be: whoever has just added to it gives way."""
        return self.used + self.unsent > self.limit
