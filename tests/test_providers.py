"""Control plane and data plane agree on providers: what the one accepts the other serves, with the settings it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typing_extensions as te
import yaml

from model_serving.api.external_model import TASKS, Provider, Task
from model_serving.api.not_supported import RETIRED, SUPPORTED_PROVIDERS, not_supported
from model_serving.api.validation import parse_endpoint
from model_serving.lifecycle.proxy_config import build_proxy_config
from model_serving.lifecycle.revision import Revision, Shape
from model_serving.provider_reference import FIELDS
from model_serving.proxy.providers.features import HARMLESS, OWN
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy.runtime import compile_runtime
from model_serving.proxy_config import Policy
from tests.api.cases import CASES
from tests.proxy.providers.golden import TASKS as SHORT
from tests.proxy.providers.vendors.openai import PARAMS

SAMPLES = Path(__file__).parents[1] / "manifests" / "samples"
OF_THE_CASES = {case.name: case.manifest() for case in CASES if case.accepted}
OF_THE_SAMPLES = {
    f"{path.name} {document['metadata']['name']}": document
    for path in sorted(SAMPLES.rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if document["kind"] == "ServingEndpoint"
}
ACCEPTED = [pytest.param(manifest, id=name) for name, manifest in (OF_THE_CASES | OF_THE_SAMPLES).items()]


def test_what_is_not_retired_is_served() -> None:
    assert {str(provider) for provider in SUPPORTED_PROVIDERS} == set(PROVIDERS)
    assert not {str(provider) for provider in RETIRED} & set(PROVIDERS)


@pytest.mark.parametrize("provider", SUPPORTED_PROVIDERS)
def test_both_know_the_same_tasks(provider: Provider) -> None:
    assert {str(task) for task in TASKS.get(provider, tuple(Task))} == PROVIDERS[provider].tasks


@pytest.mark.parametrize("manifest", ACCEPTED)
def test_what_is_accepted_and_supported_can_be_served(manifest: dict[str, Any]) -> None:
    endpoint = parse_endpoint(manifest)
    if not_supported(endpoint.spec):
        return
    revision = Revision("chat", manifest["spec"]["config"], 1, Shape(image="proxy:1"), number=1)
    runtime = compile_runtime(build_proxy_config(revision), Policy("p", upstream_leave="local"))
    assert len(runtime.targets) == len(endpoint.spec.config.served_entities)


def test_each_provider_has_a_sample() -> None:
    models = [
        entity["externalModel"] for d in OF_THE_SAMPLES.values() for entity in d["spec"]["config"]["servedEntities"]
    ]
    assert {str(provider) for provider in SUPPORTED_PROVIDERS} == {model["provider"] for model in models}


@pytest.mark.parametrize("task", SHORT)
def test_the_page_tells_of_each_field_of_openais_api(task: str) -> None:
    kinds = te.get_args(PARAMS[task]) or (PARAMS[task],)
    known = {name for kind in kinds for name in te.get_type_hints(kind)}
    assert known <= {*FIELDS[SHORT[task]], *HARMLESS, *OWN}
