"""What is wrong with a body, in the spelling of somebody who wrote REST. Called by `convert/` and the handlers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from model_serving.api.endpoint import EndpointSpec
from model_serving.api.problems import Problem
from model_serving.management.convert.fields import fields_of, models_below

MAX_MESSAGE = 2000
"""Characters of a whole message: a client prints it on one line."""
_MAX_NAME = 64
_CAMEL = re.compile(r"(?:spec\.)?\b[a-z][a-z0-9]*[A-Z][A-Za-z0-9]*\b")
_KEY_HINT = "; a key is given as {{secrets/SCOPE/KEY}}, or itself in the field's _plaintext twin"
_YAML_ONLY = {": begin each item with -": "", ", without quotes": ", not a string"}


class InvalidBody(ValueError):
    """A body is refused; `message` names the field and the remedy, never a secret value. A 400."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def rest_problems(problems: Iterable[Problem]) -> str:
    """The problems of a resource (YAML spelling) as one message in REST spelling, bounded in length."""
    told = list(dict.fromkeys(_told(problem) for problem in problems))
    message, used = told[0][:MAX_MESSAGE] if told else "", 1
    while used < len(told) and len(message) + len(told[used]) + 2 <= MAX_MESSAGE - 20:
        message += f"; {told[used]}"
        used += 1
    return message if used >= len(told) else f"{message}; and {len(told) - used} more"


def respelt(text: str) -> str:
    """`text`, written for YAML, with each field that REST knows in REST's spelling."""
    return _CAMEL.sub(lambda found: _SPELLINGS.get(found[0].removeprefix("spec."), found[0]), text).replace(
        "spec.config", "config"
    )


def unknown_field(path: str, name: str, known: Iterable[str]) -> InvalidBody:
    """The refusal of a field that an object at `path` does not have, with the one that was probably meant."""
    told = shown(name)
    close = difflib.get_close_matches(told, list(known), n=1)
    remedy = f"did you mean {close[0]}?" if close else "remove it"
    return InvalidBody(f"{below(path, told)}: unknown field: {remedy}")


def refuse_others_alone(given: Iterable[str], *known: str) -> None:
    """Refuses a body that says something and nothing that is known: taken for an empty one, it would clear what stands
    there. Many clients repeat the endpoint's `name`, which says nothing."""
    names = [name for name in given if name != "name"]
    if names and not set(names) & set(known):
        raise InvalidBody(f"{shown(names[0])}: unknown field: the body needs {' or '.join(known)}")


def below(path: str, name: str) -> str:
    """The path of a field of the object at `path`."""
    return f"{path}.{name}" if path else name


def shown(name: str) -> str:
    """A name that a client sent, fit for a message: short, printable, and without the colon that ends a field."""
    text = "".join(c if c.isprintable() and c != ":" else "?" for c in name[: _MAX_NAME + 1])
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}…"


def _told(problem: Problem) -> str:
    field = re.sub(r"^spec\.", "", problem.field)
    field = "name" if field == "metadata.name" else respelt(field)
    message = respelt(problem.message).rstrip(".")
    if "SecretRef" in problem.message:
        message += _KEY_HINT
    for yaml, rest in _YAML_ONLY.items():
        message = message.replace(yaml, rest)
    return f"{field}: {message}" if field else message


def _spellings() -> Iterator[tuple[str, str]]:
    for model in models_below(EndpointSpec):
        for field in fields_of(model).values():
            yield field.alias, field.name


_SPELLINGS = dict(_spellings()) | {"endpointName": "name", "microsoftEntra": "microsoft_entra"}
"""camelCase → REST. `proxy` is not REST's: its fields keep the spelling in which they can be set."""
