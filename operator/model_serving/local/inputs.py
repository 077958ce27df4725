"""The files given with `-f`: applied at the start and whenever they change on disk. Called by `runner.py`.

The files are the truth: what stands in them is applied, what stood in a file and stands in none any more is removed.
What was made through REST stays, a file can but add keys to it; what REST changed of a file's is as the file says after
its next change.
A file that cannot be read, or holds a fault, changes nothing at all until it is put right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.lock import config_lock
from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.validation import check_update
from model_serving.local.documents import Documents, Key, Secret
from model_serving.local.errors import InputError
from model_serving.local.secret_files import delete_endpoint, read_secret, remove_secret, write_secret
from model_serving.local.secret_rows import SecretRow
from model_serving.local.sources import Source
from model_serving.local.store import Store

_EVERY_SECONDS = 0.5
_OWNED = "an endpoint made through REST keeps its key in a Secret of that name: give this one another name"


@dataclass(frozen=True, slots=True)
class Applied:
    """What a look at the sources did: lines for people."""

    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


Declared = list[tuple[Source, Documents]]


class Inputs:
    """Keeps the store and the Secret files as the sources say; `sources` lists them, without any all stays."""

    def __init__(self, sources: Callable[[], Sequence[Source]], store: Store, secrets: Path, creator: str) -> None:
        self._sources = sources
        self._store = store
        self._secrets = secrets
        self._creator = creator
        self._stamps: object = None
        self._waiting: tuple[str, ...] = ()
        self._looked_at = 0.0

    def refresh(self, now: datetime) -> Applied:
        """Applies the sources if one of them changed; at most twice a second."""
        if time.monotonic() - self._looked_at < _EVERY_SECONDS:
            return Applied()
        self._looked_at = time.monotonic()
        try:
            sources = self._sources()
            stamps: object = _stamps(sources)
        except InputError as error:
            sources, stamps = (), str(error)
        if stamps == self._stamps:
            return Applied()
        self._stamps = stamps
        if isinstance(stamps, str):
            return Applied(faults=(stamps,))
        return self._apply_changed(sources, now)

    def apply(self, now: datetime) -> Applied:
        """Applies all sources, or none: raises `InputError` with one line per fault. Without sources all stays."""
        sources = self._sources()
        self._stamps = _stamps(sources)
        return self._carry_out(self._checked(sources), now) if sources else Applied()

    def _apply_changed(self, sources: Sequence[Source], now: datetime) -> Applied:
        try:
            declared = self._checked(sources)
        except InputError as error:
            return Applied(faults=tuple(str(error).splitlines()))
        locked = self._locked(declared)
        if locked:
            self._stamps = None
            news = tuple(note for note in locked if note not in self._waiting)
            self._waiting = locked
            return Applied(notes=news)
        self._waiting = ()
        return self._carry_out(declared, now)

    def _checked(self, sources: Sequence[Source]) -> Declared:
        declared = _read_all(sources)
        faults = [line for source, docs in declared for line in self._faults(source, docs)] + _clashes(declared)
        if faults:
            raise InputError("\n".join(faults))
        return declared

    def _locked(self, declared: Declared) -> tuple[str, ...]:
        """Why the new config of an endpoint has to wait: one update at a time."""
        notes = []
        for endpoint in (endpoint for _, documents in declared for endpoint in documents.endpoints):
            known = self._store.find(endpoint.key)
            if known is not None and config_lock(known.endpoint, endpoint) is not None:
                notes.append(f"{endpoint.endpoint_name}: the new config waits until the running update has ended")
        return tuple(notes)

    def _carry_out(self, declared: Declared, now: datetime) -> Applied:
        # Secrets first: an endpoint should not be seen without the key that stands in the same file.
        changes = self._apply_secrets(declared) + self._apply_endpoints(declared, now)
        notes = [f"{s.name}: ignored: {what}" for s, docs in declared for what in docs.ignored]
        return Applied(changes=tuple(changes), notes=tuple(notes))

    def _faults(self, source: Source, documents: Documents) -> list[str]:
        """What forbids the step from the stored endpoints to those of `documents`; the lock has its own answer."""
        faults = [
            f"{source.name}: Secret {secret.key[1]}: {_OWNED}"
            for secret in documents.secrets
            if (row := self._store.secrets.find(secret.key)) is not None and not (row.source or row.scope)
        ]
        for wanted in documents.endpoints:
            known = self._store.find(wanted.key)
            if known is None:
                continue
            wanted = self._with_creator(wanted, known.endpoint)
            lock = config_lock(known.endpoint, wanted)
            where = f"{source.name}: ServingEndpoint {wanted.metadata.name}"
            found = check_update(known.endpoint, wanted)
            faults += [f"{where}: {problem}" for problem in found if problem.message != lock]
        return faults

    def _apply_secrets(self, declared: Declared) -> list[str]:
        known = self._store.secrets.all()
        wanted = {secret.key: (source, secret) for source, docs in declared for secret in docs.secrets}
        changes = []
        for key, (source, secret) in wanted.items():
            before = known.get(key)
            by_rest = before is not None and not before.source
            kept = read_secret(self._secrets, key) if by_rest else {}
            if write_secret(self._secrets, key, {**kept, **secret.values}):
                changes.append(f"Secret {key[1]}: {'changed' if before else 'created'}")
            row = SecretRow(key, source.name, secret.scope, acls=before.acls if before else {})
            if row != before and not by_rest:
                self._store.secrets.write(row)
        for key, row in known.items():
            if row.source and key not in wanted:
                remove_secret(self._secrets, key)
                self._store.secrets.forget(key)
                changes.append(f"Secret {key[1]}: removed")
        return changes

    def _apply_endpoints(self, declared: Declared, now: datetime) -> list[str]:
        known = {record.endpoint.key: record for record in self._store.records()}
        wanted = {e.key: (source, e) for source, docs in declared for e in docs.endpoints}
        changes = []
        for key, (source, endpoint) in wanted.items():
            before = known[key].endpoint if key in known else None
            if self._store.apply(self._with_creator(endpoint, before), source.name, now):
                changes.append(f"{endpoint.endpoint_name}: {'changed' if key in known else 'created'}")
        for key, record in known.items():
            if record.source and key not in wanted:
                delete_endpoint(self._store, self._secrets, record.endpoint)
                changes.append(f"{record.endpoint.endpoint_name}: removed, for no file declares it any more")
        return changes

    def _with_creator(self, endpoint: ServingEndpoint, before: ServingEndpoint | None) -> ServingEndpoint:
        """The endpoint with its creator: as the file says, else as it was, else the user of this `run`."""
        given = endpoint.metadata.annotations
        creator = before.metadata.annotations.get(CREATOR_ANNOTATION, "") if before else self._creator
        if not creator or CREATOR_ANNOTATION in given:
            return endpoint
        metadata = endpoint.metadata.model_copy(update={"annotations": {**given, CREATOR_ANNOTATION: creator}})
        return endpoint.model_copy(update={"metadata": metadata})


def _stamps(sources: Sequence[Source]) -> list[object]:
    return [(source.name, source.stamp()) for source in sources]


def _read_all(sources: Sequence[Source]) -> Declared:
    declared: Declared = []
    faults: list[str] = []
    for source in sources:
        try:
            declared.append((source, source.read()))
        except InputError as error:
            faults += str(error).splitlines()
    if faults:
        raise InputError("\n".join(faults))
    return declared


def _clashes(declared: Declared) -> list[str]:
    """Objects that two files declare."""
    faults: list[str] = []
    seen: dict[tuple[str, Key], str] = {}
    kinds: tuple[tuple[str, Callable[[Documents], Sequence[ServingEndpoint | Secret]]], ...] = (
        ("ServingEndpoint", lambda docs: docs.endpoints),
        ("Secret", lambda docs: docs.secrets),
    )
    for kind, of in kinds:
        for source, documents in declared:
            for item in of(documents):
                first = seen.setdefault((kind, item.key), source.name)
                if first != source.name:
                    faults.append(f"{source.name}: {kind} {item.key[1]} stands in {first} too: remove one of them")
    return faults
