"""Access keys from Secrets: which scheme a target gets, and that keys count as one set through every rotation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_serving.proxy.credentials.aws import AwsIdentity, AwsKeys, KeySet, aws_scheme
from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.scheme import Outgoing
from model_serving.proxy.credentials.sigv4 import AccessKeys, Scope
from model_serving.proxy.credentials.store import CredentialStore
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialFile, Layout, Target
from tests.proxy.harness import write

ID, SECRET, SESSION = (CredentialFile("aws", key) for key in ("id", "secret", "session"))
REFS = {"aws_access_key_id": ID, "aws_secret_access_key": SECRET}
REGION = {"aws_region": "eu-central-1"}
SCOPE = Scope("eu-central-1", "bedrock")
OLD, NEW = AccessKeys("id-old", "secret-old"), AccessKeys("id-new", "secret-new")


def target(settings: dict[str, str], credentials: dict[str, CredentialFile]) -> Target:
    return Target("e", "amazon-bedrock", "llm/v1/chat", "m", settings=settings, credentials=credentials)


@pytest.mark.parametrize(
    ("settings", "credentials", "scheme"),
    [
        pytest.param(REGION, REFS, AwsKeys(SCOPE, ID, SECRET, None), id="a lasting key has two parts"),
        pytest.param(
            REGION,
            REFS | {"aws_session_token": SESSION},
            AwsKeys(SCOPE, ID, SECRET, SESSION),
            id="a temporary one three",
        ),
        pytest.param(REGION | {"workload_identity": "{}"}, {}, AwsIdentity(SCOPE), id="the pod's identity needs none"),
    ],
)
def test_a_target_tells_its_scheme(
    settings: dict[str, str], credentials: dict[str, CredentialFile], scheme: AwsKeys | AwsIdentity
) -> None:
    found = aws_scheme(target(settings, credentials))
    assert (found, hash(found)) == (scheme, hash(scheme)), "equal schemes share a source"
    assert found.files == tuple(credentials.values())
    assert found.refusals == {401, 403}


@pytest.mark.parametrize(
    ("settings", "credentials", "error"),
    [
        pytest.param({}, REFS, KeyError, id="no region"),
        pytest.param(REGION, {"aws_access_key_id": ID}, KeyError, id="half a key"),
        pytest.param({"aws_region": "x.evil.example/"}, REFS, ValueError, id="a region that would be another host"),
    ],
)
def test_what_is_missing_is_told_when_the_config_is_compiled(
    settings: dict[str, str], credentials: dict[str, CredentialFile], error: type[Exception]
) -> None:
    with pytest.raises(error):
        aws_scheme(target(settings, credentials))


class Keys:
    """A key set over files, and a clock."""

    def __init__(self, root: Path, *files: CredentialFile) -> None:
        self.root = root
        self.files = files or (ID, SECRET)
        self.now = 0.0
        self.set = KeySet([Credential(file, Layout(root)) for file in self.files])

    def put(self, keys: AccessKeys) -> None:
        """All files at once, as kubelet swaps a Secret."""
        for file, value in zip(self.files, (keys.id, keys.secret, keys.token), strict=False):
            self.put_one(file, value)

    def put_one(self, file: CredentialFile, value: str) -> None:
        write(self.root / "secrets" / file.secret / file.key, value)

    def look(self, seconds: float = 1.0) -> AccessKeys | None:
        """A later look."""
        self.now += seconds
        self.set.refresh(self.now, 1_700_000_000.0 + self.now)
        return self.set.value


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_keys_are_there_when_all_files_are(keys: Keys) -> None:
    assert keys.look() is None
    assert keys.set.fault == "the key id of Secret aws is missing"
    keys.put_one(ID, "id-old")
    assert keys.look() is None
    assert not keys.set.ready
    assert keys.set.fault == "the key secret of Secret aws is missing"
    keys.put_one(SECRET, "secret-old")
    assert keys.look() == OLD, "the first ones serve at once"
    assert keys.set.ready
    assert [report.problem for report in keys.set.reports()] == ["", ""]


def test_a_session_token_is_a_part_of_the_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path, ID, SECRET, SESSION)
    keys.put(OLD)
    keys.put_one(SESSION, "")
    assert keys.look() is None
    assert keys.set.fault == "the key session of Secret aws is empty"
    keys.put_one(SESSION, "session")
    assert keys.look() == AccessKeys("id-old", "secret-old", "session")


def test_a_rotation_in_one_step_serves_a_moment_later(keys: Keys) -> None:
    keys.put(OLD)
    keys.look()
    keys.put(NEW)
    assert keys.look() == OLD
    assert keys.look() == NEW


def test_files_that_change_one_after_the_other_are_never_mixed(keys: Keys) -> None:
    keys.put(OLD)
    seen = [keys.look()]
    keys.put_one(ID, "id-new")
    seen.append(keys.look(0.9))
    keys.put_one(SECRET, "secret-new")
    seen += [keys.look(0.9), keys.look(0.9), keys.look(0.9)]
    assert seen[:3] == [OLD] * 3
    assert seen[-1] == NEW
    assert set(seen) == {OLD, NEW}


def test_a_refusal_does_not_wait_for_that_moment(keys: Keys) -> None:
    keys.put(OLD)
    keys.look()
    keys.put(NEW)
    assert keys.look(0.0) == OLD
    assert keys.set.other_than(OLD, keys.now) == NEW


def test_a_refusal_is_final_without_other_keys(keys: Keys) -> None:
    keys.put(OLD)
    keys.look()
    assert keys.set.other_than(OLD, keys.now) is None


def test_the_former_keys_stay_for_five_minutes(keys: Keys) -> None:
    keys.put(OLD)
    keys.look()
    keys.put(NEW)
    keys.look()
    keys.look()
    assert keys.set.other_than(NEW, keys.now + 299.0) == OLD
    assert keys.set.other_than(NEW, keys.now + 301.0) is None
    assert keys.set.other_than(OLD, keys.now) == NEW


def test_keys_that_are_gone_are_believed_gone(keys: Keys) -> None:
    keys.put(OLD)
    keys.look()
    os.unlink(keys.root / "secrets/aws/secret")
    assert keys.look() == OLD, "it may be replaced in two steps"
    assert keys.look() is None
    assert keys.set.reports()[1].problem == CREDENTIAL_MISSING


def test_all_parts_of_all_keys_are_known_as_secrets(keys: Keys) -> None:
    keys.put(OLD)
    keys.look()
    keys.put(NEW)
    keys.look()
    assert {"id-old", "secret-old", "id-new", "secret-new"} <= set(keys.set.known_values()), "before they serve, too"


def test_the_store_follows_the_files_and_takes_the_secrets_out_of_errors(tmp_path: Path) -> None:
    keys, scheme = Keys(tmp_path), AwsKeys(SCOPE, ID, SECRET, None)
    keys.put(OLD)
    store = CredentialStore(Layout(tmp_path))
    store.track([scheme])
    store.refresh(0.0, 1.0)
    assert store.loaded
    assert store.of(scheme).value == OLD
    assert len(store.reports()) == 2
    assert store.scrub(b"with secret-old") == b"with [redacted]"
    shown = scheme.headers(store.of(scheme).value, Outgoing("h", "/model/m/converse", b"{}", 1_700_000_000.0))
    assert b"Credential=id-old/20231114/eu-central-1/bedrock/aws4_request" in shown
    assert b"secret-old" not in shown
