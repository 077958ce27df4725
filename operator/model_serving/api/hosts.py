"""Which hosts an endpoint may call, judged by name and literal address; resolved addresses are the proxy's to judge.

Three classes: *never* (loopback, link-local, metadata services, the API server), *by the admin's leave* (private
ranges, names inside a cluster, plain `http://`), *public* (`https://`). The admission policy is generated from the
ranges below and the patterns of `host_names.py` (by `api/policies.py`), so that both say the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Literal, get_args
from urllib.parse import urlsplit

from model_serving.api.base import Model, camel
from model_serving.api.endpoint import EndpointSpec
from model_serving.api.external_model import BLOCKS, ExternalModel
from model_serving.api.types import IS_URL
from model_serving.host_names import LOOPBACK_NAMES, NEVER_NAMES, NUMBER_NAMES, PRIVATE_NAMES

Leave = Literal["public", "private", "local"]
"""What an endpoint may call: public hosts; private ones too (the admin's leave); loopback too (one machine)."""

LEAVE_LABEL = "model-serving.dev/private-upstreams"
"""Label of a namespace; its value "true" is the admin's leave."""


class HostClass(StrEnum):
    """How far away a host is."""

    MALFORMED = "malformed"
    NEVER = "never"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    PUBLIC = "public"


LOOPBACK_RANGES = ("127.0.0.0/8", "::1/128")
NEVER_RANGES = (
    "0.0.0.0/8",
    "169.254.0.0/16",  # link-local, with the metadata services of most clouds
    "100.100.100.200/32",  # metadata at Alibaba
    "168.63.129.16/32",  # the platform at Azure
    "192.0.0.192/32",  # metadata at Oracle
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "::/96",
    "64:ff9b::/96",  # addresses that hold an IPv4 address: it would escape the ranges above
    "2001::/32",
    "2002::/16",
    "fd00:ec2::23/128",  # identity of pods at Amazon
    "fd00:ec2::254/128",  # metadata at Amazon
    "fd20:ce::254/128",  # metadata at Google
    "fe80::/10",
    "ff00::/8",
)
PRIVATE_RANGES = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "fc00::/7",
    "fec0::/10",
)
MALFORMED_TEXT = "write an IPv4 address as four decimal numbers and an IPv6 address without zone or embedded IPv4"
NEVER_TEXT = (
    "never called, for it is loopback, link-local, a metadata service or the API server; name the provider's own host"
)
PRIVATE_TEXT = f"not public: ask an admin to label the namespace {LEAVE_LABEL}=true, or name a public host"
HTTP_TEXT = f"called in the clear: use https://, or ask an admin to label the namespace {LEAVE_LABEL}=true"


def classify(host: str) -> HostClass:
    """The class of a host as it stands in a URL, without port; it may have brackets (IPv6) and one trailing dot."""
    bare = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    if ":" in bare or re.fullmatch(NUMBER_NAMES, bare):
        return _classify_address(bare)
    if re.fullmatch(LOOPBACK_NAMES, bare):
        return HostClass.LOOPBACK
    if re.fullmatch(NEVER_NAMES, bare):
        return HostClass.NEVER
    return HostClass.PRIVATE if re.fullmatch(PRIVATE_NAMES, bare) else HostClass.PUBLIC


def _classify_address(text: str) -> HostClass:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return HostClass.MALFORMED
    if getattr(address, "ipv4_mapped", None) or getattr(address, "scope_id", None):
        return HostClass.MALFORMED
    classes = ((LOOPBACK_RANGES, HostClass.LOOPBACK), (NEVER_RANGES, HostClass.NEVER))
    for ranges, host_class in (*classes, (PRIVATE_RANGES, HostClass.PRIVATE)):
        if any(address in ipaddress.ip_network(each) for each in ranges):
            return host_class
    return HostClass.PUBLIC


def refusal(url: str, leave: Leave) -> str | None:
    """Why `url` may not be called with this leave, with the remedy; None if it may."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    match classify(host):
        case HostClass.MALFORMED:
            return f"host {host}: {MALFORMED_TEXT}"
        case HostClass.NEVER:
            return f"host {host}: {NEVER_TEXT}"
        case HostClass.LOOPBACK if leave != "local":
            return f"host {host}: {NEVER_TEXT}"
        case HostClass.PRIVATE if leave == "public":
            return f"host {host}: {PRIVATE_TEXT}"
    return f"host {host}: {HTTP_TEXT}" if parts.scheme != "https" and leave == "public" else None


def refusals(spec: EndpointSpec, leave: Leave) -> list[tuple[str, str]]:
    """The URLs of a spec that may not be called: (field path in YAML spelling, why and what to do)."""
    found = []
    for number, entity in enumerate(spec.config.served_entities):
        model = entity.external_model
        for block, field in URL_FIELDS if model else ():
            url = getattr(getattr(model, block), field, None)
            if url is not None and (text := refusal(url, leave)):
                path = f"spec.config.servedEntities[{number}].externalModel.{camel(block)}.{camel(field)}"
                found.append((path, text))
    return found


def _url_fields() -> Iterator[tuple[str, str]]:
    for block in BLOCKS.values():
        model = next(each for each in get_args(ExternalModel.model_fields[block].annotation) if _is_model(each))
        for name, field in model.model_fields.items():
            if any(IS_URL in metadata for metadata in _annotations(field.annotation, field.metadata)):
                yield block, name


def _annotations(annotation: object, metadata: list[object]) -> Iterator[tuple[object, ...]]:
    yield tuple(metadata)
    for choice in get_args(annotation):
        yield tuple(getattr(choice, "__metadata__", ()))


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Model)


URL_FIELDS: tuple[tuple[str, str], ...] = tuple(_url_fields())
"""Every (block, field) of a provider that holds a URL, by their snake_case names."""
