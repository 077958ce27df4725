"""Makes an input smaller while it shows the same kind of fault."""

from __future__ import annotations

from tests.fuzz.verdict import Subject


async def minimize(subject: Subject, data: bytes, seed: str, kind: str, tries: int = 1500) -> bytes:
    """The smallest input found by leaving out ever smaller pieces."""
    size = max(len(data) // 2, 1)
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            smaller = data[:at] + data[at + size :]
            tries -= 1
            if (await subject.check(smaller, seed)).kind == kind:
                data = smaller
            else:
                at += size
        size //= 2
    return data
