"""The generated CRD: committed as generated, bounded, described, mergeable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_serving.api.crd import crd, render_crd
from model_serving.generate import generated_files, write_generated

ROOT = Path(__file__).parents[2]
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for kind in ("items", "additionalProperties"):
        if kind in node:
            yield from nodes(node[kind], f"{path}[]")


SPEC = list(nodes(SCHEMA["properties"]["spec"], ".spec"))
STATUS = list(nodes(SCHEMA["properties"]["status"], ".status"))


@pytest.mark.parametrize("name", generated_files())
def test_the_committed_file_is_what_the_models_say(name: str) -> None:
    assert (ROOT / name).read_text() == generated_files()[name], "run `make crd` and commit the result"


def test_files_are_written_once(tmp_path: Path) -> None:
    assert len(write_generated(tmp_path)) == len(generated_files())
    assert write_generated(tmp_path) == []


def test_only_structural_keywords_are_left() -> None:
    allowed = {
        *(
            "type",
            "format",
            "description",
            "properties",
            "items",
            "additionalProperties",
            "required",
            "default",
            "enum",
        ),
        *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "pattern"),
        *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"),
        *("x-kubernetes-int-or-string", "x-kubernetes-validations"),
    }

    assert {key for _, node in nodes(SCHEMA) for key in node} <= allowed


def test_every_string_list_and_map_of_the_spec_is_bounded() -> None:
    unbounded = [
        path
        for path, node in SPEC
        if (node.get("type") == "string" and "enum" not in node and "maxLength" not in node)
        or (node.get("type") == "array" and "maxItems" not in node)
        or ("additionalProperties" in node and "maxProperties" not in node)
        or (node.get("type") == "integer" and not {"minimum", "maximum"} <= node.keys())
    ]

    assert unbounded == []


def test_every_list_says_how_it_merges() -> None:
    lists = {path: node for path, node in [*SPEC, *STATUS] if node.get("type") == "array"}

    assert [path for path, node in lists.items() if "x-kubernetes-list-type" not in node] == []
    for node in lists.values():
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"] or "default" in node["items"]["properties"][key]


def test_every_field_is_described() -> None:
    assert [path for path, node in [*SPEC, *STATUS] if "description" not in node and not path.endswith("[]")] == []


def test_status_has_no_defaults() -> None:
    assert [path for path, node in STATUS if "default" in node] == []


def test_nothing_is_filled_in_below_a_list() -> None:
    """kubectl and Argo CD compare lists as wholes: a default in one would be a difference that never ends."""
    assert [path for path, node in SPEC if "[]" in path and "default" in node] == []


def test_the_root_has_no_rule_for_objects_that_exist() -> None:
    rules = SCHEMA["x-kubernetes-validations"]

    assert all(rule["optionalOldSelf"] and rule["rule"].startswith("oldSelf.hasValue() || ") for rule in rules)


def test_every_rule_has_a_message() -> None:
    rules = [rule for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())]

    assert len(rules) > 60
    assert [rule["rule"] for rule in rules if len(rule["message"]) < 20 or "\n" in rule["rule"]] == []


@pytest.mark.parametrize("plain", ["openaiApiKey", "token", "value", "password", "privateKey"])
def test_there_is_no_field_for_a_plaintext_key(plain: str) -> None:
    assert [path for path, _ in SPEC if path.endswith((f".{plain}", "Plaintext")) and "externalModel" in path] == []


def test_yaml_reads_back_as_the_object() -> None:
    assert yaml.safe_load(render_crd()) == crd()
