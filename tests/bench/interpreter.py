"""Which Python was measured: its version, and whether it was built with profile-guided optimisation.

An interpreter without it is 1.2 to 1.5 times as slow, so that a figure means nothing without this line. Used by the
reports."""

from __future__ import annotations

import platform
import sys
import sysconfig


def optimised() -> bool:
    """Whether the interpreter that runs this was built with profile-guided optimisation.

    Debian builds its own so by hand, which the recorded options do not show; it marks itself by its folder."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return "--enable-optimizations" in options or is_distribution_build()


def is_distribution_build() -> bool:
    """Whether this is the system's own Python, from a distribution's package."""
    return sys.base_prefix == "/usr"


def name() -> str:
    """The interpreter in words."""
    built = "optimised build" if optimised() else "built without optimisation (no PGO)"
    return f"Python {platform.python_version()}, {built}"
