"""`access_control_list` of the REST API ⇄ `spec.access`. Pure; called by `management/permissions.py`.

A service principal is a ServiceAccount, `system:serviceaccount:NAMESPACE:NAME`; it may be sent as `user_name` too,
because a client that runs as one calls itself so. The creator of an endpoint always manages it and is shown with the
others: to itself as one of them, whether it sends itself (as Terraform does) or not; to others as inherited, unless
somebody put it into the list. Terraform takes what is inherited for none of its business, and plans to remove the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from model_serving.api.access import includes, principal_name
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import ACCOUNT_PREFIX, CREATOR_ANNOTATION
from model_serving.api.policy import AccessEntry, PermissionLevel, PrincipalKind
from model_serving.api.problems import problems
from model_serving.management.convert.problems import refuse_others_alone
from model_serving.management.errors import InvalidParameter

LIST = "access_control_list"
MOST_ENTRIES = 100
_FIELDS = {
    "user_name": PrincipalKind.USER,
    "group_name": PrincipalKind.GROUP,
    "service_principal_name": PrincipalKind.SERVICE_ACCOUNT,
}
_FIELD_OF = {kind: field for field, kind in _FIELDS.items()}
_ACCOUNT = re.compile(rf"{ACCOUNT_PREFIX}([^:]+):([^:]+)")


class Principal(NamedTuple):
    """Who is meant; a ServiceAccount by its full name."""

    kind: PrincipalKind
    name: str


Levels = dict[Principal, PermissionLevel]


def read_levels(body: Mapping[str, Any], endpoint: ServingEndpoint) -> Levels:
    """The list of a request. Raises `InvalidParameter` that names the field."""
    given = body.get(LIST)
    if given is None:
        refuse_others_alone(body, LIST)
        return {}
    if not isinstance(given, list):
        raise InvalidParameter(f"{LIST}: must be a list")
    if len(given) > MOST_ENTRIES:
        raise InvalidParameter(f"{LIST}: must have at most {MOST_ENTRIES} entries: give groups instead of users")
    levels: Levels = {}
    for index, each in enumerate(given):
        where = f"{LIST}[{index}]"
        principal, level = _read_entry(each, where, endpoint.metadata.namespace)
        if levels.setdefault(principal, level) is not level:
            raise InvalidParameter(f"{where}: {principal.name} stands in the list with two levels: give one")
        if principal == _creator(endpoint) and level is not PermissionLevel.CAN_MANAGE:
            text = f"{principal.name} created this endpoint and keeps CAN_MANAGE: leave the entry out"
            raise InvalidParameter(f"{where}.permission_level: {text}")
    return levels


def levels_of(endpoint: ServingEndpoint) -> Levels:
    """What an endpoint's list gives. Of two entries for one principal the higher level counts."""
    levels: Levels = {}
    for entry in endpoint.spec.access or []:
        principal = _principal(entry, endpoint.metadata.namespace)
        if not includes(levels.get(principal), entry.permission_level):
            levels[principal] = entry.permission_level
    return levels


def with_levels(endpoint: ServingEndpoint, levels: Levels, caller: str) -> ServingEndpoint:
    """The endpoint with these levels and no others. Entries that mean the same stay as they were written; a creator
    that sends itself needs none.

    Raises `InvalidParameter` for more entries than an endpoint holds.
    """
    namespace, creator = endpoint.metadata.namespace, _creator(endpoint)
    needless = creator if creator == _user(caller) else None
    known = {_principal(entry, namespace): entry for entry in endpoint.spec.access or []}
    entries = [
        known[principal].model_copy(update={"permission_level": level})
        for principal, level in levels.items()
        if principal in known
    ]
    for principal, level in levels.items():
        if principal not in known and principal != needless:
            entries.append(_entry(principal, level, namespace, entries))
    if len(entries) > MOST_ENTRIES:
        text = f"the endpoint would have {len(entries)} entries, at most {MOST_ENTRIES} fit: give groups"
        raise InvalidParameter(f"{LIST}: {text}")
    access = entries if entries or endpoint.spec.access is not None else None
    return endpoint.model_copy(update={"spec": endpoint.spec.model_copy(update={"access": access})})


def render(endpoint: ServingEndpoint, caller: str) -> dict[str, Any]:
    """The permissions object of an endpoint, for one who asks. Its creator stands first."""
    levels, creator = levels_of(endpoint), _creator(endpoint)
    rows = [_row(principal, level) for principal, level in levels.items() if principal != creator]
    if creator is not None:
        own = creator == _user(caller) or levels.get(creator) is PermissionLevel.CAN_MANAGE
        rows.insert(0, _row(creator, PermissionLevel.CAN_MANAGE, inherited=not own))
    return {
        "object_id": f"/serving-endpoints/{endpoint.databricks_id}",
        "object_type": "serving-endpoint",
        LIST: rows,
    }


def _row(principal: Principal, level: PermissionLevel, *, inherited: bool = False) -> dict[str, Any]:
    return {
        _FIELD_OF[principal.kind]: principal.name,
        "display_name": principal.name,
        "all_permissions": [{"permission_level": str(level), "inherited": inherited}],
    }


def _read_entry(entry: Any, where: str, namespace: str) -> tuple[Principal, PermissionLevel]:
    if not isinstance(entry, dict):
        raise InvalidParameter(f"{where}: must be an object with a principal and permission_level")
    # Clients with generated code send what is not set as null or as empty text.
    given = [field for field in _FIELDS if entry.get(field) not in (None, "")]
    if len(given) != 1:
        raise InvalidParameter(f"{where}: give exactly one of {', '.join(_FIELDS)}")
    field = given[0]
    word = entry.get("permission_level")
    if not isinstance(word, str) or word not in list(PermissionLevel):
        raise InvalidParameter(f"{where}.permission_level: must be one of {', '.join(PermissionLevel)}")
    level, name = PermissionLevel(word), entry[field]
    if not isinstance(name, str):
        raise InvalidParameter(f"{where}.{field}: must be a string")
    kind = _FIELDS[field]
    if kind is PrincipalKind.USER and name.startswith(ACCOUNT_PREFIX):
        kind = PrincipalKind.SERVICE_ACCOUNT
    if kind is PrincipalKind.SERVICE_ACCOUNT and not _ACCOUNT.fullmatch(name):
        text = "a service principal is a ServiceAccount, system:serviceaccount:NAMESPACE:NAME; "
        raise InvalidParameter(f"{where}.{field}: {text}the owner of an API key is a user_name")
    principal = Principal(kind, name)
    try:
        _entry(principal, level, namespace, ())
    except ValidationError as error:
        raise InvalidParameter(f"{where}.{field}: {problems(error, AccessEntry)[0].message}") from None
    return principal, level


def _entry(principal: Principal, level: PermissionLevel, namespace: str, others: Iterable[AccessEntry]) -> AccessEntry:
    """The entry for a principal. Kind and name are its key in the list, so that the second ServiceAccount of a name
    is spelt as the User that it is to the API server."""
    account = _ACCOUNT.fullmatch(principal.name) if principal.kind is PrincipalKind.SERVICE_ACCOUNT else None
    if account is None:
        return AccessEntry(kind=principal.kind, name=principal.name, permission_level=level)
    home, name = account.groups()
    entry = AccessEntry(
        kind=PrincipalKind.SERVICE_ACCOUNT,
        name=name,
        namespace="" if home == namespace else home,
        permission_level=level,
    )
    if any((other.kind, other.name) == (entry.kind, entry.name) for other in others):
        return AccessEntry(kind=PrincipalKind.USER, name=principal.name, permission_level=level)
    return entry


def _principal(entry: AccessEntry, namespace: str) -> Principal:
    name = principal_name(entry, namespace)
    return _user(name) if entry.kind is PrincipalKind.USER else Principal(entry.kind, name)


def _user(name: str) -> Principal:
    """Who authenticates as the user `name`: a ServiceAccount does so too."""
    return Principal(PrincipalKind.SERVICE_ACCOUNT if _ACCOUNT.fullmatch(name) else PrincipalKind.USER, name)


def _creator(endpoint: ServingEndpoint) -> Principal | None:
    name = endpoint.metadata.annotations.get(CREATOR_ANNOTATION, "")
    return _user(name) if name else None
