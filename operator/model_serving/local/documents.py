"""Reads YAML files as `kubectl apply -f` would: ServingEndpoints and Secrets. Called by `inputs.py`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model_serving.api.endpoint import API_VERSION, KIND, ServingEndpoint
from model_serving.local.checks import parse_endpoint
from model_serving.local.errors import InputError

Key = tuple[str, str]

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_LARGEST_SECRET = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as it stands in a file; its values are never shown."""

    key: Key
    values: dict[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Documents:
    """What one file declares. `ignored` names documents of other kinds."""

    endpoints: tuple[ServingEndpoint, ...] = ()
    secrets: tuple[Secret, ...] = ()
    ignored: tuple[str, ...] = ()


def read_documents(path: Path) -> Documents:
    """What `path` declares. Raises `InputError` with one line per fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: it is not UTF-8 text") from None
    return parse_documents(text, str(path))


def parse_documents(text: str, where: str) -> Documents:
    """As `read_documents`, from text; `where` stands in front of every complaint."""
    endpoints: list[ServingEndpoint] = []
    secrets: list[Secret] = []
    ignored: list[str] = []
    faults: list[str] = []
    for document in _split(text, where):
        kind, name = str(document.get("kind")), _name(document)
        try:
            if kind == KIND:
                endpoints.append(_endpoint(document))
            elif kind == "Secret":
                secrets.append(_secret(document))
            else:
                ignored.append(f"{kind} {name}")
        except InputError as error:
            faults += [f"{where}: {kind} {name}: {line}" for line in str(error).splitlines()]
    keys = [(KIND, e.key) for e in endpoints] + [("Secret", s.key) for s in secrets]
    faults += [
        f"{where}: {k} {n[1]} stands in the file twice" for k, n in sorted({x for x in keys if keys.count(x) > 1})
    ]
    if faults:
        raise InputError("\n".join(faults))
    return Documents(tuple(endpoints), tuple(secrets), tuple(ignored))


def _split(text: str, where: str) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # What the parser quotes is cut out: it may be the key of a vendor.
        problem = re.sub(r"'[^']*'|\"[^\"]*\"", "…", getattr(error, "problem", None) or "it cannot be read")
        raise InputError(f"{where}{place}: not YAML: {problem}") from None
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise InputError(f"{where}: every document must be a Kubernetes object (apiVersion, kind, metadata, …)")
        items = document.get("items")
        yield from items if document.get("kind") == "List" and isinstance(items, list) else [document]


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else "without metadata"


def _endpoint(document: dict[str, Any]) -> ServingEndpoint:
    if document.get("apiVersion") != API_VERSION:
        raise InputError(f"apiVersion must be {API_VERSION}")
    # Status is what a platform observed; whatever a file says of it means nothing, as with kubectl.
    return parse_endpoint({name: value for name, value in document.items() if name != "status"})


def _secret(document: dict[str, Any]) -> Secret:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    key = (str(metadata.get("namespace") or "default"), str(metadata.get("name")))
    if not metadata.get("name") or not all(_NAME.fullmatch(part) for part in key):
        raise InputError("metadata.name and metadata.namespace must be names as Kubernetes allows them")
    values = {**_values(document, "data"), **_values(document, "stringData")}
    if sum(map(len, values.values())) > _LARGEST_SECRET:
        raise InputError("a Secret holds at most 1 MiB")
    return Secret(key, values)


def _values(document: dict[str, Any], field_name: str) -> dict[str, bytes]:
    given = document.get(field_name) or {}
    if not isinstance(given, dict):
        raise InputError(f"{field_name} must be a map of keys to values")
    values: dict[str, bytes] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not _SECRET_KEY.fullmatch(name) or name in (".", ".."):
            raise InputError(f"{field_name}: a key consists of letters, digits, - _ and .")
        if not isinstance(value, str):
            raise InputError(f"{field_name}.{name}: the value must be text: put it into quotes")
        values[name] = value.encode() if field_name == "stringData" else _decoded(value, name)
    return values


def _decoded(value: str, name: str) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"data.{name}: the value is not base64: encode it, or write it under stringData") from None
