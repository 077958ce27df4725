"""What is wrong with a body, in the spelling of somebody who wrote REST. Raised and called by `convert/` and handlers."""

from __future__ import annotations

from collections.abc import Iterable

from model_serving.api.problems import Problem


class InvalidBody(ValueError):
    """A body is refused; `message` names the field and the remedy, never a secret value. A 400."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def rest_problems(problems: Iterable[Problem]) -> str:
    """The problems of a resource (YAML spelling) as one message in REST spelling, bounded in length."""
    raise NotImplementedError
