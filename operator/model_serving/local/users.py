"""Who may call: a users file, or the one user that `run` makes. Called by `runner.py`.

A users file (YAML or JSON) maps the hexadecimal SHA-256 of a token to its user:

    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08: {user: me@example.com, groups: [data-science]}

With `admin: true` the user may do everything through REST; calling an endpoint is a matter of its `spec.access`.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_serving.local.errors import InputError
from model_serving.local.folder import write_private

_DIGEST = re.compile(r"[0-9a-f]{64}")
_REMEDY = "write one line per token: `SHA256: {user: NAME, groups: [GROUP]}`"


@dataclass(frozen=True, slots=True)
class User:
    """A principal with its groups; an `admin` may do everything through REST."""

    name: str
    groups: tuple[str, ...] = ()
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The user that `run` makes when no users file is given, with the token that it prints."""

    user: User
    token: str


Users = Mapping[str, User]


def digest_of(token: str) -> str:
    """The name under which a token is known."""
    return hashlib.sha256(token.encode()).hexdigest()


def load_users(path: Path) -> Users:
    """Reads a users file. Raises `InputError` naming the entry."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the users file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"the users file {path} is not YAML: {_REMEDY}") from None
    if not isinstance(data, dict) or not data:
        raise InputError(f"the users file {path} holds no users: {_REMEDY}")
    return {str(digest): _user(path, str(digest), entry) for digest, entry in data.items()}


def _user(path: Path, digest: str, entry: Any) -> User:
    # The text of a bad key is not repeated: it may be a token that stands where its digest should be.
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"the users file {path} has a key that is no hexadecimal SHA-256 of a token: {_REMEDY}")
    where = f"the users file {path}, entry {digest[:8]}…"
    if not isinstance(entry, dict) or set(entry) - {"user", "groups", "admin"}:
        raise InputError(f"{where}: {_REMEDY}")
    name, groups = entry.get("user"), entry.get("groups", [])
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: user is missing: {_REMEDY}")
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise InputError(f"{where}: groups must be a list of names")
    return User(name, tuple(groups), entry.get("admin") is True)


def load_owner(path: Path) -> Owner:
    """The user of this state folder; made, with a token, on the first start. Raises `InputError`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Owner(User(data["user"], tuple(data["groups"]), admin=True), data["token"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"cannot read the user in {path}: remove the file, and the next start makes a new one"
        ) from None
    owner = Owner(User(_login(), ("admins", "users"), admin=True), f"local-{secrets.token_hex(20)}")
    content = {"user": owner.user.name, "groups": owner.user.groups, "token": owner.token}
    write_private(path, json.dumps(content, indent=1).encode())
    return owner


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "me"


class UsersWatch:
    """The users of a run, read again when the users file changes."""

    def __init__(self, file: Path | None, owner: Owner | None) -> None:
        self._file = file
        self._stamp = _stamp(file)
        self.users: Users = load_users(file) if file else {digest_of(owner.token): owner.user} if owner else {}

    def refresh(self) -> list[str]:
        """Reads the file if it changed; returns what is wrong with it, in which case the users stay."""
        stamp = _stamp(self._file)
        if self._file is None or stamp == self._stamp:
            return []
        self._stamp = stamp
        try:
            self.users = load_users(self._file)
        except InputError as error:
            return [f"{error}; the users stay as they were"]
        return []


def _stamp(file: Path | None) -> object:
    try:
        stat = file.stat() if file else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else None
