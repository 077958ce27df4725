"""`model-serving plan -f FILE…`: says what would change before anything is written. Called by `cli.py`.

Files hold ServingEndpoints in YAML, or one body of the REST API in JSON. What a write does is decided in
`lifecycle/plan.py`; here is where both sides of it come from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_serving import plan_rest
from model_serving.api.documents import UnreadableYaml, read_objects
from model_serving.api.endpoint import KIND, ServingEndpoint
from model_serving.api.problems import Problem
from model_serving.api.validation import InvalidEndpoint, parse_endpoint
from model_serving.lifecycle.plan import Change, Plan, Present, plan
from model_serving.management.call import parse_object
from model_serving.management.convert.problems import rest_problems
from model_serving.management.errors import BadRequest
from model_serving.plan_sources import CannotPlan, Source, Wanted
from model_serving.stores import Stored
from model_serving.validate import yaml_files


@dataclass(frozen=True, slots=True)
class Asked:
    """One endpoint that a file asks for: a manifest, or the body of a REST call. `endpoint` names the endpoint whose
    config the body is; empty: the body creates one."""

    file: Path
    content: dict[str, Any]
    rest: bool = False
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What is said of one endpoint. `plan` is None when it was refused before anything could be compared."""

    file: Path
    name: str
    plan: Plan | None
    refusals: tuple[Problem, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything would be written."""
        return self.plan is not None and self.plan.changes_anything and not self.refusals


def read_asked(paths: Sequence[Path], endpoint: str = "") -> list[Asked]:
    """All that the files ask for; objects of other kinds are passed over. Raises `CannotPlan`."""
    asked = [each for given in paths for path in yaml_files(given) for each in _asked(path, endpoint)]
    if not asked:
        raise CannotPlan(f"{', '.join(map(str, paths))}: no {KIND} and no body of a REST call stands there")
    if endpoint and not all(each.rest for each in asked):
        raise CannotPlan("--endpoint goes with the JSON body of a REST call; YAML names its endpoints itself")
    return asked


async def plan_all(asked: Sequence[Asked], source: Source) -> list[Result]:
    """A plan for each, in order. Raises `CannotPlan`."""
    return [await (_of_body(each, source) if each.rest else _of_manifest(each, source)) for each in asked]


def exit_code(results: Sequence[Result], *, detailed: bool) -> int:
    """1 if anything is refused, else 0; with `detailed` 3 when something would change."""
    if any(result.refusals for result in results):
        return 1
    return 3 if detailed and any(result.changes for result in results) else 0


def _asked(path: Path, endpoint: str) -> list[Asked]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotPlan(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
    body = _body(text, path)
    if body is not None:
        return [Asked(path, body, rest=True, endpoint=endpoint or plan_rest.configures(body))]
    try:
        return [Asked(path, each) for each in read_objects(text) if each.get("kind") == KIND]
    except UnreadableYaml as error:
        raise CannotPlan(f"cannot read {path}: {error}") from None


def _body(text: str, path: Path) -> dict[str, Any] | None:
    """The JSON object of a REST call; None for anything else, objects of Kubernetes in JSON among it."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "kind" in content:
        return None
    try:
        return parse_object(text)
    except BadRequest as error:
        raise CannotPlan(f"cannot read {path}: {error.message}") from None


async def _of_manifest(asked: Asked, source: Source) -> Result:
    metadata = asked.content.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    namespace = str(given.get("namespace") or source.namespace)
    try:
        endpoint = parse_endpoint({**asked.content, "metadata": {**given, "namespace": namespace}})
    except InvalidEndpoint as error:
        return Result(asked.file, str(given.get("name") or ""), None, tuple(error.problems))
    named = str(given.get("namespace") or "")
    stored = await source.find(Wanted(endpoint.metadata.name, named))
    result = await _compared(asked, source, stored, endpoint)
    taken = await source.find(Wanted(endpoint.endpoint_name, named, by_clients=True)) if stored is None else None
    if taken is None:
        return result
    text = (
        f"the object {taken.endpoint.metadata.name} has that name for clients: this one would not serve, choose another"
    )
    return replace(result, refusals=(*result.refusals, Problem("spec.endpointName", text)))


async def _of_body(asked: Asked, source: Source) -> Result:
    name = asked.endpoint or str(asked.content.get("name") or "")
    stored = await source.find(Wanted(name, by_clients=True)) if name else None
    try:
        if not asked.endpoint:
            endpoint = plan_rest.created(asked.content, stored.endpoint if stored else None, source.namespace)
        elif stored is None:
            text = (
                f"there is no endpoint {name} whose config could change: create it, or say with --against where it is"
            )
            problem = Problem("", text)
            return Result(asked.file, name, None, (problem,))
        else:
            endpoint = plan_rest.configured(asked.content, stored.endpoint)
    except plan_rest.Refused as refused:
        return Result(asked.file, name, None, (refused.problem,))
    result = await _compared(asked, source, stored, endpoint)
    return replace(result, plan=result.plan and _in_rest(result.plan), refusals=_rest_refusals(result.refusals))


async def _compared(asked: Asked, source: Source, stored: Stored | None, endpoint: ServingEndpoint) -> Result:
    present = Present(stored.endpoint, stored.history) if stored else None
    wanted = plan_rest.made_by_you(endpoint) if asked.rest and stored is None else endpoint
    made = plan(present, wanted, source.leave, pods=source.pods)
    refusals = made.refusals
    if made.changes_anything and not refusals:
        refusals = tuple(await source.judge(stored, endpoint))
    return Result(asked.file, made.endpoint, made, refusals)


def _in_rest(made: Plan) -> Plan:
    changes = tuple(
        Change(plan_rest.rest_field(c.field), c.kind, plan_rest.rest_value(c.before), plan_rest.rest_value(c.after))
        for c in made.changes
    )
    return replace(made, changes=changes)


def _rest_refusals(refusals: tuple[Problem, ...]) -> tuple[Problem, ...]:
    # What the API server says has no field of ours, and stays in its own words.
    return tuple(Problem("", rest_problems([each])) if each.field else each for each in refusals)
