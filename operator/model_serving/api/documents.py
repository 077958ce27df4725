"""YAML text to Kubernetes objects, read as strictly as kubectl does. Pure; called by `model-serving validate`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Json = dict[str, Any]


class UnreadableYaml(ValueError):
    """Text that is not YAML, or not objects; `str` says where and what, and quotes no value."""


def read_objects(text: str) -> list[Json]:
    """The objects of all documents in `text`; the items of a List stand for themselves.

    Raises `UnreadableYaml`.
    """
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableYaml(f"{place}not YAML: {_without_values(error.problem or 'it cannot be read')}") from None
    except yaml.YAMLError:
        raise UnreadableYaml("not YAML: it holds characters that cannot be read") from None
    return [item for document in documents for item in _items(document)]


def _items(document: object) -> Iterator[Json]:
    items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else [document]
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, dict):
            raise UnreadableYaml("every document must be an object with apiVersion, kind and metadata")
        yield item


def _without_values(problem: str) -> str:
    """What a parser quotes may be a vendor's key; the names of fields that we quote ourselves stay."""
    return problem if problem.startswith("field ") else re.sub(r"'[^']*'|\"[^\"]*\"", "…", problem)


class _Loader(yaml.SafeLoader):
    """Plain values only: dates stay text, and a field that is set twice is an error, as for the API server."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if key.tag != "tag:yaml.org,2002:merge" and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"field {name!r} is set twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
