"""Writes what is generated from models and registry: CRD, admission policies, pages of reference. Called by `make crd`.

python -m model_serving.generate [ROOT]
"""

from __future__ import annotations

import sys
from pathlib import Path

from model_serving.api.crd import render_crd
from model_serving.api.policies import render_policies
from model_serving.provider_reference import render_providers
from model_serving.reference import render_reference


def generated_files() -> dict[str, str]:
    """Every generated file: its path below the repository, and its text."""
    policies = {f"manifests/policies/{name}": text for name, text in render_policies().items()}
    pages = {"docs/reference.md": render_reference(), "docs/providers.md": render_providers()}
    return {"crds/servingendpoints.yaml": render_crd(), **pages, **policies}


def write_generated(root: Path) -> list[Path]:
    """Writes the files below `root` that differ, and returns those."""
    written = []
    for name, text in generated_files().items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    for changed in write_generated(Path(*sys.argv[1:2])):
        sys.stdout.write(f"{changed}\n")
