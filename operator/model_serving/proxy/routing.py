"""Which target a call goes to: the weighted choice. Pure; the random number is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from model_serving.proxy.errors import EndpointNotFound, Unavailable


class Weighted(Protocol):
    """What can be chosen."""

    @property
    def entity(self) -> str:
        """The served entity's name."""

    @property
    def weight(self) -> int:
        """Its share of the calls, in percent."""


T = TypeVar("T", bound=Weighted)


def choose(targets: Sequence[T], entity: str, lot: float) -> T:
    """The target of a call: the entity that the path names, else by weight; `lot` lies in [0, 1). EndpointNotFound."""
    if entity:
        return _named(targets, entity)
    if len(targets) == 1:
        return targets[0]
    point = lot * sum(target.weight for target in targets)
    for target in targets:
        point -= target.weight
        if point < 0:
            return target
    raise Unavailable("no served entity of this endpoint takes traffic: set a traffic percentage above 0")


def _named(targets: Sequence[T], entity: str) -> T:
    for target in targets:
        if target.entity == entity:
            return target
    names = ", ".join(target.entity for target in targets)
    raise EndpointNotFound(f"this endpoint has no served entity {entity[:128]}: it has {names}")
