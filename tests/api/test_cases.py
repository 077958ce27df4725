"""Every case of `tests/cases` against pydantic; `tests/cluster/test_admission.py` runs them against an API server."""

from typing import Any

import pytest

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.hosts import Leave
from model_serving.api.problems import Problem
from model_serving.api.validation import InvalidEndpoint, check_create, check_update, parse_endpoint, validate_manifest
from tests.api.cases import CASES, Case

HERE = [case for case in CASES if case.only != "api"]


def stored(manifest: dict[str, Any], case: Case) -> ServingEndpoint:
    """The endpoint as it would come back from the API server."""
    assert case.old is not None
    endpoint = parse_endpoint(manifest)
    document = endpoint.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["metadata"]["generation"] = case.old_generation
    return ServingEndpoint.model_validate(document | {"status": case.old.get("status", {})})


def found(case: Case) -> list[Problem]:
    leave: Leave = "private" if case.namespace == "private" else "public"
    if case.old is None:
        return validate_manifest(case.manifest(), leave)
    old = stored(case.old_manifest(), case)
    assert check_create(old, leave) == [], "the object before the update must be valid"
    try:
        return check_update(old, parse_endpoint(case.manifest()), leave)
    except InvalidEndpoint as error:
        return error.problems


@pytest.mark.parametrize("case", [c for c in HERE if c.accepted], ids=lambda c: c.name)
def test_accepted(case: Case) -> None:
    assert found(case) == []


@pytest.mark.parametrize("case", [c for c in HERE if not c.accepted], ids=lambda c: c.name)
def test_refused_with_field_and_remedy(case: Case) -> None:
    problems = found(case)

    assert any(p.field.startswith(case.field) and case.says in p.message for p in problems), problems


def test_there_are_enough_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 80
    assert len({case.object_name for case in CASES}) == len(CASES)
