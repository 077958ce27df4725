"""Whether a live object still holds everything that we asked for. Pure; used by `children.py` on the slow full pass,
because reading costs the cluster nothing and a write that changes nothing is still a write."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

_KEYS = ("name", "containerPort", "mountPath", "topologyKey", "uid", "key", "port")
"""What identifies an item of a list, tried in this order."""

_QUANTITY = re.compile(r"([0-9.]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_SUFFIXES = {
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}


def covers(live: Any, wanted: Any) -> bool:
    """Whether `live` has all of `wanted`; what others added does not matter."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            covers(live.get(key), value) for key, value in wanted.items() if not _empty(value) or key in live
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _covers_list(live, wanted)
    return bool(live == wanted) or _same_amount(live, wanted)


def _covers_list(live: list[Any], wanted: list[Any]) -> bool:
    key = _key_of(wanted)
    if key is None:
        return len(live) == len(wanted) and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
    by_key = {item.get(key): item for item in live if isinstance(item, dict)}
    return all(covers(by_key.get(item[key]), item) for item in wanted)


def _key_of(items: list[Any]) -> str | None:
    for key in _KEYS:
        if items and all(isinstance(item, dict) and key in item for item in items):
            return key if len({item[key] for item in items}) == len(items) else None
    return None


def _empty(value: Any) -> bool:
    # The API server drops empty values; a `false` it keeps wherever the default is `true`.
    return value is None or (value == 0 and not isinstance(value, bool)) or value in ("", [], {})


def _same_amount(live: Any, wanted: Any) -> bool:
    a, b = _amount(live), _amount(wanted)
    return a is not None and a == b


def _amount(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        return None
    try:
        return Decimal(match[1]) * _SUFFIXES.get(match[2] or "", 1)
    except InvalidOperation:
        return None
