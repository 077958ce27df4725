"""Reads YAML files as `kubectl apply -f` would: ServingEndpoints and Secrets. Called by `inputs.py`."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_serving.api.documents import UnreadableYaml, read_objects
from model_serving.api.endpoint import KIND, ServingEndpoint
from model_serving.api.names import SCOPE_ANNOTATION
from model_serving.api.validation import InvalidEndpoint, check_create, parse_endpoint
from model_serving.local.errors import InputError

Key = tuple[str, str]

_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_SCOPE = re.compile(r"[-._@A-Za-z0-9]{1,128}")
_LARGEST_SECRET = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as it stands in a file; its values are never shown."""

    key: Key
    values: dict[str, bytes] = field(repr=False)
    scope: str = ""
    """Its Databricks spelling."""


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
    try:
        documents = read_objects(text)
    except UnreadableYaml as error:
        raise InputError(f"{where}: {error}") from None
    for document in documents:
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


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else "without metadata"


def _endpoint(document: dict[str, Any]) -> ServingEndpoint:
    try:
        endpoint = parse_endpoint(document)
    except InvalidEndpoint as error:
        raise InputError(str(error)) from None
    faults = check_create(endpoint, "local")
    if faults:
        raise InputError("\n".join(map(str, faults)))
    return endpoint


def _secret(document: dict[str, Any]) -> Secret:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    key = (str(metadata.get("namespace") or "default"), str(metadata.get("name")))
    if not metadata.get("name") or not all(_NAME.fullmatch(part) for part in key):
        raise InputError("metadata.name and metadata.namespace must be names as Kubernetes allows them")
    values = {**_values(document, "data"), **_values(document, "stringData")}
    if sum(map(len, values.values())) > _LARGEST_SECRET:
        raise InputError("a Secret holds at most 1 MiB")
    return Secret(key, values, _scope(metadata) or key[1])


def _scope(metadata: dict[str, Any]) -> str:
    annotations = metadata.get("annotations") or {}
    scope = annotations.get(SCOPE_ANNOTATION, "") if isinstance(annotations, dict) else None
    if not isinstance(scope, str) or (scope and not _SCOPE.fullmatch(scope)):
        text = f"metadata.annotations[{SCOPE_ANNOTATION}]: a scope has at most 128 letters, digits and - _ @ ."
        raise InputError(text)
    return scope


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
