"""What the router knows of one endpoint, from its status and the addresses of its proxies. Pure; for both platforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.status import EndpointStatus
from model_serving.proxy_config import Entry, EntryState, Grant


@dataclass(frozen=True, slots=True)
class Reach:
    """Where an endpoint's ready proxies answer: HOST:PORT. `server_name` is what their certificate must be for."""

    addresses: Sequence[str] = ()
    tls: bool = False
    server_name: str = ""


def table_entry(status: EndpointStatus, grants: Sequence[Grant], reach: Reach) -> Entry:
    """A row of the router's table. Calls to an endpoint that is starting are held, to a broken one refused."""
    conditions = {condition.type: condition for condition in status.conditions}
    ready = conditions.get(ConditionType.READY)
    hopeless = ConditionType.STALLED in conditions or (ready is not None and ready.reason == Reason.SECRET_NOT_FOUND)
    waiting = EntryState.NOT_READY if hopeless else EntryState.STARTING
    if ready is not None and ready.reason == Reason.NOT_SUPPORTED:
        waiting = EntryState.NOT_SUPPORTED
    return Entry(
        addresses=list(reach.addresses),
        state=EntryState.READY if reach.addresses else waiting,
        message=ready.message if ready and not reach.addresses else "",
        grants=list(grants),
        task=status.task,
        tls=reach.tls,
        server_name=reach.server_name if reach.tls else "",
    )
