"""What clients send, what it becomes, what they get back: `UPDATE_GOLDEN=1` writes the files anew, then review them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from model_serving.management.convert.history import history_body
from model_serving.management.convert.openapi import openapi_body
from model_serving.management.convert.rest import endpoint_body
from model_serving.stores import Stored
from tests.management.convert import bodies
from tests.management.convert.factory import created, looked, served, updated

GOLDEN = Path(__file__).parents[2] / "golden" / "rest"
LEVEL = "CAN_MANAGE"


def exchange(body: dict[str, Any]) -> dict[str, Any]:
    stored = served(created(body))
    return {"sent": body, "spec": stored.endpoint.spec.written(), "shown": endpoint_body(stored, LEVEL)}


def reference() -> Stored:
    return served(created(bodies.CREATE))


def failed() -> Stored:
    stored = looked(updated(reference(), bodies.UPDATE), 61)
    return looked(stored, 300, late=True)


CASES: dict[str, Any] = {
    "create_reference": lambda: exchange(bodies.CREATE),
    "create_answer": lambda: endpoint_body(created(bodies.CREATE), LEVEL),
    "update_unseen": lambda: endpoint_body(updated(reference(), bodies.UPDATE), LEVEL),
    "update_under_way": lambda: endpoint_body(looked(updated(reference(), bodies.UPDATE), 61), LEVEL),
    "update_served": lambda: endpoint_body(served(updated(reference(), bodies.UPDATE), 61), LEVEL),
    "update_failed": lambda: endpoint_body(failed(), LEVEL),
    "history": lambda: history_body(failed()),
    "openapi_chat": lambda: openapi_body(served(created(bodies.create(bodies.OPENAI_CHAT))), "https://w.example.com"),
    "openapi_embeddings": lambda: openapi_body(reference(), "https://w.example.com/"),
    "everything": lambda: exchange(bodies.create(bodies.OPENAI_CHAT, ai_gateway=bodies.GATEWAY, **bodies.INERT)),
    "foundation": lambda: endpoint_body(created(bodies.FOUNDATION), LEVEL),
    **{
        "provider_" + name.replace("'", "").replace(" ", "_").replace("-", "_"): lambda model=model: exchange(
            bodies.create(model)
        )
        for name, model in bodies.PROVIDERS.items()
    },
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    text = json.dumps(CASES[case](), indent=2) + "\n"
    path = GOLDEN / f"{case}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_is_left_behind() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)
