"""What `model-serving run` serves when nothing else is given: the sample beside this file. Called by `runner.py`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from model_serving.local.documents import Documents, parse_documents

DEMO_PORT = 8090
"""The port that the sample names."""


def sample_text() -> str:
    """The sample as it is shipped; `manifests/samples/local.yaml` is the same."""
    return files("model_serving.local").joinpath("sample.yaml").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class SampleSource:
    """The built-in sample, pointed at the demo provider of this run."""

    demo_port: int = DEMO_PORT

    @property
    def name(self) -> str:
        """What stands in the store as its source."""
        return "the built-in sample"

    def stamp(self) -> object:
        """It never changes while it runs."""
        return self.demo_port

    def read(self) -> Documents:
        """What it declares."""
        return parse_documents(sample_text().replace(f":{DEMO_PORT}/", f":{self.demo_port}/"), self.name)
