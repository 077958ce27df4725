"""docs/observing.md says what metrics and the access log hold: its tables are those of the code."""

from __future__ import annotations

import ast
import inspect
import re

from model_serving.cli import USAGE_GROUPS
from model_serving.proxy import access_log, otel
from model_serving.proxy.metrics import FAMILIES
from model_serving.usage_record import CONTEXT_BYTES, NAME_LENGTH, UsageRecord
from tests.test_docs import DOCS, table, text

PAGE = DOCS / "observing.md"


def test_the_metrics_are_those_of_the_code() -> None:
    documented = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows("Metrics")]
    assert documented == [(f"`{family.name}`", family.kind, family.labels) for family in FAMILIES]


def test_the_fields_of_a_line_are_those_of_the_record() -> None:
    documented = [name.strip("`") for name, _ in rows("Access log")]
    assert documented == ["type", *UsageRecord.__struct_fields__]


def test_numbers_and_words_are_those_of_the_code() -> None:
    page = text(PAGE)
    assert f"{NAME_LENGTH} characters" in page and f"{CONTEXT_BYTES} bytes" in page
    assert f"{access_log.WAITING_BYTES >> 20} MiB wait" in page
    assert ", ".join(f"`{name}`" for name in USAGE_GROUPS) in page


def test_the_names_of_spans_are_those_of_the_code() -> None:
    written = {
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(otel)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = set(re.findall(r"`((?:gen_ai|server|error|model_serving)\.[a-z_.]+)`", text(PAGE)))
    assert named and named <= written


def rows(heading: str) -> list[list[str]]:
    return table("observing.md", heading)
