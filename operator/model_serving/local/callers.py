"""Who calls the REST API, and what they may beyond `spec.access`. A part of the platform that `platform.py` builds."""

from __future__ import annotations

from model_serving.local.users import UsersWatch, digest_of
from model_serving.stores import Caller, Verb


class LocalCallers:
    """The users of a run, as they stand at each call."""

    def __init__(self, users: UsersWatch) -> None:
        self._users = users

    async def identify(self, token: str) -> Caller | None:
        """The owner of a bearer token; None: nobody knows it."""
        user = self._users.users.get(digest_of(token))
        return Caller(user.name, frozenset(user.groups), token, user.admin) if user else None

    async def may(self, caller: Caller, verb: Verb, object_name: str = "") -> bool:
        """Admins may do everything; all others what `spec.access` gives them."""
        return caller.admin
