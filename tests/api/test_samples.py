"""Every sample is valid and can be served by this release."""

from pathlib import Path

import pytest
import yaml

from model_serving.api.hosts import Leave
from model_serving.validate import validate_files

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"

PROVIDERS = (
    "azure",
    "anthropic",
    "cohere",
    "amazon-bedrock",
    "google-cloud-vertex-ai",
    "ai21labs",
    "databricks-model-serving",
)


@pytest.mark.parametrize(
    ("name", "leave"),
    [
        ("openai.yaml", "public"),
        ("openai-chat.yaml", "public"),
        *((f"{provider}.yaml", "public") for provider in PROVIDERS),
        ("custom.yaml", "public"),  # the Namespace in it gives the leave
        ("demo/endpoints.yaml", "private"),
        ("local.yaml", "local"),
    ],
)
def test_samples_are_valid(name: str, leave: Leave) -> None:
    assert validate_files([SAMPLES / name], leave) == []


def test_no_sample_is_forgotten() -> None:
    parsed = {path: list(yaml.safe_load_all(path.read_text())) for path in SAMPLES.rglob("*.yaml")}
    holding = {
        p.relative_to(SAMPLES).as_posix() for p, all_ in parsed.items() for d in all_ if d["kind"] == "ServingEndpoint"
    }

    own = {"openai.yaml", "openai-chat.yaml", "custom.yaml", "demo/endpoints.yaml", "local.yaml"}
    assert holding == own | {f"{provider}.yaml" for provider in PROVIDERS}


def test_kustomize_lists_every_file_of_the_demo() -> None:
    listed = yaml.safe_load((SAMPLES / "demo" / "kustomization.yaml").read_text())["resources"]

    assert {*listed, "kustomization.yaml"} == {path.name for path in (SAMPLES / "demo").iterdir()}
