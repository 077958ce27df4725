"""Who asks the fake API server, and what a table forbids them: reviews and denials in the real one's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]
Right = tuple[str, str, str]
"""User, verb, plural."""

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class People:
    """`tokens`: whose each is (name and groups); a token that is not among them is nobody's, unless there are none.
    `denied`: what they may not do; all else they may."""

    tokens: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    denied: set[Right] = field(default_factory=set)
    reviews: int = 0

    def judge(self, request: web.Request, plural: str, name: str, body: str) -> web.Response | None:
        """The answer to a review or to somebody without the right; None: go on."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.tokens:
            return None
        if token not in self.tokens:
            return _status(401, "Unauthorized", "Unauthorized")
        user, groups = self.tokens[token]
        kind = plural.rpartition("/")[2]
        if kind.startswith("selfsubject"):
            self.reviews += 1
            return web.json_response(self._review(kind, user, groups, json.loads(body)), status=201)
        verb = _VERBS.get(request.method) or ("get" if name else "list")
        if (user, verb, kind) in self.denied:
            text = f'{kind} "{name}" is forbidden: User "{user}" cannot {verb} resource "{kind}" in API group "" here'
            return _status(403, "Forbidden", text)
        return None

    def _review(self, kind: str, user: str, groups: tuple[str, ...], body: Json) -> Json:
        if kind == "selfsubjectreviews":
            return {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": user, "groups": list(groups)}}}
        wanted = body["spec"]["resourceAttributes"]
        allowed = (user, wanted["verb"], wanted["resource"]) not in self.denied
        return {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}}


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": message}, status=code)
