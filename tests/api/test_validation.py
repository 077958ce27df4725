"""What users read: paths in YAML spelling, remedies, never a value; beyond the cases of `tests/cases`."""

from pathlib import Path
from typing import Any

import pytest

from model_serving.api.conditions import Cause, ConditionType, Reason
from model_serving.api.documents import UnreadableYaml, read_objects
from model_serving.api.not_supported import not_supported
from model_serving.api.validation import InvalidEndpoint, parse_endpoint, validate_manifest
from model_serving.validate import validate_files
from tests.api.cases import CASES

GOOD = next(case for case in CASES if case.name == "reference-example").manifest()


def good(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({}, ["apiVersion: must be model-serving.dev/v1alpha1", "kind: must be ServingEndpoint"]),
        (good(apiVersion="v1"), ["apiVersion: must be model-serving.dev/v1alpha1"]),
        (good(spec=None), ["spec: must be an object with fields of its own"]),
        (good(metadata={}), ["metadata.name: is required"]),
        (
            good(spec={**GOOD["spec"], "access": [{"kind": "User", "name": "", "permissionLevel": "CAN_QUERY"}]}),
            ["spec.access[0].name: must not be empty"],
        ),
        (good(metadata={"name": "a", "labels": {"x": 1}}), ["metadata.labels.x: must be a string: put it into quotes"]),
        (good(spce={}), ["spce: unknown field: did you mean spec?"]),
        (good(spec={**GOOD["spec"], "rate_limits": []}), ["spec.rate_limits: unknown field: write it rateLimits"]),
        (good(spec={**GOOD["spec"], "zzz": 1}), ["spec.zzz: unknown field: remove it"]),
        (good(spec={**GOOD["spec"], "tags": {}}), ["spec.tags: must be a list: begin each item with -"]),
        (
            good(spec={**GOOD["spec"], "routeOptimized": "no"}),
            ["spec.routeOptimized: must be true or false, without quotes"],
        ),
        (good(spec={**GOOD["spec"], "description": {1, 2}}), ["put dates and numbers into quotes"]),
    ],
)
def test_problems_name_the_field_and_the_remedy(manifest: dict[str, Any], expected: list[str]) -> None:
    lines = [str(problem) for problem in validate_manifest(manifest, "public")]

    assert len(lines) == len(expected)
    assert all(text in line for text, line in zip(expected, lines, strict=True)), lines


def test_all_problems_are_told_at_once_and_no_value_is() -> None:
    key = "sk-canary-1234567890"
    spec = {
        "config": {"servedEntities": [{"name": key + "/", "externalModel": {"provider": key, "openaiApiKey": key}}]},
        "rateLimits": [{"calls": key}],
        "endpointName": f"{key} ",
    }
    with pytest.raises(InvalidEndpoint) as caught:
        parse_endpoint(good(spec=spec))

    assert len(caught.value.problems) >= 6
    assert key not in str(caught.value)


def test_nulls_of_metadata_and_any_status_are_passed_over() -> None:
    metadata: dict[str, Any] = {"name": "a", "creationTimestamp": None, "annotations": None, "managedFields": []}

    assert parse_endpoint(good(metadata=metadata, status={"whatever": 1})).status.observed_generation == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4, column 3: not YAML: field 'c' is set twice"),
        ("a: [secret-value", "line 1, column"),
        ("a: \x07", "cannot be read"),
        ("- a", "every document must be an object"),
        ("? [a]\n: b", "not YAML"),
    ],
)
def test_unreadable_yaml(text: str, complaint: str) -> None:
    with pytest.raises(UnreadableYaml, match=complaint.replace("'", ".")) as caught:
        read_objects(text)

    assert "secret-value" not in str(caught.value)


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    text = "---\n---\nday: 2026-01-01\n---\nkind: List\nitems: [{a: 1}, {b: 2}]\n"

    assert read_objects(text) == [{"day": "2026-01-01"}, {"a": 1}, {"b": 2}]


def test_validate_files(tmp_path: Path) -> None:
    endpoint = "{apiVersion: model-serving.dev/v1alpha1, kind: ServingEndpoint, metadata: {name: NAME}, spec: SPEC}"
    spec = (
        "{config: {servedEntities: [{name: a, externalModel: {name: m, provider: PROVIDER, task: llm/v1/chat, "
        "BLOCK: {KEY: {name: s, key: k}}}}]}}"
    )
    openai = spec.replace("PROVIDER", "openai").replace("BLOCK", "openaiConfig").replace("KEY", "openaiApiKeySecretRef")
    palm = spec.replace("PROVIDER", "palm").replace("BLOCK", "palmConfig").replace("KEY", "palmApiKeySecretRef")
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(endpoint.replace("NAME", "a").replace("SPEC", openai) + "\n---\nkind: ConfigMap\n")
    two.write_text("\n---\n".join(endpoint.replace("NAME", n).replace("SPEC", palm) for n in ("a", "databricks-b")))
    gone = tmp_path / "gone.yaml"

    assert validate_files([one], "public") == []
    lines = validate_files([one, two, gone], "public")
    assert lines[0] == f"{gone}: cannot be read: No such file or directory"
    retired = "spec.config.servedEntities[0].externalModel.provider: Google has retired the PaLM API: use google-cloud"
    assert any(line.startswith(f"{two}: ServingEndpoint/a: {retired}") for line in lines)
    assert any(
        line.startswith(f"{two}: ServingEndpoint/databricks-b: metadata.name: names that start") for line in lines
    )
    assert any(f"an endpoint named a stands in {one} already" in line for line in lines)


def test_validate_reads_folders_and_passes_nothing_for_valid_that_holds_no_endpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("no YAML: [")
    (tmp_path / "other.yaml").write_text("{apiVersion: v1, kind: ServingEndpiont, metadata: {name: a}}")
    nothing = f"{tmp_path}: no ServingEndpoint stands there: nothing could be checked"

    assert validate_files([tmp_path], "public") == [nothing]
    (tmp_path / "wrong.yml").write_text("{kind: ServingEndpoint, metadata: {name: a}}")
    assert all(line.startswith(f"{tmp_path}/wrong.yml: ") for line in validate_files([tmp_path], "public"))


@pytest.mark.parametrize("word", [*ConditionType, *Reason, *Cause])
def test_every_word_of_conditions_is_documented(word: Reason) -> None:
    assert word.isalpha() and word[0].isupper() and "_" not in word
    assert word.description.endswith(".") and len(word.description) > 20


@pytest.mark.parametrize(
    ("case", "fields"),
    [
        ("reference-example", []),
        ("provider-custom-header", []),
        ("provider-anthropic", []),
        ("provider-openai-azure", []),
        ("provider-palm", ["config.servedEntities[0].externalModel.provider"]),
        ("provider-bedrock-embeddings", ["config.servedEntities[0].externalModel.amazonBedrockConfig.bedrockProvider"]),
        ("provider-vertex-claude-embeddings", ["config.servedEntities[0].externalModel.task"]),
        ("provider-vertex-other-publisher", ["config.servedEntities[0].externalModel.name"]),
        ("foundation-two-routes", ["config.servedEntities[0].entityName", "config.servedEntities[1].entityName"]),
        ("limits-all-forms", []),
        ("proxy-autoscaling", ["proxy.autoscaling"]),
    ],
)
def test_what_is_accepted_and_not_done_yet(case: str, fields: list[str]) -> None:
    spec = parse_endpoint(next(each for each in CASES if each.name == case).manifest()).spec
    found = not_supported(spec)

    assert len(found) == len(fields)
    assert all(field.startswith(expected) for (field, _), expected in zip(found, fields, strict=True)), found
