"""Renders docs/providers.md: what each provider serves, where, and what it can express of a call. For `generate.py`.

Everything stands in the data plane's registry and in the resource's models; what cannot be read there is a sentence
in front of a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel

from model_serving.api.base import camel
from model_serving.api.external_model import BLOCKS, ExternalModel
from model_serving.api.not_supported import RETIRED
from model_serving.markdown import Row, table
from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.providers.examples import EXAMPLES
from model_serving.proxy.providers.features import HARMLESS, NEUTRAL, OWN, PARTS, Features
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy_config import Target

TASKS = {CHAT: "Chat", COMPLETIONS: "Completions", EMBEDDINGS: "Embeddings"}
FIELDS: Mapping[str, Row] = {
    CHAT: (
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed",
        "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "reasoning_effort", "thinking", "verbosity", "service_tier",
        "modalities", "audio", "prediction", "web_search_options", "store", "moderation", "prompt_cache_options",
        "functions", "function_call",
    ),
    COMPLETIONS: (
        "max_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed", "frequency_penalty", "presence_penalty",
        "logit_bias", "logprobs", "best_of", "echo", "suffix",
    ),
    EMBEDDINGS: ("dimensions", "encoding_format", "instruction"),
}  # fmt: skip
"""The rows of the tables: OpenAI's fields and Databricks' own, in the order of use."""

_PLACES = ("_api_base", "_endpoint_url", "_workspace_url", "_provider_url")
_SECRETS = ("_secret_ref", "workload_identity")
_YES, _NO, _LEFT_OUT = "✓", "–", "left out"

_INTRO = """\
<!-- Generated from operator/model_serving/proxy/providers by `make crd`; edit the providers instead. -->
# Providers

Applications speak OpenAI's API to every endpoint; which vendor answers is a setting of the endpoint
([how to call](calling.md)). What passes through is forwarded as it is. Everything else is translated both ways, also
streams, and nothing is dropped in silence: a field that the vendor cannot express is refused with 400
`INVALID_PARAMETER_VALUE` and its name, unless it is harmless by the lists below. Values are not checked: one that is
out of the vendor's range is the vendor's 400. Names of models are not checked either;
on Vertex AI and Bedrock they say which of the vendor's APIs is called.

Each provider has a sample to start from in `manifests/samples/`.

Contents: [who serves what](#who-serves-what) · [settings](#settings) · [what passes through](#what-passes-through) ·
[chat](#chat) · [completions](#completions) · [embeddings](#embeddings) · [retired](#retired)
"""

_TABLES = f"""\
In the tables `{_YES}` is expressed, `{_NO}` is refused with 400, *{_LEFT_OUT}* is harmless.
"""


def render_providers() -> str:
    """The page as Markdown."""
    return "\n".join([_INTRO, _served(), _settings(), _passed(), _TABLES, *(_task(task) for task in TASKS), _retired()])


# Who, where, with what


def _served() -> str:
    rows = []
    for (provider, api), group in groupby(EXAMPLES, key=lambda target: (target.provider, target.entity)):
        targets = list(group)
        tasks = {target.task for target in targets}
        urls = dict.fromkeys(f"`{PROVIDERS[provider].url(target, False)}`" for target in targets)
        rows.append((_name(provider, api), *(_mark(task in tasks) for task in TASKS), "<br>".join(urls)))
    head = ("provider", *(title.lower() for title in TASKS.values()), "called at, for example")
    return "## Who serves what\n\n" + table(head, rows)


def _settings() -> str:
    rows = []
    for provider, block in BLOCKS.items():
        model = _model(ExternalModel, block)
        fields = list(_fields(model))
        places = [f"`{camel(name)}`" for name in fields if name.endswith(_PLACES)]
        secrets = [f"`{'.'.join(map(camel, name.split('.')))}`" for name in fields if name.endswith(_SECRETS)]
        link = f"[`{camel(block)}`](reference.md#{model.__name__.lower()})"
        rows.append((f"`{provider}`", link, ", ".join(places) or _NO, ", ".join(secrets)))
    head = ("provider", "its block", "says where it is", "credentials")
    return (
        "## Settings\n\n"
        "Each provider can be called at another address than its vendor's public one: a regional or private endpoint,\n"
        "or a gateway. Those in private networks need [the admin's leave](secrets.md#private-upstreams).\n\n"
        + table(head, rows)
    )


def _fields(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The names of a block's fields, those of blocks within it after a dot."""
    for name in model.model_fields:
        inner = _model(model, name)
        if inner.__name__.endswith("Auth"):
            yield from _fields(inner, f"{name}.")
        else:
            yield before + name


def _model(model: type[BaseModel], field: str) -> type[BaseModel]:
    """The type of a field, without the choice of being unset."""
    kind = model.model_fields[field].annotation
    return next(iter(get_args(kind)), kind)  # type: ignore[return-value]


# What passes through


def _passed() -> str:
    names = dict.fromkeys(f"`{target.provider}`" for target in EXAMPLES if _features(target).fields is None)
    return (
        "## What passes through\n\n"
        f"{' and '.join(', '.join(names).rsplit(', ', 1))} speak OpenAI's API: bodies and\n"
        "streams pass through, fields that nobody here knows included. Only `model` is ours, and a stream of `openai`\n"
        "is always asked for its usage, but on Azure before version 2024-08-01 of its API, which refuses that: there\n"
        "limits of tokens go by [their estimate](limits.md). What such a vendor does not take is its own 400.\n"
    )


# Tasks


def _task(task: str) -> str:
    columns = _columns([target for target in EXAMPLES if target.task == task])
    told = [f"## {TASKS[task]}\n", _expressed(task, columns)]
    if task == CHAT:
        rows = [
            (words, *(_mark(kind in _features(column).parts) for column in columns)) for kind, words in PARTS.items()
        ]
        told.append("Kinds of content besides text:\n\n" + table(_head("content", columns), rows))
    return "\n".join([*told, _reasons(task, columns), _notes(columns)])


def _columns(targets: Sequence[Target]) -> list[Target]:
    """Those that are translated; APIs of one provider that express the same are one column."""
    found: dict[tuple[str, bytes], list[Target]] = {}
    for target in targets:
        features = _features(target)
        if features.fields is not None:
            found.setdefault((target.provider, msgspec.json.encode(features, order="sorted")), []).append(target)
    return [replace(group[0], entity=", ".join(target.entity for target in group)) for group in found.values()]


def _expressed(task: str, columns: Sequence[Target]) -> str:
    known = {name for column in columns for name in _features(column).fields or ()}
    left = {name for column in columns for name in _features(column).harmless}
    told = [name for name in FIELDS[task] if name in known | left]
    own = sorted(known - {*FIELDS[task], *HARMLESS, *OWN})
    rest = [f"`{name}`" for name in FIELDS[task] if name not in told]
    rows = [
        (f"`{name}`", *(_cell(name, _features(column)) for column in columns))
        for name in (*told, *own, *_labels(task, columns))
    ]
    return table(_head("field", columns), [*rows, (", ".join([*rest, "any other"]), *(_NO for _ in columns))])


def _labels(task: str, columns: Sequence[Target]) -> list[str]:
    """The harmless fields of a task; only chat has all of them in OpenAI's API."""
    known = {name for column in columns for name in _features(column).fields or ()}
    return [name for name in HARMLESS if task == CHAT or name in known | {"user"}]


def _cell(name: str, features: Features) -> str:
    if name in (features.fields or ()):
        return _YES
    return f"*{_LEFT_OUT}*" if name in HARMLESS or name in features.harmless else _NO


def _reasons(task: str, columns: Sequence[Target]) -> str:
    """Why a field may be left out, and which values say nothing."""
    left = {f"`{name}`": HARMLESS[name] for name in _labels(task, columns)}
    for column in columns:
        left |= {f"`{name}` ({column.provider})": why for name, why in _features(column).harmless.items()}
    neutral = [
        f"`{name}: {min(values, key=_shortest).decode()}`" for name, values in NEUTRAL.items() if name in FIELDS[task]
    ]
    return (
        "Left out where the vendor has no place for it:\n\n"
        + "".join(f"* {name}: {why}\n" for name, why in left.items())
        + f"\nThese values count as absent, like `null`: {', '.join(neutral)}"
        + (", and `parallel_tool_calls` without `tools`.\n" if "tools" in FIELDS[task] else ".\n")
    )


def _shortest(value: bytes) -> tuple[bool, int, bytes]:
    """In the order of how well a value is known for saying nothing; the same in each run."""
    return value == b"0", len(value), value


def _notes(columns: Sequence[Target]) -> str:
    """What is expressed in another way: once for a provider, and for each of its APIs what is its own."""
    told = []
    for provider, group in groupby(columns, key=lambda column: column.provider):
        own = list(group)
        notes = [_features(column).notes for column in own]
        common = [note for note in notes[0] if all(note in others for others in notes)]
        told += _list(_name(provider, ""), common)
        for column in own:
            told += _list(_name(provider, column.entity), [n for n in _features(column).notes if n not in common])
    return "What is said in another way:\n" + "".join(told) if told else ""


def _list(name: str, notes: Sequence[str]) -> list[str]:
    return [f"\nOf {name}:\n\n", *(f"* {note}\n" for note in notes)] if notes else []


def _retired() -> str:
    rows = [(f"`{provider}`", text) for provider, text in RETIRED.items()]
    return (
        "## Retired\n\n"
        "Accepted, so that what was written for Databricks can be applied; such an endpoint is `Stalled` with reason\n"
        "`NotSupported`, and by REST `UPDATE_FAILED` with the same text.\n\n" + table(("provider", "message"), rows)
    )


# Words


def _features(target: Target) -> Features:
    return PROVIDERS[target.provider].dialect(target).features


def _head(first: str, columns: Sequence[Target]) -> Row:
    return (first, *(_name(column.provider, column.entity) for column in columns))


def _name(provider: str, api: str) -> str:
    return f"`{provider}`" + (f" {api}" if api else "")


def _mark(expressed: bool) -> str:
    return _YES if expressed else _NO
