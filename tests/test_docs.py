"""The user guide says what is true: links, YAML, commands, names, tables; what runs without a cluster is carried out.

README.md and docs/quickstart.md are carried out in `test_readme.py`; the checks of names and links cover them too.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from model_serving.api import names, not_supported
from model_serving.api.conditions import Cause, ConditionType, Reason
from model_serving.api.hosts import LEAVE_LABEL
from model_serving.api.status import ConfigUpdateState, ReadyState
from model_serving.api.validation import validate_manifest
from model_serving.cli import main
from model_serving.controller.desired.network_policy import CLIENTS_LABEL
from model_serving.controller.settings import PREFIX, Settings
from model_serving.kube.labels import ENDPOINT_LABEL
from model_serving.proxy import errors, provider_errors
from model_serving.proxy.limits.plan import Lack, Slot, refusal
from model_serving.proxy.limits.rules import Term
from model_serving.proxy.limits.window import Window
from model_serving.reference import NOT_REPORTED, documented_names, unsupported_fields
from tests.kube.routing.asked import MANAGEMENT, ROUTER, names_read
from tests.lifecycle.test_status import ROWS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "operator" / "model_serving"
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

MINIMAL: dict[str, Any] = yaml.safe_load((ROOT / "manifests/samples/openai-chat.yaml").read_text())


@lru_cache
def text(path: Path) -> str:
    return path.read_text()


def blocks(language: str) -> list[Any]:
    """The fenced blocks of a language in all pages, each with the place where it stands."""
    return [
        pytest.param(block, id=f"{page.name}:{text(page)[: found.start()].count(chr(10)) + 1}")
        for page in PAGES
        for found in _FENCE.finditer(text(page))
        if found[1] == language and (block := found[2])
    ]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command that a page names: lines of shell blocks, and code within sentences."""
    for page in PAGES:
        shell = "".join(block for language, block in _FENCE.findall(text(page)) if language == "sh")
        for line in shell.replace("\\\n", " ").splitlines():
            yield from ((page.name, words) for words in _commands_of(line))
        prose = _FENCE.sub("", text(page))
        yield from ((page.name, code.split()) for code in re.findall(r"`([^`\n]+)`", prose) if code)


def _commands_of(line: str) -> Iterator[list[str]]:
    """The commands of a line: those of a pipe, and those whose output is an argument."""
    inner = re.findall(r"\$\((.*?)\)", line)
    for part in [*re.split(r"\s\|\s", re.sub(r"\$\(.*?\)", "X", line)), *inner]:
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def named(program: str) -> list[Any]:
    """The commands of one program, as parameters of a test."""
    found = {" ".join(words): (page, words) for page, words in commands() if words[0] == program and words[1:]}
    return [pytest.param(words, id=f"{page}: {line}") for line, (page, words) in found.items()]


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = text(DOCS / page).split(f"\n## {heading}\n", 1)[1]
    rows = [line for line in section.split("\n\n## ")[0].splitlines() if line.startswith("|")]
    end = next((i for i, line in enumerate(rows) if i > 1 and set(line) <= set("|- ")), len(rows) + 1) - 1
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:end]]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", text(page))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_the_others() -> None:
    linked = {link.partition("#")[0].rpartition("/")[2] for page in PAGES for link in _LINK.findall(text(page))}
    assert {page.name for page in DOCS.rglob("*.md")} <= linked


def test_files_that_are_named_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:manifests|crds|tests|operator|docs)/[\w./-]*)`", text(page)):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


# YAML, Python, shell


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_valid(block: str) -> None:
    for document in yaml.safe_load_all(block):
        if document.get("kind", "ServingEndpoint") != "ServingEndpoint":
            continue
        # A fragment is a part of an endpoint: of its spec, or what stands below it.
        fragment = document.get("spec", document)
        manifest = document if "kind" in document else MINIMAL | {"spec": MINIMAL["spec"] | fragment}
        assert validate_manifest(manifest, "local") == []


def test_the_folder_of_ones_own_builds_on_what_exists() -> None:
    (own,) = (
        document
        for document in map(
            yaml.safe_load, (block.values[0] for block in blocks("yaml") if "my-operator" in block.values[0])
        )
    )
    (target,) = (patch["target"] for patch in own["patches"])
    deployment = yaml.safe_load(text(ROOT / "manifests/operator/base/deployment.yaml"))
    assert [(ROOT / "my-operator" / resource).resolve() for resource in own["resources"]] == [
        ROOT / "manifests/operator"
    ]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == own["images"][0]["name"]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_compiles(block: str) -> None:
    compile(block, "block", "exec")


def test_shell_is_well_formed() -> None:
    script = "\n".join(f"block{i}() {{\n{block.values[0]}}}" for i, block in enumerate(blocks("sh")))
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


OFFLINE = ("make help", "model-serving validate", "model-serving plan --offline")


@pytest.mark.parametrize(
    "block", [b for b in blocks("sh") if str(b.values[0]).startswith(OFFLINE) and "mine" not in str(b.values[0])]
)
def test_commands_without_a_cluster_run(block: str) -> None:
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euc", block], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Commands


@pytest.mark.parametrize("words", named("model-serving"))
def test_commands_of_ours_exist(words: list[str]) -> None:
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group) and rest:
        assert rest[0] in command.commands, f"model-serving has no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if re.match(r"--?[a-z]", word)} <= options


@pytest.mark.parametrize("words", named("make"))
def test_targets_of_make_exist(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    names = r"\b(FEATURES|FILE|JSON|MINUTES|PART|PEERS|PROVIDERS|PYTHON)\b"
    variables = set(re.findall(names, text(ROOT / "Makefile")))
    for word in words[1:]:
        name, equals, value = word.partition("=")
        assert name in (variables if equals else targets), word
        assert name != "PART" or value == "…" or (ROOT / value).exists(), word


KINDS = {
    "sep": "ServingEndpoint",
    "servingendpoints": "ServingEndpoint",
    "servingendpoint": "ServingEndpoint",
    "deployment": "Deployment",
    "service": "Service",
    "namespace": "Namespace",
    "pods": "Pod",
    "secrets": "Secret",
    "secret": "Secret",
    "controllerrevisions": "ControllerRevision",
    "controllerrevision": "ControllerRevision",
}


@lru_cache
def objects() -> set[tuple[str, str]]:
    """Kind and name of all that the manifests hold; an endpoint's Service and Deployment are called like it."""
    documents = [
        document
        for path in (ROOT / "manifests").rglob("*.yaml")
        for document in yaml.safe_load_all(text(path))
        if document["kind"] != "Kustomization"
    ]
    found = {(document["kind"], document["metadata"]["name"]) for document in documents}
    endpoints = [name for kind, name in found if kind == "ServingEndpoint"]
    return found | {(kind, name) for kind in ("Service", "Deployment") for name in endpoints}


@pytest.mark.parametrize("words", named("kubectl"))
def test_kubectl_names_what_exists(words: list[str]) -> None:
    """Files, kinds and objects; `gen-ai` and what a command itself makes may be missing."""
    made = {("Namespace", "gen-ai"), ("Secret", "my-scope"), ("Secret", "generic"), ("Secret", "tls")}
    for option, value in pairwise(words):
        if option in ("-k", "-f") and value != "-":
            assert (ROOT / value).exists(), value
            assert option == "-f" or (ROOT / value / "kustomization.yaml").exists(), value
        if option in ("-n", "--namespace"):
            assert ("Namespace", value) in objects(), value
        if option in KINDS and re.fullmatch(r"[a-z][a-z0-9-]*", value) and value not in KINDS:
            assert (KINDS[option], value) in objects() | made, f"{option} {value}"
    for word in words:
        kind, slash, name = word.partition("/")
        if slash and kind in KINDS:
            assert (KINDS[kind], name) in objects(), word


# Words


def test_every_reason_and_cause_has_its_remedy() -> None:
    assert [row[0].strip("`") for row in table("troubleshooting.md", "Reasons")] == [str(reason) for reason in Reason]
    assert [row[0].strip("`") for row in table("troubleshooting.md", "Causes")] == [str(cause) for cause in Cause]


def test_words_that_are_set_aside_are_said_by_nobody_and_all_others_are() -> None:
    code = "".join(
        path.read_text() for path in SOURCE.rglob("*.py") if path.name not in ("conditions.py", "reference.py")
    )
    said: set[str] = {str(Reason[name]) for name in re.findall(r"\bReason\.([A-Z_]+)", code)}
    said |= {str(ConditionType[name]) for name in re.findall(r"\bConditionType\.([A-Z_]+)", code)}
    said |= {str(Cause[name]) for name in re.findall(r"Finding\(\s*Cause\.([A-Z_]+)", code)}
    assert {str(word) for word in (*ConditionType, *Reason, *Cause)} - said == {str(word) for word in NOT_REPORTED}


def test_every_gap_is_listed() -> None:
    yields = [n for n in ast.walk(ast.parse(inspect.getsource(not_supported))) if isinstance(n, ast.Yield)]
    assert len({field.rpartition(".")[2] for field, _ in unsupported_fields()}) == len(yields)


def test_every_annotation_is_documented() -> None:
    annotations = {value for name, value in vars(names).items() if name.endswith("_ANNOTATION")}
    assert {name for name, _ in documented_names()} | {names.SCOPE_ANNOTATION} == annotations


def test_labels_and_annotations_that_are_named_are_ours() -> None:
    known = {value for name, value in vars(names).items() if name.endswith(("_ANNOTATION", "_LABEL"))}
    known |= {LEAVE_LABEL, CLIENTS_LABEL, ENDPOINT_LABEL, "model-serving.dev/v1alpha1", "model-serving.dev/outcome"}
    for page in PAGES:
        prose = text(page).replace("\\.", ".")
        assert set(re.findall(r"model-serving\.dev/[a-z][a-z0-9-]*", prose)) <= known, page.name


def test_variables_that_are_named_are_read() -> None:
    code = "".join(path.read_text() for folder in (SOURCE, ROOT / "tests") for path in folder.rglob("*.py"))
    settings = {PREFIX + item.name.upper() for item in fields(Settings)}
    settings |= {PREFIX + name for name in names_read(*ROUTER, *MANAGEMENT)}
    for page in PAGES:
        for name in re.findall(r"\bMODEL_SERVING_[A-Z_]+", text(page)):
            assert name in settings or f'"{name}"' in code, f"{page.name}: {name}"


# Tables


def test_the_settings_are_those_of_the_operator() -> None:
    rows = {
        name.strip("`"): default.strip("`") for name, default, _ in table("kubernetes.md", "Settings of the operator")
    }
    defaults = {PREFIX + item.name.upper(): item.default for item in fields(Settings)}
    assert list(rows) == list(defaults)
    for name, default in defaults.items():
        if default not in ("", ()):
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert rows[name] == shown, name


STATES = ("Available", "Ready", "Reconciling", "Stalled")


def _documented_rows() -> list[re.Pattern[str]]:
    patterns = []
    for _, *states, reasons, databricks in table("updates.md", "Status"):
        ready, update = databricks.split(" / ")
        columns = [{"as is": "(True|False)", "–": "-"}.get(state, state) for state in states]
        ready = "|".join(ReadyState) if ready == "as is" else ready
        assert len(columns) == len(STATES) and update in list(ConfigUpdateState)
        names_of = "|".join(reason.strip("`") for reason in reasons.split(", "))
        patterns.append(re.compile(f"{' '.join(columns)} ({names_of}) ({ready})/{update}/.*"))
    return patterns


def test_the_status_table_is_what_is_reported() -> None:
    reported, documented = [row for _, row in ROWS], _documented_rows()
    for row in reported:
        assert any(pattern.fullmatch(row) for pattern in documented), f"not documented: {row}"
    for pattern in documented:
        assert any(pattern.fullmatch(row) for row in reported), f"never reported: {pattern.pattern}"


def test_the_table_of_errors_is_complete() -> None:
    rows = {(status, code.strip("`")) for status, code, _ in table("calling.md", "Errors")}
    raised = {
        (str(error.status), error.error_code)
        for error in vars(errors).values()
        if inspect.isclass(error) and issubclass(error, errors.ProxyError) and error not in _GENERAL
    }
    assert raised <= rows
    refusals = " ".join(path.read_text() for path in (SOURCE / "proxy" / "http").glob("*.py"))
    for status in ("408", "413", "417", "431"):
        assert f"({status}, " in refusals
        assert any(status in told for told, _ in rows)


_GENERAL = (errors.ProxyError, errors.ProviderError)


def test_the_answer_to_a_call_too_many_is_quoted() -> None:
    (block,) = (str(block.values[0]) for block in blocks("http"))
    error = refusal([Lack(Slot(Window(), Term("calls:user:ada", "user", "each user", 60), 1), 1, 0, 23)], 1)
    assert error.message in block
    assert f"{error.status} Too Many" in block
    assert "retry-after: 23" in block


def test_the_health_script_speaks_of_what_is_reported() -> None:
    script = text(DOCS / "kubernetes.md").split("health.model-serving.dev_ServingEndpoint: |")[1].split("```")[0]
    assert set(re.findall(r"found\.(\w+)", script)) - {"type"} <= {str(kind) for kind in ConditionType}
    assert set(re.findall(r'reason == "(\w+)"', script)) <= {str(reason) for reason in Reason}


def test_the_table_of_providers_errors_is_the_proxys() -> None:
    def told(meaning: provider_errors.Meaning) -> tuple[str, str]:
        return f"{meaning.status} `{meaning.error_code}`", "yes" if meaning.retry else "no"

    others = {
        "3xx": provider_errors.OTHER_REDIRECT, "other 4xx": provider_errors.OTHER_4XX, "others": provider_errors.OTHER,
    }  # fmt: skip
    expected = {str(status): told(meaning) for status, meaning in provider_errors.STATUSES.items()}
    expected |= {words: told(meaning) for words, meaning in others.items()}
    statuses = {status: (gets, later) for status, _, gets, later in table("calling.md", "Errors of providers")}
    assert statuses == expected
    kinds = {
        (f"`{provider}`", f"`{kind}`", *told(meaning))
        for provider, found in provider_errors.KINDS.items()
        for kind, meaning in found.items()
    }
    assert {tuple(row) for row in table("calling.md", "Types of error that say more than their status")} == kinds
