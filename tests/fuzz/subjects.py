"""What is fuzzed, by name, and how often each comes."""

from __future__ import annotations

from functools import cache

from tests.fuzz.answers import Answers
from tests.fuzz.calls import Calls, Routed
from tests.fuzz.requests import Requests
from tests.fuzz.verdict import Subject

SUBJECTS = ("requests", "answers", "requests", "answers", "calls", "requests", "answers", "routed")


@cache
def subject_of(name: str) -> Subject:
    """A subject; made once, since a whole proxy takes a while to make."""
    return {"requests": Requests, "answers": Answers, "calls": Calls, "routed": Routed}[name]()
