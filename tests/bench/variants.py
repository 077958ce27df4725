"""The proxy with everything on, and with one feature off at a time, switched as its users would do it."""

from __future__ import annotations

from tests.bench.ours import CALL_LIMITS, EVERYTHING, Features

VARIANTS: dict[str, Features] = {
    "proxy": EVERYTHING,
    "API keys instead of tokens": Features(tokens=False),
    "limits of calls alone": Features(limits=CALL_LIMITS),
    "no limits": Features(limits=()),
    "no access log": Features(access_log=False),
    "none of these": Features(tokens=False, limits=(), access_log=False),
}
"""The proxy by what is off."""
