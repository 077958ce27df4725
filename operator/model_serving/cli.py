"""The hall: one function per command of `model-serving`. Imports are lazy, so that a proxy never loads the operator.

Exit codes: 0 done, 1 what was asked about is not as it should be, 2 the command could not be carried out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from model_serving import __version__

T = TypeVar("T")

PORT = click.IntRange(0, 65535)
FILE = click.Path(exists=True, path_type=Path)
USAGE_GROUPS = ["endpoint", "principal", "entity", "model", "error", "day", "hour"]
OUTPUT = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="json is for programs."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="model-serving")
def main() -> None:
    """Databricks-compatible generative-AI serving endpoints on any Kubernetes."""


@main.command()
def operator() -> None:
    """Run the operator: make ServingEndpoints of a cluster real. Settings: MODEL_SERVING_… variables."""
    from model_serving.controller.operator import run_operator
    from model_serving.controller.settings import SettingsError, from_environ

    sys.exit(run_operator(_settings(lambda: from_environ(os.environ), SettingsError)))


@main.command()
def proxy() -> None:
    """Run the data plane of one endpoint. Settings: MODEL_SERVING_… variables."""
    from model_serving.proxy.settings import ProxySettings, SettingsError

    settings = _settings(lambda: ProxySettings.from_environ(os.environ), SettingsError)
    if settings.process.workers > 1 and not settings.process.worker:
        from model_serving.proxy.workers import run_workers

        sys.exit(run_workers(settings.process, os.environ))
    from model_serving.proxy.app import run_proxy

    sys.exit(run_proxy(settings))


@main.command()
def router() -> None:
    """Run the front door of a workspace: of a namespace, unless `run` is its parent. Settings: MODEL_SERVING_…"""
    from model_serving.proxy.router_app import run_router
    from model_serving.proxy.settings import RouterSettings, SettingsError

    settings = _settings(lambda: RouterSettings.from_environ(os.environ), SettingsError)
    if settings.process.control_fd is not None:
        sys.exit(run_router(settings))
    from model_serving.kube.config import ConfigError
    from model_serving.kube.routing.feed import Feed
    from model_serving.kube.routing.settings import SettingsError as FeedSettingsError
    from model_serving.kube.routing.settings import from_environ
    from model_serving.kube.workspace.platform import connection_of
    from model_serving.proxy.router_copy import recorded_issuers

    connection = _settings(lambda: connection_of(os.environ), ConfigError)
    feed_settings = _settings(lambda: from_environ(os.environ, connection.namespace), FeedSettingsError)
    feed = Feed(connection, feed_settings, recorded=lambda: recorded_issuers(settings.state_file))
    sys.exit(run_router(settings, feed))


@main.command()
def management() -> None:
    """Run the REST API of a workspace, beside its router. Settings: MODEL_SERVING_… variables."""
    from model_serving.kube.config import ConfigError
    from model_serving.kube.workspace.platform import connect_platform, connection_of
    from model_serving.management.process import ManagementSettings, SettingsError, run_management

    settings = _settings(lambda: ManagementSettings.from_environ(os.environ), SettingsError)
    connection = _settings(lambda: connection_of(os.environ), ConfigError)
    sys.exit(run_management(settings, connect_platform(connection, settings.namespace)))


@main.command()
@click.option("-f", "--file", "files", type=FILE, multiple=True, help="YAML of endpoints and Secrets; a folder works.")
@click.option("--state", type=click.Path(path_type=Path), default=".model-serving", show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on.")
@click.option("--users", type=FILE, help="YAML or JSON: the SHA-256 of each token, and whose it is.")
@click.option("--demo", is_flag=True, help="Start the demo provider too; it is started anyway without --file.")
@click.option("--demo-port", type=PORT, help="Port of the demo provider.")
@OUTPUT
def run(**options: Any) -> None:
    """Serve endpoints on this machine, without a cluster."""
    from model_serving.local.runner import run_local
    from model_serving.local.settings import RunSettings
    from model_serving.management.server import serve_management

    json_output = options.pop("output") == "json"
    chosen = {name: value for name, value in options.items() if value is not None}
    settings = RunSettings(**chosen, json_output=json_output, environ=dict(os.environ))
    sys.exit(run_local(settings, serve_management))


@main.command()
@click.option("--state", type=click.Path(path_type=Path), default=".model-serving", show_default=True)
@OUTPUT
def status(state: Path, output: str) -> None:
    """Show the endpoints that `run` serves. Exit code 1 if one of them is not ready."""
    from rich.console import Console

    from model_serving.local import listing, report
    from model_serving.local.errors import InputError

    rows = _settings(lambda: listing.status(state), InputError, "cannot show the status")
    if output == "json":
        click.echo(json.dumps([row.plain() for row in rows], indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 200).print(report.endpoint_table(rows))
    sys.exit(0 if all(row.ready for row in rows) else 1)


@main.command()
@click.option("--state", type=click.Path(path_type=Path), default=".model-serving", show_default=True)
@click.option(
    "-f", "--file", "log", type=click.File("rb"), help="An access log instead, as kubectl logs prints it; - is stdin."
)
@click.option("--by", type=click.Choice(USAGE_GROUPS), multiple=True, default=["endpoint"], show_default=True)
@click.option("--endpoint", default="", help="Calls to this endpoint only.")
@click.option("--principal", default="", help="Calls of this caller only.")
@click.option("--since", default="", help="Calls from then on: 30m, 24h, 7d, 2w, a date or a time.")
@click.option("--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def usage(log: BinaryIO | None, by: tuple[str, ...], output: str, **options: Any) -> None:
    """Show calls, tokens and durations: of `run`, or of a cluster's access log. Exit code 0 even if there were none."""
    from datetime import UTC, datetime

    from rich.console import Console

    from model_serving.local import usage_report as report
    from model_serving.local.errors import InputError
    from model_serving.local.usage_store import Query

    def sums() -> tuple[Query, report.Rows]:
        since = report.parse_since(options["since"], datetime.now(UTC)) if options["since"] else ""
        query = Query(tuple(dict.fromkeys(by)), options["endpoint"], options["principal"], since)
        if log is None:
            return query, report.sums_of_state(options["state"], query)
        return query, report.sums_of_log(log, query, getattr(log, "name", "the input"))

    query, rows = _settings(sums, InputError, "cannot show usage")
    if not rows:
        click.echo("no calls are recorded that fit", err=True)
    elif output == "table":
        Console(width=None if sys.stdout.isatty() else 200).print(report.usage_table(rows, query))
    if output == "json":
        click.echo(report.usage_json(rows))
    elif output == "csv":
        click.echo(report.usage_csv(rows))


@main.command("demo-provider")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8090, show_default=True, help="Port to listen on.")
@click.option("--key", "keys", multiple=True, help="Accept only this API key; may be given several times.")
@click.option("--keys-file", type=click.Path(path_type=Path), help="Accept only the keys of this file, one per line.")
@click.option("--pace", default=0.02, show_default=True, help="Seconds between two events of a stream.")
@click.option("--error-rate", type=click.FloatRange(0, 1), default=0.0, help="The part of calls that go wrong anyhow.")
@click.option("--delay", type=click.FloatRange(0, 60), default=0.0, help="Seconds that calls are held up, at most.")
@click.option("--seed", type=int, default=0, help="Makes what goes wrong repeatable.")
@click.option("--control-fd", type=int, hidden=True)
def demo_provider(**options: Any) -> None:
    """Run a small OpenAI-compatible server to try things out with: it echoes, streams, embeds, and fails on request."""
    from model_serving.demo_provider import DemoSettings, run_demo_provider

    sys.exit(run_demo_provider(DemoSettings(**options)))


@main.command()
def crd() -> None:
    """Print the CustomResourceDefinition."""
    from model_serving.api.crd import render_crd

    click.echo(render_crd(), nl=False)


@main.command()
@click.option(
    "-f", "--file", "files", type=FILE, multiple=True, required=True, help="YAML of endpoints; a folder works."
)
@click.option(
    "--upstreams",
    type=click.Choice(["public", "private", "local"]),
    default="public",
    show_default=True,
    help="Which hosts may be called where the endpoints will run.",
)
def validate(files: tuple[Path, ...], upstreams: str) -> None:
    """Say what is wrong with endpoints in YAML files, as the API server would."""
    from model_serving.validate import validate_files

    lines = validate_files(files, upstreams)  # type: ignore[arg-type]
    for line in lines:
        click.echo(line, err=True)
    found = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    click.echo(found if lines else "all endpoints are valid", err=bool(lines))
    sys.exit(1 if lines else 0)


@main.command()
@click.option(
    "-f", "--file", "files", type=FILE, multiple=True, required=True,
    help="YAML of endpoints (a folder works), or the JSON body of a REST call that creates one.",
)  # fmt: skip
@click.option("--endpoint", default="", help="The file is the JSON body of PUT …/config of this endpoint.")
@click.option("--against", type=FILE, help="The present as kubectl get -o yaml wrote it.")
@click.option("--state", type=FILE, help="The present of `model-serving run` with this state folder.")
@click.option("--offline", is_flag=True, help="Ask no cluster: every endpoint is planned as a new one.")
@click.option("-n", "--namespace", default="", help="Where files name none; default: that of the kubeconfig.")
@click.option(
    "--upstreams",
    type=click.Choice(["public", "private", "local"]),
    default="public",
    show_default=True,
    help="Which hosts may be called, without a cluster or a state folder that says it.",
)
@click.option("--exit-code", "detailed", is_flag=True, help="Exit with 3 when something would change.")
@OUTPUT
def plan(files: tuple[Path, ...], endpoint: str, detailed: bool, output: str, **options: Any) -> None:
    """Say what would change, and write nothing: versions, roll-outs, what callers notice, what would be refused.

    The present comes from the cluster of the kubeconfig, which also judges a dry run, unless an option names another.
    Exit code 1 when something would be refused, 2 when no plan could be made, else 0, whether or not anything changes.
    """
    from rich.console import Console

    from model_serving.plan import exit_code, plan_all, read_asked
    from model_serving.plan_report import plan_json, plan_text
    from model_serving.plan_sources import CannotPlan, open_source

    async def results() -> tuple[str, list[Any]]:
        async with open_source(os.environ, **options) as source:
            return source.title, await plan_all(read_asked(files, endpoint), source)

    against, found = _settings(lambda: asyncio.run(results()), CannotPlan, "cannot plan")
    if output == "json":
        click.echo(plan_json(found, against))
    else:
        console = Console(width=None if sys.stdout.isatty() else 200)
        for part in plan_text(found, against):
            console.print(part)
    sys.exit(exit_code(found, detailed=detailed))


@main.group()
def key() -> None:
    """API keys of a namespace."""


@key.command("create")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--principal", required=True, help="The user that the key stands for, for example alice@example.com.")
@click.option("--group", "groups", multiple=True, help="A group of that user; may be given several times.")
def key_create(namespace: str, principal: str, groups: tuple[str, ...]) -> None:
    """Make an API key, with your own rights on the cluster. It is printed once and stored nowhere."""
    from model_serving.kube.api_keys import add_key, is_name, is_namespace, mint_key
    from model_serving.kube.client import Client
    from model_serving.kube.config import ConfigError, connect
    from model_serving.kube.errors import KubeError

    if not is_namespace(namespace):
        raise click.BadParameter("it must be a namespace's name: lower-case letters, digits and -", param_hint="-n")
    for option, names in (("--principal", (principal,)), ("--group", groups)):
        if not all(map(is_name, names)):
            raise click.BadParameter("it must be a name, without space around it", param_hint=option)

    async def add(new: str) -> None:
        async with Client(connect(os.environ)) as client:
            await add_key(client, namespace, new, principal, groups)

    new = mint_key()
    try:
        asyncio.run(add(new))
    except (ConfigError, KubeError) as error:
        click.echo(f"creating an API key in namespace {namespace}: {error}", err=True)
        sys.exit(2)
    click.echo(new)


def _settings(read: Callable[[], T], error: type[Exception], what: str = "cannot start") -> T:
    try:
        return read()
    except error as problem:
        click.echo(f"{what}: {problem}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
