"""The cases of `tests/cases`: read here, run against pydantic and against a real API server.

A file holds `rule` (the requirement in words), `spec`, and optionally `metadata`, `namespace: private` (it has the
admin's leave), `old` (makes it an update; with `spec`, `metadata`, `status` and `generation`, default 1). Cases below
`reject/` add `field` and `says`, which the refusal must name; `api_says` where the API server's own schema words it.
`only: api` marks what a manifest alone does not tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model_serving.api.endpoint import API_VERSION, KIND

Json = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "cases"


@dataclass(frozen=True, slots=True)
class Case:
    """One object, or one step from an old object to it, that is to be accepted or refused."""

    name: str
    accepted: bool
    rule: str
    spec: Json
    metadata: Json = field(default_factory=dict)
    old: Json | None = None
    namespace: str = "public"
    field: str = ""
    says: str = ""
    api_says: str = ""
    only: str = ""

    @property
    def object_name(self) -> str:
        """Different for every case, so that all fit into one namespace."""
        kind = "a" if self.accepted else "r"
        name: str = self.metadata.get("name") or f"{kind}-{self.name}"[:48].rstrip("-")
        return name

    def manifest(self) -> Json:
        """The object as somebody would apply it."""
        return _manifest(self.object_name, self.metadata, self.spec)

    def old_manifest(self) -> Json:
        """The object before the update."""
        assert self.old is not None
        return _manifest(self.object_name, self.old.get("metadata", {}), self.old["spec"])

    @property
    def old_generation(self) -> int:
        """Generation of the object before the update."""
        return int((self.old or {}).get("generation", 1))


def _manifest(name: str, metadata: Json, spec: Json) -> Json:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {**metadata, "name": name}, "spec": spec}


def _read(path: Path) -> Case:
    return Case(name=path.stem, accepted=path.parent.name == "accept", **yaml.safe_load(path.read_text()))


CASES = [_read(path) for path in sorted(FOLDER.glob("*/*.yaml"))]
