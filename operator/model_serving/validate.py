"""`model-serving validate -f FILE…`: says before the cluster does what is wrong with endpoints in YAML files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from model_serving.api.documents import UnreadableYaml, read_objects
from model_serving.api.endpoint import KIND
from model_serving.api.hosts import LEAVE_LABEL, Leave
from model_serving.api.not_supported import not_supported
from model_serving.api.problems import Problem
from model_serving.api.validation import InvalidEndpoint, check_create, parse_endpoint

Found = tuple[Path, dict[str, Any]]


def validate_files(paths: Sequence[Path], leave: Leave) -> list[str]:
    """One line `FILE: kind/name: field: message` per problem; none means that all endpoints can be served.

    Objects of other kinds are passed over, but a Namespace in the files whose label gives the leave for private
    upstreams counts for the endpoints in it. Files without any endpoint are a problem: a kind that is misspelt would
    pass for valid. A folder stands for the YAML files in it.
    """
    lines: list[str] = []
    objects: list[Found] = []
    for path in (file for given in paths for file in yaml_files(given)):
        try:
            objects += [(path, item) for item in read_objects(path.read_text(encoding="utf-8"))]
        except (OSError, UnicodeDecodeError) as error:
            lines.append(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}")
        except UnreadableYaml as error:
            lines.append(f"{path}: {error}")
    private = {_metadata(item).get("name") for _, item in objects if _gives_leave(item)}
    endpoints = [(path, item) for path, item in objects if item.get("kind") == KIND]
    for path, item in endpoints:
        given = "private" if leave == "public" and _metadata(item).get("namespace", "default") in private else leave
        lines += [_line(path, item, problem) for problem in _problems(item, given)]
    if not endpoints and not lines:
        lines.append(f"{', '.join(map(str, paths))}: no {KIND} stands there: nothing could be checked")
    return [*lines, *_twice(endpoints)]


def yaml_files(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or the YAML files of a folder."""
    return sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml")) if path.is_dir() else [path]


def _problems(manifest: dict[str, Any], leave: Leave) -> Iterator[Problem]:
    try:
        endpoint = parse_endpoint(manifest)
    except InvalidEndpoint as error:
        yield from error.problems
        return
    yield from check_create(endpoint, leave)
    yield from (Problem(f"spec.{field}", message) for field, message in not_supported(endpoint.spec))


def _twice(endpoints: list[Found]) -> Iterator[str]:
    """Endpoints whose name for clients stands in the files before; the older of two serves, the other never does."""
    seen: dict[tuple[str, str], Path] = {}
    for path, item in endpoints:
        metadata, spec = _metadata(item), item.get("spec")
        name = (spec.get("endpointName") if isinstance(spec, dict) else None) or metadata.get("name")
        key = str(metadata.get("namespace", "default")), str(name)
        if key in seen:
            text = f"an endpoint named {name} stands in {seen[key]} already: choose another name"
            yield _line(path, item, Problem("spec.endpointName", text))
        seen.setdefault(key, path)


def _line(path: Path, manifest: dict[str, Any], problem: Problem) -> str:
    return f"{path}: {manifest.get('kind')}/{_metadata(manifest).get('name', '')}: {problem}"


def _gives_leave(manifest: dict[str, Any]) -> bool:
    labels = _metadata(manifest).get("labels")
    return manifest.get("kind") == "Namespace" and isinstance(labels, dict) and labels.get(LEAVE_LABEL) == "true"


def _metadata(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = manifest.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
