"""All operations of the REST API, in the order of the reference."""

from __future__ import annotations

from model_serving.management import (
    absent,
    endpoints,
    identity,
    insight,
    permissions,
    policies,
    secret_scopes,
    updates,
)
from model_serving.management.call import Operation
from model_serving.management.document import document_operation

OPERATIONS: list[Operation] = [
    *endpoints.OPERATIONS,
    *updates.OPERATIONS,
    *policies.OPERATIONS,
    *insight.OPERATIONS,
    *absent.OPERATIONS,
    *permissions.OPERATIONS,
    *identity.OPERATIONS,
    *secret_scopes.OPERATIONS,
]
OPERATIONS.append(document_operation(OPERATIONS))
