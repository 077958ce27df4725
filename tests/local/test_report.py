"""What people are told: names as users and providers wrote them, and which option cannot be."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from model_serving.cli import main
from model_serving.local.listing import Row
from model_serving.local.report import TextReport


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("llama[/v1]", id="a closing tag that nothing opened"),
        pytest.param("llama[bold]", id="a tag"),
        pytest.param("llama:latest:smile:", id="an emoji's name"),
    ],
)
def test_names_are_printed_as_they_are(name: str) -> None:
    out = io.StringIO()
    report = TextReport(Console(file=out, highlight=False, width=200))
    report.change(Row("chat", True, "Ready", f"serves {name}", name, "llm/v1/chat", 1, "http://h/"))
    report.fault(f"fault of {name}")
    report.summary("http://h/", None, [Row("chat", False, "Failed", f"no {name}", name, "llm/v1/chat", 1, "http://h/")])
    text = out.getvalue()
    assert all(words in text for words in (f"serves {name}", f"fault of {name}", f"no {name}"))
    assert f"no {name}  {name}  http://h/" in text


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
@pytest.mark.parametrize("option", [("run", "--port"), ("run", "--demo-port"), ("demo-provider", "--port")])
def test_a_port_that_cannot_be_is_named_before_anything_starts(option: tuple[str, str], port: str) -> None:
    command, name = option
    result = CliRunner().invoke(main, [command, f"{name}={port}"])
    assert result.exit_code == 2
    assert name in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("token", "lines"),
    [
        pytest.param("t", ["-H 'Authorization: Bearer t'", 'api_key="t"'], id="the runner's own user"),
        pytest.param(
            None, ['-H "Authorization: Bearer $TOKEN"', "import os", 'api_key=os.environ["TOKEN"]'], id="a users file"
        ),
    ],
)
def test_the_lines_to_try_work_as_they_are_pasted(token: str | None, lines: list[str]) -> None:
    out = io.StringIO()
    row = Row("chat", True, "Ready", "serves", "m", "llm/v1/chat", 1, "http://h/")
    TextReport(Console(file=out, highlight=False, width=200)).summary("http://h/", token, [row])
    assert all(line in out.getvalue() for line in lines)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--principal", ""], "--principal"),
        (["--principal", " ada"], "--principal"),
        (["--principal", "ada", "--group", ""], "--group"),
        (["--principal", "ada", "-n", "a/secrets/b"], "-n"),
        (["--principal", "ada", "-n", "A b"], "-n"),
    ],
)
def test_no_key_is_made_for_nobody_or_nowhere(options: list[str], named: str) -> None:
    result = CliRunner().invoke(main, ["key", "create", *options])
    assert (result.exit_code, "msk-" in result.output) == (2, False)
    assert f"Invalid value for {named}" in result.output


@pytest.mark.parametrize("command", [["status"], ["run", "--port", "0", "--demo-port", "0"]])
def test_a_state_folder_that_is_broken_is_named(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "state.sqlite").write_text("this is no database, whatever its name says")
    result = CliRunner().invoke(main, [*command, "--state", str(tmp_path)])
    assert result.exit_code == (2 if command == ["status"] else 1)
    assert all(words in result.output for words in (str(tmp_path), "file is not a database", "--state"))
