"""The OpenAPI document of this REST API, built from its operations. Called through `operations.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from starlette.responses import JSONResponse, Response

from model_serving import __version__
from model_serving.management.call import Call, Operation
from model_serving.management.model_schemas import ref
from model_serving.management.schemas import schemas

DOCUMENT = "/api/2.0/openapi.json"
_ERRORS = {
    "400": "A field is wrong, or the name is taken; the message names the field.",
    "401": "No token, or one that nobody knows.",
    "403": "The caller lacks a right.",
    "404": "It is not there.",
    "405": "The path has other methods.",
    "409": "Another update is in progress.",
    "413": "The body is too large.",
    "501": "A feature that is not here.",
    "503": "The platform gives no answer at the moment.",
}


def document_operation(operations: Sequence[Operation]) -> Operation:
    """The row that serves the document of `operations`."""

    built = cache(lambda: build_document(operations))

    async def get_document(call: Call) -> Response:
        return JSONResponse(built())

    return Operation("GET", DOCUMENT, get_document, "This document")


def build_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1, one entry per operation."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _entry(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "model-serving", "version": __version__, "summary": "Databricks' REST API of a workspace"},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    }


def _entry(operation: Operation) -> dict[str, Any]:
    content = {operation.content_type: {"schema": _schema(operation)}}
    answered = {"200": {"description": "Done.", "content": content}}
    refused = {"application/json": {"schema": ref("Error")}}
    entry: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"[^A-Za-z0-9]+", "_", f"{operation.method} {operation.path}").lower(),
        "responses": answered | {status: {"description": text, "content": refused} for status, text in _ERRORS.items()},
    }
    path_names = re.findall(r"\{([a-z_]+)\}", operation.path)
    parameters = [{"name": name, "in": "path", "required": True} for name in path_names]
    parameters += [{"name": name, "in": "query", "required": False} for name in operation.query]
    if parameters:
        entry["parameters"] = [{**each, "schema": {"type": "string"}} for each in parameters]
    if operation.request:
        body = {"application/json": {"schema": ref(operation.request)}}
        entry["requestBody"] = {"required": True, "content": body}
    return entry


def _schema(operation: Operation) -> dict[str, Any]:
    if operation.content_type != "application/json":
        return {"type": "string"}
    return ref(operation.response) if operation.response else {"type": "object"}
