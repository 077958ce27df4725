"""What the database keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_serving.api.endpoint import EndpointSpec, ServingEndpoint
from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.revision import Outcome, Revision, Shape
from model_serving.local.documents import parse_documents
from model_serving.local.store import Store, open_store
from tests.local.running import chat_endpoint

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def endpoint(name: str = "a", **changes: str) -> ServingEndpoint:
    return parse_documents(chat_endpoint(name, 1, **changes), "test").endpoints[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(path)
    yield store
    store.close()


def stored(store: Store) -> ServingEndpoint:
    return store.records()[0].endpoint


def test_an_endpoint_gets_uid_generation_and_time(store: Store) -> None:
    assert store.apply(endpoint(), "f", NOW)
    meta = stored(store).metadata
    assert (len(meta.uid), meta.generation, meta.creation_timestamp) == (36, 1, "2026-01-02T03:04:05Z")


def test_the_spec_is_kept_as_it_was_written(store: Store) -> None:
    plain = endpoint()
    store.apply(plain, "f", NOW)
    assert stored(store).spec.written() == plain.spec.written()
    spelt_out = EndpointSpec.model_validate(plain.spec.manifest())
    assert spelt_out == plain.spec and spelt_out.written() != plain.spec.written()
    assert store.apply(plain.model_copy(update={"spec": spelt_out}), "f", NOW)
    assert stored(store).spec.written() == spelt_out.written()


@pytest.mark.parametrize(
    ("wanted", "changed", "generation"),
    [
        pytest.param(endpoint(), False, 1, id="the same again changes nothing"),
        pytest.param(endpoint(entity="e2"), True, 2, id="another spec counts on"),
        pytest.param(endpoint(annotations="x: y"), True, 1, id="an annotation does not"),
    ],
)
def test_applying_again(store: Store, wanted: ServingEndpoint, changed: bool, generation: int) -> None:
    store.apply(endpoint(), "f", NOW)
    uid = stored(store).metadata.uid
    assert store.apply(wanted, "f", NOW) is changed
    assert (stored(store).metadata.uid, stored(store).metadata.generation) == (uid, generation)


def test_status_and_history_come_back_as_they_were(store: Store, path: Path) -> None:
    store.apply(endpoint(), "f", NOW)
    config = endpoint().spec.config.manifest()
    served = Revision("a", config, 1, Shape("i", {"p": 1}, {"q": "2"}), 1, 1, "t", "", Outcome.SERVED)
    failed = Revision("a", config, 2, Shape(), 2, 2, "t", "again", Outcome.FAILED, "Cause", "words")
    status = EndpointStatus(observed_generation=1, config_version=1)
    store.write_outcome(store.records()[0], (served, failed), status)
    reader = open_store(path, read_only=True)
    record = reader.records()[0]
    reader.close()
    assert record.history == (served, failed)
    assert record.endpoint.status == status


def test_nothing_is_written_when_nothing_changed(store: Store) -> None:
    store.apply(endpoint(), "f", NOW)
    record = store.records()[0]
    before = store._db.total_changes
    store.write_outcome(record, record.history, record.endpoint.status)
    assert store._db.total_changes == before


def test_a_deleted_endpoint_takes_its_history_along_and_a_namesake_is_another(store: Store) -> None:
    store.apply(endpoint(), "f", NOW)
    first = stored(store)
    revision = Revision("a", first.spec.config.manifest(), 1, Shape(), 1)
    store.write_outcome(store.records()[0], (revision,), EndpointStatus())
    store.delete(first.key)
    assert store.find(first.key) is None
    store.apply(endpoint(), "f", NOW)
    assert stored(store).metadata.uid != first.metadata.uid
    assert store.records()[0].history == ()


def test_reading_does_not_make_a_database(path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        open_store(path, read_only=True)
    assert not path.exists()
