"""The files are the truth: what each change of them does to what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.status import ConfigUpdateState, EndpointState, EndpointStatus
from model_serving.local.errors import InputError
from model_serving.local.inputs import Inputs
from model_serving.local.sources import FileSource
from model_serving.local.store import Store, open_store
from tests.local.running import chat_endpoint, documents, secret

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class House:
    """A store, a folder of Secrets and files a.yaml and b.yaml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.store: Store = open_store(folder / "state")

    def inputs(self, *names: str, creator: str = "me") -> Inputs:
        sources = [FileSource(self.folder / name) for name in names]
        return Inputs(lambda: sources, self.store, self.secrets, creator)

    def write(self, name: str, *parts: str) -> None:
        (self.folder / name).write_text(documents(*parts))

    def apply(self, *names: str, creator: str = "me") -> None:
        self.inputs(*names, creator=creator).apply(NOW)

    def names(self) -> list[str]:
        return [record.endpoint.metadata.name for record in self.store.records()]

    def values(self) -> dict[str, str]:
        return {str(p.relative_to(self.secrets)): p.read_text() for p in self.secrets.rglob("*") if p.is_file()}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def test_endpoints_and_secrets_are_stored_apart(house: House) -> None:
    house.write("a.yaml", secret("s", k="v"), chat_endpoint("it", 1))
    house.apply("a.yaml")
    assert house.names() == ["it"]
    assert house.values() == {"default/s/k": "v"}
    assert b"stringData" not in (house.folder / "state").read_bytes()


def test_what_stands_in_no_file_any_more_is_removed(house: House) -> None:
    house.write("a.yaml", secret("s", k="v", l="w"), chat_endpoint("one", 1), chat_endpoint("two", 1))
    house.apply("a.yaml")
    house.write("a.yaml", secret("s", k="v"), chat_endpoint("two", 1))
    house.apply("a.yaml")
    assert (house.names(), house.values()) == (["two"], {"default/s/k": "v"})
    house.write("b.yaml", chat_endpoint("three", 1))
    house.apply("b.yaml")
    assert (house.names(), house.values()) == (["three"], {})


def test_without_files_everything_stays(house: House) -> None:
    house.write("a.yaml", secret("s", k="v"), chat_endpoint("it", 1))
    house.apply("a.yaml")
    house.apply()
    assert (house.names(), house.values()) == (["it"], {"default/s/k": "v"})


def test_an_endpoint_that_moves_to_another_file_stays_the_same(house: House) -> None:
    house.write("a.yaml", chat_endpoint("it", 1))
    house.apply("a.yaml")
    uid = house.store.records()[0].endpoint.metadata.uid
    house.write("b.yaml", chat_endpoint("it", 1))
    house.apply("b.yaml")
    assert house.store.records()[0].endpoint.metadata.uid == uid


def test_one_fault_and_nothing_is_applied(house: House) -> None:
    house.write("a.yaml", secret("s", k="v"), chat_endpoint("it", 1))
    house.write("b.yaml", chat_endpoint("other", 1, task="nonsense"))
    with pytest.raises(InputError, match=r"b\.yaml: ServingEndpoint other"):
        house.apply("a.yaml", "b.yaml")
    assert (house.names(), house.values()) == ([], {})


def test_two_files_must_not_declare_the_same(house: House) -> None:
    house.write("a.yaml", chat_endpoint("it", 1))
    house.write("b.yaml", chat_endpoint("it", 1))
    with pytest.raises(InputError, match=r"b\.yaml: ServingEndpoint it stands in .*a\.yaml too"):
        house.apply("a.yaml", "b.yaml")


@pytest.mark.parametrize(
    ("annotations", "creator", "expected"),
    [
        pytest.param("", "me", "me", id="the user of run is the creator"),
        pytest.param("model-serving.dev/creator: other", "me", "other", id="unless the file names another"),
        pytest.param("", "", None, id="with a users file nobody is"),
    ],
)
def test_the_creator(house: House, annotations: str, creator: str, expected: str | None) -> None:
    house.write("a.yaml", chat_endpoint("it", 1, annotations=annotations))
    house.apply("a.yaml", creator=creator)
    # Whoever starts the next run, the creator stays.
    house.apply("a.yaml", creator="somebody else")
    found = house.store.records()[0].endpoint.metadata.annotations
    assert found.get(CREATOR_ANNOTATION) == expected


def test_a_new_config_waits_for_the_end_of_a_running_update(house: House) -> None:
    house.write("a.yaml", chat_endpoint("it", 1))
    inputs = house.inputs("a.yaml")
    inputs.apply(NOW)
    busy = EndpointStatus(observed_generation=1, state=EndpointState(config_update=ConfigUpdateState.IN_PROGRESS))
    house.store.write_outcome(house.store.records()[0], (), busy)
    house.write("a.yaml", chat_endpoint("it", 1, entity="e2"))
    assert inputs.refresh(NOW).notes == ("it: the new config waits until the running update has ended",)
    inputs._looked_at = 0.0
    assert inputs.refresh(NOW).notes == ()
    done = replace_state(busy, ConfigUpdateState.NOT_UPDATING)
    house.store.write_outcome(house.store.records()[0], (), done)
    inputs._looked_at = 0.0
    assert inputs.refresh(NOW).changes == ("it: changed",)


def replace_state(status: EndpointStatus, state: ConfigUpdateState) -> EndpointStatus:
    return status.model_copy(update={"state": EndpointState(config_update=state)})


def test_a_file_that_goes_away_is_a_fault_and_not_a_removal(house: House) -> None:
    house.write("a.yaml", chat_endpoint("it", 1))
    inputs = house.inputs("a.yaml")
    inputs.apply(NOW)
    (house.folder / "a.yaml").unlink()
    assert "cannot read" in inputs.refresh(NOW).faults[0]
    assert house.names() == ["it"]
