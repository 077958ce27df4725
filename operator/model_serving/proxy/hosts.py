"""Which addresses the proxy may connect to. Pure; asked by the dialler with the addresses that DNS gave.

Names are checked at admission, but a name can point anywhere: what counts is the address that is connected to.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum

from model_serving.host_names import LOOPBACK_NAMES, NEVER_NAMES, NUMBER_NAMES, PRIVATE_NAMES

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HostClass(StrEnum):
    """How far an address is reachable, and so whose leave it needs."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    NEVER = "never"


class Leave(StrEnum):
    """Which hosts may be called (`Policy.upstream_leave`)."""

    PUBLIC = "public"
    """Public addresses, over https."""
    PRIVATE = "private"
    """Private ranges too, and http."""
    LOCAL = "local"
    """Loopback too: model servers on a laptop."""
    IDENTITY = "identity"
    """Only where a pod learns who it is: the clouds' metadata and identity services, and loopback; http too."""
    TRUSTED = "trusted"
    """Addresses that the platform itself gave (the router's table): no check."""


# Sources: cloud vendors' pages on instance metadata; these lie outside the link-local range.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
# Sources: AWS SDKs' container and instance credentials, EKS Pod Identity, Google's metadata server (IPv4 and IPv6).
_IDENTITY = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
_NEVER_ADDRESSES = _METADATA | _IDENTITY
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
# Deprecated or local forms that hold an IPv4 address which cannot be told, and site-local addresses (RFC 3879).
_NEVER = tuple(ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "fec0::/10", "::ffff:0:0:0/96", "::/96"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_ALLOWED = {
    Leave.PUBLIC: frozenset({HostClass.PUBLIC}),
    Leave.PRIVATE: frozenset({HostClass.PUBLIC, HostClass.PRIVATE}),
    Leave.LOCAL: frozenset({HostClass.PUBLIC, HostClass.PRIVATE, HostClass.LOOPBACK}),
    Leave.TRUSTED: frozenset(HostClass),
}


def host_class(text: str) -> HostClass:
    """The class of an IP address. ValueError when the text is none."""
    address = _address(text)
    if address in _NEVER_ADDRESSES or address.is_link_local or address.is_unspecified or address.is_multicast:
        return HostClass.NEVER
    if address.is_loopback:
        return HostClass.LOOPBACK
    if any(address in network for network in _NEVER if network.version == address.version):  # ::/96 holds ::1
        return HostClass.NEVER
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return HostClass.PRIVATE
    return HostClass.PUBLIC if address.is_global else HostClass.NEVER


def name_class(name: str) -> HostClass:
    """The class of a host by its name alone: all there is to go by where an HTTP proxy looks names up."""
    bare = name.lower().rstrip(".")
    if re.fullmatch(LOOPBACK_NAMES, bare):
        return HostClass.LOOPBACK
    if re.fullmatch(NEVER_NAMES, bare) or re.fullmatch(NUMBER_NAMES, bare):
        return HostClass.NEVER
    return HostClass.PRIVATE if re.fullmatch(PRIVATE_NAMES, bare) else HostClass.PUBLIC


def refusal(text: str, leave: Leave, denied: frozenset[str] = frozenset()) -> str:
    """Why an address, or a name behind an HTTP proxy, may not be called; empty when it may. `denied` never may."""
    if leave is Leave.TRUSTED:
        return ""
    known = _is_address(text)
    kind = host_class(text) if known else name_class(text)
    if leave is Leave.IDENTITY:
        its = kind is HostClass.LOOPBACK or (known and _address(text) in _IDENTITY)
        return "" if its else "this is not the address of a cloud's identity service"
    if kind is HostClass.NEVER or text in denied or (known and str(_address(text)) in denied):
        return "this address is never called from here"
    if kind in _ALLOWED[leave]:
        return ""
    if kind is HostClass.LOOPBACK:
        return "loopback addresses are not called from here"
    return "private addresses need the admin's leave (namespace label model-serving.dev/private-upstreams)"


def scheme_refusal(https: bool, leave: Leave) -> str:
    """Why a URL's scheme may not be used; empty when it may."""
    if https or leave is not Leave.PUBLIC:
        return ""
    return "http:// needs the admin's leave (namespace label model-serving.dev/private-upstreams): use https://"


def _is_address(text: str) -> bool:
    try:
        _address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> Address:
    return _unwrapped(ipaddress.ip_address(text.partition("%")[0]))


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one: the connection would go there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
