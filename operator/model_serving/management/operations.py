"""All operations of the REST API, in the order of the reference."""

from __future__ import annotations

from model_serving.management import identity, permissions, secret_scopes
from model_serving.management.call import Operation

OPERATIONS: list[Operation] = [
    *permissions.OPERATIONS,
    *identity.OPERATIONS,
    *secret_scopes.OPERATIONS,
]
