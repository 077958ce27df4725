"""Secrets as REST spells them: `{{secrets/SCOPE/KEY}}`, or a key in plain text. Used by both ways."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from model_serving.api.types import SecretRef
from model_serving.management.convert.problems import InvalidBody

_REFERENCE = re.compile(r"\{\{secrets/([-._@A-Za-z0-9]{1,128})/([-_A-Za-z0-9][-._A-Za-z0-9]{0,252})\}\}")
_ATTEMPT = re.compile(r"\s*\{+\s*secrets\b")
_HOW = (
    "write {{secrets/SCOPE/KEY}} and nothing around it, without spaces; a scope has letters, digits and - _ @ . , "
    "a key letters, digits and - _ ."
)


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A `{{secrets/SCOPE/KEY}}` at `path` (REST spelling, as `config.served_entities[0].external_model.…`)."""

    path: str
    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class Plaintext:
    """A key given in plain text. `path` is that of the field without `_plaintext`."""

    path: str
    value: str = field(repr=False)


def looks_like_reference(text: str) -> bool:
    """Whether somebody meant a reference, well formed or not."""
    return _ATTEMPT.match(text) is not None


def read_reference(text: str, path: str, otherwise: str = "") -> SecretUse:
    """The reference that `text` is. `InvalidBody`, which quotes nothing of it, because it may be a key; `otherwise`
    is a further remedy."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        wrong = "is not a well-formed reference" if looks_like_reference(text) else "must be a reference to a secret"
        raise InvalidBody(f"{path}: {wrong}: {_HOW}{otherwise}")
    return SecretUse(path, found[1], found[2])


def reference_text(ref: SecretRef) -> str:
    """A reference as REST shows it; a Secret that is no scope by annotation counts under its own name."""
    return "{{secrets/" + (ref.scope or ref.name) + "/" + ref.key + "}}"
