"""Values of Secrets as files that only their owner may read. Called by `inputs.py` and `secret_store.py`.

Below the folder: NAMESPACE/NAME/KEY, which is what a proxy expects below its `secrets` folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from model_serving.api.endpoint import ServingEndpoint, secret_refs
from model_serving.local.folder import write_private
from model_serving.local.secret_rows import Key
from model_serving.local.store import Store


def write_secret(folder: Path, key: Key, values: Mapping[str, bytes]) -> bool:
    """Makes the files of one Secret as given; True if anything changed."""
    target = folder.joinpath(*key)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    changed = False
    for file in target.iterdir():
        if file.name not in values:
            file.unlink()
            changed = True
    for name, value in values.items():
        file = target / name
        if not file.is_file() or file.read_bytes() != value:
            write_private(file, value)
            changed = True
    return changed


def remove_secret(folder: Path, key: Key) -> None:
    """Removes the files of one Secret."""
    shutil.rmtree(folder.joinpath(*key), ignore_errors=True)


def secret_exists(folder: Path, key: Key) -> bool:
    """Whether the Secret is there, whatever its keys."""
    return folder.joinpath(*key).is_dir()


def read_secret(folder: Path, key: Key) -> dict[str, bytes]:
    """The values of one Secret; empty when there is none."""
    return {file.name: file.read_bytes() for file in _files(folder, key)}


def write_times(folder: Path, key: Key) -> dict[str, str]:
    """The keys of one Secret, and when each got its value (RFC 3339)."""
    return {file.name: _stamp(file.stat().st_mtime) for file in _files(folder, key)}


def delete_endpoint(store: Store, folder: Path, endpoint: ServingEndpoint) -> None:
    """Removes an endpoint with the Secrets that it owns, values first."""
    for row in store.secrets.all().values():
        if row.owner and row.owner == endpoint.metadata.uid:
            remove_secret(folder, row.key)
    store.delete(endpoint.key)


def sweep_secrets(store: Store, folder: Path) -> None:
    """Puts right what a killed runner left half done: a Secret made for an endpoint is that endpoint's, or nobody's."""
    endpoints = [record.endpoint for record in store.records()]
    uids = {endpoint.metadata.uid for endpoint in endpoints}
    for row in store.secrets.all().values():
        if row.scope or row.owner in uids:
            continue
        user = next((endpoint for endpoint in endpoints if row.key in _used(endpoint)), None)
        if user is not None and not row.owner:
            store.secrets.write(replace(row, owner=user.metadata.uid))
        else:
            remove_secret(folder, row.key)
            store.secrets.forget(row.key)


def _used(endpoint: ServingEndpoint) -> set[Key]:
    return {(endpoint.metadata.namespace, ref.name) for _, ref in secret_refs(endpoint.spec.config)}


def _files(folder: Path, key: Key) -> list[Path]:
    target = folder.joinpath(*key)
    if not target.is_dir():
        return []
    # Hidden files are values on their way.
    return sorted(file for file in target.iterdir() if not file.name.startswith("."))


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
