"""Host names by their class, told by the name alone. Shared by admission (`api/hosts.py`) and the data plane, which
asks when it cannot see addresses: behind an HTTP proxy. Pure.
"""

from __future__ import annotations

NUMBER_NAMES = r"(.*\.)?(0x[0-9a-f]*|[0-9]+)"
"""Hosts whose last label is a number: addresses, in one of their many spellings."""
LOOPBACK_NAMES = r"(.*\.)?localhost|localhost[46]?(\.localdomain[46]?)?|ip6-(localhost|loopback)"
NEVER_NAMES = (
    r"kubernetes(\.default(\.svc(\..*)?)?)?|"
    r"metadata(\.google\.internal|\.goog|\.azure\.com|\.azure\.internal|\.tencentyun\.com)?|"
    r"instance-data(\.ec2\.internal)?"
)
PRIVATE_NAMES = (
    r"[^.]+|.*\.(svc|local|internal|intranet|private|corp|home|lan|localdomain|home\.arpa|test)|"
    r".*\.svc\..*"
)
