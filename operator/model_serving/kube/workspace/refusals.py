"""What the API server refused, in the words of a workspace: who may not, what is locked, which field is wrong."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from model_serving.api.problems import Problem
from model_serving.kube import errors
from model_serving.stores import Away, Changed, Denied, Locked, Refused, StoreError, Taken, Unknown

log = logging.getLogger(__name__)

LOCK_POLICY = "model-serving-config-lock"

_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '[^']*' denied request: (.+)", re.DOTALL)
_WEBHOOK = re.compile(r'admission webhook "[^"]+" denied the request:? ?(.*)', re.DOTALL)
_RBAC = re.compile(r"forbidden: User .* cannot ", re.DOTALL)
_ESCALATION = "attempting to grant RBAC permissions not currently held"
_FIELD = re.compile(r"((?:spec|metadata)[^\s:]*): (.+)", re.DOTALL)
_FAULT = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?)(?:: |$)")
_WITH_VALUE = ("Invalid value", "Unsupported value", "Not found", "Too many")
_WORDS = {"Required value": "is required", "Duplicate value": "stands in the list twice: remove one"}
_NO_FIELD = "<nil>"


@dataclass(frozen=True, slots=True)
class Deed:
    """What was asked of the API server: `who` would `verb` the thing called `what`, of a kind called `plural`.

    `instead` is a second way to the right, beside an admin's leave."""

    who: str
    verb: str
    what: str
    plural: str
    namespace: str
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.what} in namespace {self.namespace}"

    @property
    def denial(self) -> str:
        """That RBAC does not allow it, with the remedy."""
        remedy = f"ask an admin of the namespace for the right to {self.verb} {self.plural}"
        return f"{self.who} may not {self}: {remedy}{', or ' + self.instead if self.instead else ''}"


@contextmanager
def told(deed: Deed) -> Iterator[None]:
    """Turns a `KubeError` about something done with the caller's token into the `StoreError` for the caller."""
    try:
        yield
    except errors.KubeError as error:
        raise store_error(error, deed) from None


@contextmanager
def told_of_reading(what: str) -> Iterator[None]:
    """The same for what is read with the workspace's own rights: whatever is refused then is not the caller's fault."""
    try:
        yield
    except errors.KubeError as error:
        log.warning("reading %s: %s", what, error)
        if isinstance(error, errors.Forbidden | errors.Unauthorized):
            text = "the workspace lacks its own right to do so: ask an admin to apply manifests/workspace again"
        else:
            text = "the cluster gives no answer at the moment: try again in a few seconds"
        raise Away(f"reading {what}: {text}") from None


def store_error(error: errors.KubeError, deed: Deed) -> StoreError:
    """The error for the person who asked. Never quotes a value."""
    match error:
        case errors.NotFound():
            return Unknown(f"{deed}: it is not there")
        case errors.Conflict() if error.already_exists:
            return Taken(f"{deed}: an object of that name exists already")
        case errors.Conflict():
            return Changed(f"{deed}: somebody changed it meanwhile: read it again")
        case errors.Forbidden():
            return _forbidden(error, deed)
        case errors.Unauthorized():
            return Denied(f"{deed}: the token has expired or was revoked: present a valid one")
        case errors.Invalid():
            return _invalid(error, deed)
        case errors.TooManyRequests():
            return Away(f"{deed}: the cluster is busy: try again in {error.retry_after:.0f} s")
    log.warning("%s", error)
    return Away(f"{deed}: the cluster gives no answer at the moment: look whether it was done, then try again")


def _forbidden(error: errors.Forbidden, deed: Deed) -> StoreError:
    if policy := _POLICY.search(error.words):
        name, text = policy.groups()
        return Locked(text) if name == LOCK_POLICY else _refused([_problem(text)])
    if webhook := _WEBHOOK.search(error.words):
        return Refused(f"{deed}: refused by the cluster's admission: {webhook[1] or 'no reason given'}")
    if error.terminating:
        return Refused(f"{deed}: the namespace is being deleted: choose another")
    if _RBAC.search(error.words) or not error.words:
        return Denied(deed.denial)
    if _ESCALATION in error.words:
        return Denied(f"{deed.who} may not {deed}: nobody gives rights that he does not have: ask an admin to do it")
    # A quota, or another plug-in of the API server.
    return Refused(f"{deed}: {error.words.partition(' is forbidden: ')[2] or error.words}")


def _invalid(error: errors.Invalid, deed: Deed) -> Refused:
    # A field that is not one: that some rules were not even looked at.
    found = [Problem(field, _without_value(text, field)) for field, text in error.fields if field != _NO_FIELD]
    if found:
        return _refused(list(dict.fromkeys(found)))
    if policy := _POLICY.search(error.words):
        return _refused([_problem(policy[2])])
    if webhook := _WEBHOOK.search(error.words):
        return Refused(f"{deed}: refused by the cluster's admission: {webhook[1] or 'no reason given'}")
    return Refused(f"{deed}: the API server refuses the content")


def _refused(found: list[Problem]) -> Refused:
    return Refused("; ".join(map(str, found)), [problem for problem in found if problem.field])


def _problem(text: str) -> Problem:
    field = _FIELD.fullmatch(text)
    return Problem(field[1], field[2]) if field else Problem("", text)


def _without_value(text: str, field: str) -> str:
    """`Invalid value: "sk-pasted": must match …` → `must match …`: a value may be a key in the wrong place."""
    fault = _FAULT.match(text)
    if not fault:
        return text
    rest, kind = text[fault.end() :], fault[1]
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in _WITH_VALUE:
        try:
            _, end = json.JSONDecoder().raw_decode(rest)
        except ValueError:
            # Not JSON, so it is not known where the value ends.
            return "is not valid: see its rules in the reference"
        rest = rest[end:].removeprefix(": ")
    return rest.removeprefix(f"{field} in body ") or "is not valid"
