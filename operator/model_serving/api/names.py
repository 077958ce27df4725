"""Names that clients and tests depend on: from Databricks' spelling to what Kubernetes allows. Pure.

Databricks names have capitals, `_` and `@`; object names are lower-case letters, digits and `-`. A slug that lost
something gets six characters of the original's hash, so that `my_model` and `my-model` never meet.
"""

from __future__ import annotations

import hashlib
import re

OBJECT_NAME_MAX = 48
"""Leaves 15 characters to the suffixes of children, whose names end at 63."""
CHILD_NAME_MAX = 63
SECRET_NAME_MAX = 253

CREATOR_ANNOTATION = "model-serving.dev/creator"
"""On an endpoint: who created it through REST; may manage it."""
CANCEL_ANNOTATION = "model-serving.dev/cancel"
"""On an endpoint: the generation whose update is taken back."""
OVERRIDE_ANNOTATION = "model-serving.dev/override"
"""On an endpoint: the generation whose update a new config may replace while it is in progress."""
RETRY_ANNOTATION = "model-serving.dev/retry"
"""On an endpoint: any new value tries a failed update again."""
RELOAD_ANNOTATION = "model-serving.dev/reload"
"""On an endpoint: any new value makes its proxies read their Secrets again at once."""

ACCOUNT_PREFIX = "system:serviceaccount:"
"""How the user names of ServiceAccounts begin; namespace and name follow."""

SCOPE_ANNOTATION = "model-serving.dev/scope"
SCOPE_HASH_LABEL = "model-serving.dev/scope-hash"

_HASH = 6
_OBJECT_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def object_name(endpoint_name: str) -> str:
    """The object's name for an endpoint's name: itself where Kubernetes allows it, else a slug with a hash.

    At most 48 characters, a letter first.
    """
    if len(endpoint_name) <= OBJECT_NAME_MAX and _OBJECT_NAME.fullmatch(endpoint_name):
        return endpoint_name
    slug = _slug(endpoint_name)
    if not slug[:1].isalpha():
        slug = f"e-{slug}" if slug else "e"
    return _hashed(slug, endpoint_name, OBJECT_NAME_MAX)


def secret_names(scope: str) -> tuple[str, str]:
    """The names under which a scope's Secret is looked for: the slug, then the slug with a hash.

    The second is used when another scope of the same slug came first; see `SCOPE_ANNOTATION`.
    """
    slug = scope if _is_subdomain(scope) else _slug(scope) or "scope"
    return slug, _hashed(slug, scope, SECRET_NAME_MAX)


def scope_hash(scope: str) -> str:
    """Value of the label by which a scope's Secret is found in a list; labels take neither `@` nor 128 characters."""
    return _digest(scope)[:32]


def account_user(namespace: str, name: str) -> str:
    """The user name by which the API server knows a ServiceAccount."""
    return f"{ACCOUNT_PREFIX}{namespace}:{name}"


def databricks_id(uid: str) -> str:
    """The `id` of the REST API: the object's UID without dashes."""
    return uid.replace("-", "")


def child_name(owner: str, suffix: str) -> str:
    """Name of an object that belongs to `owner`: at most 63 characters, cut with a hash where it would be longer."""
    name = f"{owner}-{suffix}"
    if len(name) <= CHILD_NAME_MAX:
        return name
    keep = CHILD_NAME_MAX - len(suffix) - _HASH - 2
    if keep < 1:
        return _hashed(owner, name, CHILD_NAME_MAX)
    return f"{owner[:keep].rstrip('-.')}-{_digest(name)[:_HASH]}-{suffix}"


def kept_keys_name(object_name: str) -> str:
    """Name of the Secret that holds the keys which an endpoint was given in plain text through REST."""
    return child_name(object_name, "keys")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _hashed(slug: str, original: str, limit: int) -> str:
    return f"{slug[: limit - _HASH - 1].rstrip('-.')}-{_digest(original)[:_HASH]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_subdomain(name: str) -> bool:
    return all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", label) for label in name.split("."))
