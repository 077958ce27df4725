"""Reads the operator's Dockerfile, the one list of what its image holds.  Used by ``operator_image``."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INFORMATION = {"FROM", "COPY", "LABEL"}  # of the last stage: the wheel and the base, which the builder knows


@dataclass(slots=True)
class Recipe:
    """Files that make the wheel, requirements beside it, and how to start the image (OCI names)."""

    sources: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)


def read_recipe(dockerfile: Path) -> Recipe:
    """Read a Dockerfile of two stages: one that makes the wheel, one that is the image.

    Raises:
        ValueError: an instruction that this reader does not know; the image would differ from Docker's.
    """
    recipe = Recipe()
    stages = 0
    for instruction, rest in _instructions(dockerfile.read_text()):
        stages += instruction == "FROM"
        if stages == 1:
            if instruction == "COPY":
                recipe.sources += rest.split()[:-1]
        elif not _read_start(recipe, instruction, rest):
            raise ValueError(f"{dockerfile}: the test image builder does not know: {instruction} {rest}")
    if stages != 2:
        raise ValueError(f"{dockerfile}: expected two stages, found {stages}")
    return recipe


def _read_start(recipe: Recipe, instruction: str, rest: str) -> bool:
    start = recipe.start
    match instruction:
        case "ENV":
            start.setdefault("Env", []).extend(shlex.split(rest))
        case "USER":
            start["User"] = rest
        case "WORKDIR":
            start["WorkingDir"] = rest
        case "EXPOSE":
            start.setdefault("ExposedPorts", {}).update({f"{port}/tcp": {} for port in rest.split()})
        case "ENTRYPOINT" | "CMD":
            start["Entrypoint" if instruction == "ENTRYPOINT" else "Cmd"] = json.loads(rest)
        case "RUN" if rest.startswith("pip install ") and "/wheels/*.whl" in rest:
            recipe.requirements += _requirements(rest)
        case _:
            return instruction in INFORMATION
    return True


def _requirements(command: str) -> list[str]:
    install = command.split("&&")[0]
    return [word for word in shlex.split(install)[2:] if not word.startswith(("-", "/wheels/"))]


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            instruction, _, rest = line.strip().partition(" ")
            yield instruction.upper(), rest.strip()
