"""Calls that schemathesis makes of the REST API's own document, and what every answer must be. Two tests use it: on the
API in memory, and on a live `model-serving run`.

Each operation is asked with what fits the document and with what does not. So that many calls find something, the names
in them become, half of the time, those of things that are there (`Known`).
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.management.rest import CODES, RETRIED

CASES = "MODEL_SERVING_FUZZ_CASES"
"""Environment: how many calls of each operation and mode, in place of a test's own few."""
SEED = "MODEL_SERVING_FUZZ_SEED"
"""Environment: a number that other calls come from."""

Send = Callable[[Mapping[str, Any]], httpx.Response]
"""Sends what `httpx.Client.request` takes."""

_CONFORM = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_FIELD = re.compile(r"(^|; )[a-z]\w*(\[\d+\]|\.[^:]+)*(, [a-z]\w*)*: ")
"""How a message names the field that is wrong."""
_BODY = re.compile(r"\b(body|JSON|object twice|a number)\b")


def operations(document: Mapping[str, Any]) -> dict[str, Any]:
    """The operations of a document, by method and path. Credentials are left out: every call has good ones, and calls
    that are wrong for a bad one alone would take the place of others."""
    plain = {name: copy.deepcopy(part) for name, part in document.items() if name != "security"}
    schema = schemathesis.openapi.from_dict(plain)
    found = [result.ok() for result in schema.get_all_operations()]
    return {each.label: each for each in found}


@dataclass(frozen=True, slots=True)
class Known:
    """What is there: names by the parameter or field that holds them, a reference to a secret, a provider's address."""

    names: Mapping[str, str]
    reference: str
    url: str


def fuzz(operation: Any, known: Known, send: Send, few: int) -> None:
    """Asks one operation `few` times (or as the environment says) in each mode, and judges every answer."""
    modes = [GenerationMode.POSITIVE]
    if operation.body or operation.query:  # of a path's text there is none that does not fit
        modes.append(GenerationMode.NEGATIVE)
    for mode in modes:

        @seeded(int(os.environ.get(SEED, "1")))
        @settings(
            max_examples=int(os.environ.get(CASES, few)), deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), print_blob=False,
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode), st.data())
        def ask(case: Case, data: st.DataObject) -> None:
            sent = copy.deepcopy(case.body)
            for place in (case.path_parameters, case.query, case.body):
                if isinstance(place, dict):
                    _name(place, known, data)
            _point(case.body, known, data)
            answer = send(_request(case))
            judge(case, answer)
            if operation.body and case.body == sent and not _says_nothing(sent):
                case.validate_response(answer, checks=[CHECKS.get_one("negative_data_rejection")])

        ask()


def _name(place: dict[str, Any], known: Known, data: st.DataObject) -> None:
    """Puts the names of known things into some of the places for names."""
    for name in sorted(known.names.keys() & place.keys()):
        if data.draw(st.booleans()):
            place[name] = known.names[name]


def _point(value: Any, known: Known, data: st.DataObject) -> None:
    """Makes references to secrets and addresses in a body point to something, some of them."""
    for name, each in [*value.items()] if isinstance(value, dict) else ():
        found = known.url if name.endswith(("_url", "_base")) else known.reference
        if isinstance(each, str) and (found == known.url or each.startswith("{{")) and data.draw(st.booleans()):
            value[name] = found
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _point(each, known, data)


def _says_nothing(value: Any) -> bool:
    """Whether null or empty text is in it, by which clients mean that they say nothing: that is taken anywhere."""
    if isinstance(value, dict | list):
        return any(_says_nothing(each) for each in (value.values() if isinstance(value, dict) else value))
    return value is None or value == ""


def _request(case: Case) -> dict[str, Any]:
    """The call without credentials, which who sends it adds."""
    given = case.as_transport_kwargs(base_url="http://workspace")
    headers = {name: str(value) for name, value in given["headers"].items() if name.lower() != "authorization"}
    made = {"method": given["method"], "url": given["url"], "params": given["params"], "headers": headers}
    if isinstance(raw := given.get("data"), bytes | str):
        return {**made, "content": raw}
    return {**made, "json": given["json"]} if "json" in given else made


def judge(case: Case, answer: httpx.Response) -> None:
    """What holds for every answer."""
    load_all_checks()
    case.validate_response(answer, checks=[CHECKS.get_one(name) for name in _CONFORM])
    if answer.status_code == 200:
        return
    said = f"{case.method} {case.formatted_path} {case.body!r}: {answer.status_code} {answer.text}"
    body = answer.json()
    assert answer.status_code < 500 or answer.status_code == 501, said
    assert set(body) == {"error_code", "message"}, said
    assert body["error_code"] in CODES[answer.status_code], said
    message = body["message"]
    assert message.isprintable() and len(message) < 4000 and not any(phrase in message for phrase in RETRIED), said
    if answer.status_code == 400 and body["error_code"] != "RESOURCE_ALREADY_EXISTS":
        assert _FIELD.search(message) or _BODY.search(message), said
