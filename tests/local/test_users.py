"""Who may call."""

import stat
from pathlib import Path

import pytest

from model_serving.local.errors import InputError
from model_serving.local.users import User, UsersWatch, digest_of, load_owner, load_users

DIGEST = digest_of("token")


def test_a_users_file_maps_digests_to_users(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"{DIGEST}: {{user: me, groups: [a, b]}}\n{digest_of('x')}: {{user: you, admin: true}}\n")
    assert load_users(path) == {DIGEST: User("me", ("a", "b")), digest_of("x"): User("you", admin=True)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "no users", id="empty"),
        pytest.param("[", "not YAML", id="not YAML"),
        pytest.param("canary-token: {user: me}", "SHA-256", id="a token where its digest belongs"),
        pytest.param(f"{DIGEST}: me", DIGEST[:8], id="not a map"),
        pytest.param(f"{DIGEST}: {{groups: []}}", "user is missing", id="no user"),
        pytest.param(f"{DIGEST}: {{user: me, groups: a}}", "list of names", id="groups are no list"),
        pytest.param(f"{DIGEST}: {{user: me, token: canary}}", DIGEST[:8], id="an unknown field"),
    ],
)
def test_faults_are_named_without_tokens(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_users(path)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_users(tmp_path / "nowhere")


def test_the_user_of_run_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "user.json"
    first = load_owner(path)
    assert load_owner(path) == first
    assert len(first.token) > 30
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert UsersWatch(None, first).users == {digest_of(first.token): first.user}


def test_a_broken_user_file_is_refused_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "user.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="remove the file"):
        load_owner(path)
