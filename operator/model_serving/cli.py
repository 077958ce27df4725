"""The hall: one function per command of `model-serving`. Imports are lazy, so that a proxy never loads the operator.

Exit codes: 0 done, 1 what was asked about is not as it should be, 2 the command could not be carried out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from model_serving import __version__

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="model-serving")
def main() -> None:
    """Databricks-compatible generative-AI serving endpoints on any Kubernetes."""


@main.command()
def operator() -> None:
    """Run the operator: make ServingEndpoints of a cluster real. Settings: MODEL_SERVING_… variables."""
    from model_serving.controller.operator import run_operator
    from model_serving.controller.settings import SettingsError, from_environ

    settings = _settings(lambda: from_environ(os.environ), SettingsError)
    sys.exit(run_operator(settings))


@main.command()
def proxy() -> None:
    """Run the data plane of one endpoint. Settings: MODEL_SERVING_… variables."""
    from model_serving.proxy.app import run_proxy
    from model_serving.proxy.settings import ProxySettings, SettingsError

    sys.exit(run_proxy(_settings(lambda: ProxySettings.from_environ(os.environ), SettingsError)))


@main.command()
def router() -> None:
    """Run the front door of a workspace. Settings: MODEL_SERVING_… variables."""
    from model_serving.proxy.router_app import run_router
    from model_serving.proxy.settings import RouterSettings, SettingsError

    sys.exit(run_router(_settings(lambda: RouterSettings.from_environ(os.environ), SettingsError)))


@main.command()
def crd() -> None:
    """Print the CustomResourceDefinition."""
    from model_serving.api.crd import render_crd

    click.echo(render_crd(), nl=False)


def _settings(read: Callable[[], T], error: type[Exception]) -> T:
    try:
        return read()
    except error as problem:
        click.echo(f"cannot start: {problem}", err=True)
        sys.exit(2)


FILE = click.Path(exists=True, path_type=Path)

if __name__ == "__main__":
    main()
