"""Credentials over time: loading, rotation, the five minutes, disappearance."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_serving.proxy.credentials.aws import AwsKeys
from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.scheme import Bearer, Scheme
from model_serving.proxy.credentials.sigv4 import Scope
from model_serving.proxy.credentials.store import CredentialStore
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialFile, Layout
from tests.proxy.harness import write

FILE = CredentialFile("vendor", "token")


def credential(root: Path) -> Credential:
    return Credential(FILE, Layout(root))


def put(root: Path, value: str | bytes) -> None:
    write(root / "secrets/vendor/token", value)


def test_the_value_is_stripped_and_dated(tmp_path: Path) -> None:
    put(tmp_path, "  sk-1\n")
    found = credential(tmp_path)
    found.refresh(5.0, 1_700_000_000.0)
    assert found.value == "sk-1"
    assert found.reports()[0].loaded_at == "2023-11-14T22:13:20+00:00"
    assert found.reports()[0].problem == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "empty"), (b" \n", "empty")]
    + [(bad, "holds characters") for bad in (b"a\r\nb: c", "ключ".encode(), b"a\0")],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    put(tmp_path, content)
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    assert found.value == ""
    assert found.reports()[0].problem.startswith(problem)


def test_a_folder_in_its_place_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "secrets/vendor/token").mkdir(parents=True)
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    assert found.reports()[0].problem == "unreadable"


def test_the_former_value_serves_for_five_minutes(tmp_path: Path) -> None:
    put(tmp_path, "old")
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    assert found.other_than("old", 1.0) == ""
    put(tmp_path, "new")
    found.refresh(10.0, 2.0)
    assert found.other_than("old", 11.0) == "new"
    assert found.other_than("new", 309.0) == "old"
    assert found.other_than("new", 311.0) == ""


def test_a_file_touched_but_equal_is_no_rotation(tmp_path: Path) -> None:
    put(tmp_path, "same")
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    put(tmp_path, "same")
    found.refresh(5.0, 9.0)
    assert found.loaded_at == 1.0
    assert found.other_than("same", 6.0) == ""


def test_a_file_that_is_gone_is_believed_gone_at_the_second_look(tmp_path: Path) -> None:
    put(tmp_path, "sk")
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    os.unlink(tmp_path / "secrets/vendor/token")
    found.refresh(1.0, 2.0)
    assert found.value == "sk"
    found.refresh(2.0, 3.0)
    assert (found.value, found.reports()[0].problem) == ("", CREDENTIAL_MISSING)


@pytest.mark.parametrize("scheme", [Bearer(FILE), AwsKeys(Scope("r", "s"), FILE, FILE, None)], ids=["one", "a set"])
def test_one_look_of_the_store_counts_once_however_many_look_at_a_file(tmp_path: Path, scheme: Scheme) -> None:
    put(tmp_path, "sk")
    store = CredentialStore(Layout(tmp_path))
    store.track([scheme])
    store.refresh(0.0, 1.0)
    os.unlink(tmp_path / "secrets/vendor/token")
    store.refresh(1.0, 2.0)
    store.of(scheme).refresh(1.1, 2.1)  # as after a refusal
    assert store.of(scheme).value
    store.refresh(2.0, 3.0)
    assert not store.of(scheme).value


def test_a_file_that_is_replaced_in_two_steps_is_never_missed(tmp_path: Path) -> None:
    put(tmp_path, "old")
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    os.unlink(tmp_path / "secrets/vendor/token")
    found.refresh(1.0, 2.0)
    put(tmp_path, "new")
    found.refresh(2.0, 3.0)
    assert (found.value, found.reports()[0].problem) == ("new", "")


def test_both_values_are_scrubbed(tmp_path: Path) -> None:
    store = CredentialStore(Layout(tmp_path))
    store.track([Bearer(FILE)])
    for value in ("sk-old", "sk-new"):
        put(tmp_path, value)
        store.refresh(0.0, 1.0)
    assert store.scrub(b"not sk-old nor sk-new") == b"not [redacted] nor [redacted]"


def test_a_new_config_keeps_what_it_still_names(tmp_path: Path) -> None:
    put(tmp_path, "sk")
    store = CredentialStore(Layout(tmp_path))
    store.track([Bearer(FILE)])
    store.refresh(0.0, 1.0)
    before = store.of(Bearer(FILE))
    store.track([Bearer(FILE), Bearer(CredentialFile("other", "k"))])
    assert store.of(Bearer(FILE)) is before
    store.track([])
    assert store.files() == [] and store.reports() == []


def test_a_document_has_content_and_no_value(tmp_path: Path) -> None:
    put(tmp_path, '{\n  "key": "ключ"\n}\n')
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    assert (found.content, found.value, found.ready) == ('{\n  "key": "ключ"\n}', "", False)
    assert found.reports()[0].problem == "holds characters that cannot be sent in a header"
    assert "header" in found.fault
    assert found.report("").problem == ""
    assert found.report("not this").problem == "not this"


def test_a_former_document_is_never_sent_as_a_value(tmp_path: Path) -> None:
    found = credential(tmp_path)
    for number, content in enumerate(("two\nlines", "sk-new")):
        put(tmp_path, content)
        found.refresh(float(number), 1.0)
    assert found.value == "sk-new"
    assert found.other_than("sk-new", 2.0) == ""
    assert "two\nlines" in found.known_values()


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    put(tmp_path, b"\xff\xfe")
    found = credential(tmp_path)
    found.refresh(0.0, 1.0)
    assert found.reports()[0].problem == "not text"
