"""What `model-serving run` says: text for people, or one JSON object per line for programs. Called by `runner.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from model_serving.local.listing import Row

_EXAMPLES = {
    "llm/v1/chat": '{"messages": [{"role": "user", "content": "Tell me about rivers"}], "stream": true}',
    "llm/v1/completions": '{"prompt": "Tell me about rivers", "stream": true}',
    "llm/v1/embeddings": '{"input": "Tell me about rivers"}',
}


_CALLS = {
    "llm/v1/chat": (
        'chat.completions.create(model="{}", messages=[{{"role": "user", "content": "hello"}}])'
        ".choices[0].message.content"
    ),
    "llm/v1/completions": 'completions.create(model="{}", prompt="hello").choices[0].text',
    "llm/v1/embeddings": 'embeddings.create(model="{}", input="hello").data[0].embedding[:3]',
}
_PIPE_WIDTH = 200


class Report(Protocol):
    """Where the runner's news go."""

    def note(self, text: str) -> None:
        """Something happened."""

    def fault(self, text: str) -> None:
        """Something is wrong that the user can put right."""

    def change(self, row: Row) -> None:
        """An endpoint is in another state than before."""

    def summary(self, base: str, token: str | None, rows: Sequence[Row]) -> None:
        """Everything is up, or has said why it is not."""


class JsonReport:
    """One JSON object per line on stdout."""

    def note(self, text: str) -> None:
        """`{"event": "note", "message": …}`"""
        self._write(event="note", message=text)

    def fault(self, text: str) -> None:
        """`{"event": "fault", "message": …}`"""
        self._write(event="fault", message=text)

    def change(self, row: Row) -> None:
        """`{"event": "endpoint", "name": …, "reason": …}`"""
        self._write(event="endpoint", **row.plain())

    def summary(self, base: str, token: str | None, rows: Sequence[Row]) -> None:
        """`{"event": "serving", "host": …, "base_url": …, "token": …, "endpoints": […]}`"""
        plain = [row.plain() for row in rows]
        self._write(event="serving", host=host_of(base), base_url=base, token=token, endpoints=plain)

    def _write(self, **values: Any) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


class TextReport:
    """For people: lines as things happen, then a table and what to try."""

    def __init__(self, console: Console | None = None) -> None:
        # A pipe has no width: nothing is folded there.
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._console = console or Console(highlight=False, width=width)

    def note(self, text: str) -> None:
        """A line."""
        self._print(text)

    def fault(self, text: str) -> None:
        """A line that stands out."""
        self._print(f"ERROR {text}", style="red")

    def change(self, row: Row) -> None:
        """`chat: Ready: config version 1 serves`"""
        self._print(f"{row.name}: {row.reason}: {row.message}", style="green" if row.ready else "yellow")

    def summary(self, base: str, token: str | None, rows: Sequence[Row]) -> None:
        """The table, what clients of Databricks need, a curl line that streams, and lines for the `openai` package."""
        self._console.print(endpoint_table(rows))
        self._print(f"\n{export_lines(base, token)}")
        shown = next((row for row in rows if row.ready and row.task == "llm/v1/chat"), None) or next(
            (row for row in rows if row.ready), None
        )
        if shown is not None:
            self._print(f"\nTry it:\n{curl_line(shown, token)}\n")
            self._print(f"From Python, with the `openai` package:\n{python_lines(base, token, shown)}\n")
        self._print("Ctrl-C ends everything; started again, the endpoints are back.")

    def _print(self, text: str, style: str | None = None) -> None:
        # Never as markup: messages hold what providers and users wrote.
        self._console.print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def endpoint_table(rows: Sequence[Row]) -> Table:
    """Endpoints for people."""
    table = Table(box=None, pad_edge=False)
    for title in ("ENDPOINT", "STATE", "MODEL", "URL"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state = row.reason if row.ready else f"{row.reason}: {row.message}"
        table.add_row(*map(Text, (row.name, state, row.model, row.url)))  # a string would be read as markup
    return table


def host_of(base: str) -> str:
    """What clients of Databricks call DATABRICKS_HOST."""
    return base.removesuffix("/serving-endpoints")


def export_lines(base: str, token: str | None) -> str:
    """All that clients of Databricks need, for the shell; without `token` the shell puts in its own `$TOKEN`."""
    shown = token or '"$TOKEN"'
    return f"export DATABRICKS_HOST={host_of(base)}\nexport DATABRICKS_TOKEN={shown}"


def curl_line(row: Row, token: str | None) -> str:
    """A call for the shell; streams where the task can. Without `token` the shell puts in its own `$TOKEN`."""
    body = _EXAMPLES.get(row.task, "{}")
    shown = f"'Authorization: Bearer {token}'" if token else '"Authorization: Bearer $TOKEN"'
    return f"curl -sN {row.url} -H {shown} -H 'Content-Type: application/json' -d '{body}'"


def python_lines(base: str, token: str | None, row: Row) -> str:
    """The same with the `openai` package."""
    call = _CALLS.get(row.task, "models.list()").format(row.name)
    key = f'"{token}"' if token else 'os.environ["TOKEN"]'
    imports = "from openai import OpenAI" if token else "import os\nfrom openai import OpenAI"
    return "\n".join((imports, f'client = OpenAI(base_url="{base}", api_key={key})', f"print(client.{call})"))
