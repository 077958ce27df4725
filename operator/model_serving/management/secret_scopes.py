"""Databricks' secrets API: scopes, keys and who may use them. Values go in and never come out again.

Called through `operations.py`. Everything is done with the caller's own rights; what a scope is on a platform is the
business of `stores.Secrets`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from model_serving.management.call import Call, Operation
from model_serving.management.errors import AlreadyExists, BadRequest, DoesNotExist, InvalidParameter
from model_serving.management.reload import reload_users_of
from model_serving.stores import Permission, Scope, StoreError, Unknown

LARGEST_VALUE = 128 * 1024
"""Bytes of one value."""
_SCOPE = re.compile(r"[-._@A-Za-z0-9]{1,128}")
_KEY = re.compile(r"[-_A-Za-z0-9][-._A-Za-z0-9]{0,127}")
_BACKEND = "DATABRICKS"
_OF_SCOPE = ("scope",)
_LONGEST_PRINCIPAL = 255
_PATH = "/api/2.0/secrets"


async def create_scope(call: Call) -> dict[str, Any]:
    """Makes a scope. The initial principal, where one is given, manages it."""
    name, initial = _scope_name(call.body), "initial_manage_principal"
    principal = _principal_name(call.body, initial) if call.body.get(initial) else ""
    backend = _text(call.body, "scope_backend_type") or _BACKEND
    if backend != _BACKEND or call.body.get("backend_azure_keyvault"):
        raise InvalidParameter(f"scope_backend_type: only {_BACKEND} is possible here: leave it out")
    secrets = call.platform.secrets
    if await secrets.scope(call.caller, name) is not None:
        raise AlreadyExists(f"the secret scope {name} exists already")
    scope = await secrets.create_scope(call.caller, name)
    if principal:
        try:
            await secrets.set_acl(call.caller, scope, principal, Permission.MANAGE)
        except StoreError:
            await secrets.delete_scope(call.caller, scope)
            raise
    return {}


async def list_scopes(call: Call) -> dict[str, Any]:
    """The scopes that the caller may list."""
    scopes = await call.platform.secrets.scopes(call.caller)
    return {"scopes": [{"name": scope.name, "backend_type": _BACKEND} for scope in scopes]}


async def delete_scope(call: Call) -> dict[str, Any]:
    """With all its keys."""
    await call.platform.secrets.delete_scope(call.caller, await _scope(call, call.body))
    return {}


async def put_secret(call: Call) -> dict[str, Any]:
    """Writes one key; the endpoints that use it read it again at once."""
    key, value = _key_name(call.body), _value(call.body)
    scope = await _scope(call, call.body)
    await call.platform.secrets.put(call.caller, scope, key, value)
    await reload_users_of(call.platform, call.caller, scope.object_name, key)
    return {}


async def list_secrets(call: Call) -> dict[str, Any]:
    """Keys and when each was written; no values."""
    scope = await _scope(call, call.query)
    keys = sorted(scope.keys.items())
    return {"secrets": [{"key": key, "last_updated_timestamp": _milliseconds(stamp)} for key, stamp in keys]}


async def delete_secret(call: Call) -> dict[str, Any]:
    """Removes one key."""
    key, scope = _key_name(call.body), await _scope(call, call.body)
    try:
        await call.platform.secrets.delete(call.caller, scope, key)
    except Unknown:
        raise DoesNotExist(f"the secret scope {scope.name} has no key {key}") from None
    return {}


async def get_secret(_: Call) -> dict[str, Any]:
    """Refused for everybody."""
    raise BadRequest(
        "key: values of secrets cannot be read back through this API: name them as {{secrets/SCOPE/KEY}} where they "
        "are used, or put them anew"
    )


async def put_acl(call: Call) -> dict[str, Any]:
    """Gives a principal a permission on a scope."""
    principal, word = _principal_name(call.body), _required(call.body, "permission")
    if word not in list(Permission):
        raise InvalidParameter(f"permission: must be one of {', '.join(Permission)}")
    await call.platform.secrets.set_acl(call.caller, await _scope(call, call.body), principal, Permission(word))
    return {}


async def list_acls(call: Call) -> dict[str, Any]:
    """Who may do what with a scope."""
    acls = await call.platform.secrets.acls(call.caller, await _scope(call, call.query))
    return {"items": [_acl(principal, permission) for principal, permission in sorted(acls.items())]}


async def get_acl(call: Call) -> dict[str, Any]:
    """What one principal may do with a scope."""
    principal, scope = _principal_name(call.query), await _scope(call, call.query)
    return _acl(principal, await _permission(call, scope, principal))


async def delete_acl(call: Call) -> dict[str, Any]:
    """Takes a principal's permission on a scope away."""
    principal, scope = _principal_name(call.body), await _scope(call, call.body)
    await _permission(call, scope, principal)
    await call.platform.secrets.set_acl(call.caller, scope, principal, None)
    return {}


def _acl(principal: str, permission: Permission) -> dict[str, str]:
    return {"principal": principal, "permission": str(permission)}


async def _permission(call: Call, scope: Scope, principal: str) -> Permission:
    found = (await call.platform.secrets.acls(call.caller, scope)).get(principal)
    if found is None:
        raise DoesNotExist(f"{principal} has no permission of its own on the secret scope {scope.name}")
    return found


async def _scope(call: Call, given: Mapping[str, Any]) -> Scope:
    name = _scope_name(given)
    scope = await call.platform.secrets.scope(call.caller, name)
    if scope is None:
        raise DoesNotExist(f"there is no secret scope {name}: create it with POST /api/2.0/secrets/scopes/create")
    return scope


def _scope_name(given: Mapping[str, Any]) -> str:
    name = _required(given, "scope")
    if not _SCOPE.fullmatch(name):
        raise InvalidParameter("scope: use 1 to 128 letters, digits and - _ @ .")
    return name


def _key_name(given: Mapping[str, Any]) -> str:
    name = _required(given, "key")
    if not _KEY.fullmatch(name):
        raise InvalidParameter("key: use 1 to 128 letters, digits and - _ . (not first)")
    return name


def _principal_name(given: Mapping[str, Any], field: str = "principal") -> str:
    name = _required(given, field)
    if len(name) > _LONGEST_PRINCIPAL or name != name.strip() or not name.isprintable():
        raise InvalidParameter(
            f"{field}: must be a name of at most {_LONGEST_PRINCIPAL} characters, without edge spaces"
        )
    return name


def _required(given: Mapping[str, Any], field: str) -> str:
    text = _text(given, field)
    if not text:
        raise InvalidParameter(f"{field}: is required")
    return text


def _text(given: Mapping[str, Any], field: str) -> str:
    value = given.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidParameter(f"{field}: must be a string")
    return value or ""


def _value(body: Mapping[str, Any]) -> bytes:
    given = [field for field in ("string_value", "bytes_value") if body.get(field) is not None]
    if len(given) != 1:
        raise InvalidParameter("string_value, bytes_value: give exactly one of the two")
    field, text = given[0], _text(body, given[0])
    try:
        value = text.encode() if field == "string_value" else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("bytes_value: must be base64") from None
    if not value:
        raise InvalidParameter(f"{field}: must not be empty")
    if len(value) > LARGEST_VALUE:
        raise InvalidParameter(f"{field}: must have at most {LARGEST_VALUE} bytes")
    return value


def _milliseconds(stamp: str) -> int:
    try:
        return int(datetime.fromisoformat(stamp).timestamp() * 1000)
    except ValueError:
        return 0


OPERATIONS = [
    Operation("POST", f"{_PATH}/scopes/create", create_scope, "Make a secret scope", "ScopeCreate", "Empty"),
    Operation("GET", f"{_PATH}/scopes/list", list_scopes, "List secret scopes", response="Scopes"),
    Operation("POST", f"{_PATH}/scopes/delete", delete_scope, "Delete a scope with its keys", "ScopeName", "Empty"),
    Operation("POST", f"{_PATH}/put", put_secret, "Write a secret", "SecretWrite", "Empty"),
    Operation("GET", f"{_PATH}/list", list_secrets, "List the keys of a scope", response="SecretKeys", query=_OF_SCOPE),
    Operation("POST", f"{_PATH}/delete", delete_secret, "Delete a secret", "SecretName", "Empty"),
    Operation("GET", f"{_PATH}/get", get_secret, "Refused: values cannot be read back", query=("scope", "key")),
    Operation("POST", f"{_PATH}/acls/put", put_acl, "Give a permission on a scope", "AclWrite", "Empty"),
    Operation("GET", f"{_PATH}/acls/list", list_acls, "List permissions on a scope", response="Acls", query=_OF_SCOPE),
    Operation(
        "GET", f"{_PATH}/acls/get", get_acl, "Show a permission on a scope", response="Acl",
        query=("scope", "principal"),
    ),
    Operation("POST", f"{_PATH}/acls/delete", delete_acl, "Take a permission on a scope away", "AclName", "Empty"),
]  # fmt: skip
