"""The kinds of strings and references that the resource is made of, each bounded and checked.

Imported by the other modules of this package only. Whatever ends in a URL, a header or a file's path is limited to
characters that mean nothing there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_serving.api.base import Model, matching, value_rule

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOST_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST = rf"(\[[0-9A-Fa-f:.]+\]|{_HOST_LABEL}(\.{_HOST_LABEL})*\.?)"
_PATH = r"(/[A-Za-z0-9._~!$&()*+,;=:%/-]*)?"

IS_URL = "url"
"""Marks a field as a URL that is called; `api/hosts.py` finds them by it."""

RESERVED_HEADERS = (
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
"""Headers that say how a call is framed or where it goes; a credential cannot take their place."""

Text = Annotated[str, Field(max_length=1024)]
Word = Annotated[
    str,
    Field(min_length=1, max_length=255),
    matching(
        r"[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?", "remove spaces at the edges and control characters"
    ),
]
Segment = Annotated[
    str,
    Field(min_length=1, max_length=255),
    matching(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?", "use only letters, digits and . _ : - between them"),
]
Region = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(_LABEL, "use only lower-case letters, digits and - between them, as in eu-central-1"),
]
EntityName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(
        r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?",
        "use only letters, digits, - and _, with a letter or digit at both ends",
    ),
]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        rf"{_LABEL}(\.{_LABEL})*", "use only lower-case letters, digits, - and . as in names of Kubernetes objects"
    ),
]
SecretKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        r"[A-Za-z0-9_-][-._A-Za-z0-9]*", "use only letters, digits, - _ and . (not first), as in keys of a Secret"
    ),
]
Scope = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matching(r"[-._@A-Za-z0-9]+", "use only letters, digits and - _ @ ."),
]
HeaderName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    matching(r"[A-Za-z0-9_-]+", "use only letters, digits, - and _, as in the name of a header"),
    value_rule(
        f"!(self.lowerAscii() in {list(RESERVED_HEADERS)})",
        lambda name: name.lower() not in RESERVED_HEADERS,
        "this header belongs to HTTP itself: name the one that the provider expects the key in, such as X-Api-Key",
    ),
]
Url = Annotated[
    str,
    IS_URL,
    Field(min_length=8, max_length=1024),
    matching(
        rf"https?://{_HOST}(:[1-9][0-9]{{0,4}})?{_PATH}",
        "give a plain URL such as https://llm.example.com/v1, without user, query, fragment and spaces",
    ),
]


class SecretRef(Model):
    """One key of a Secret in the endpoint's namespace."""

    name: ObjectName = Field(description="Name of the Secret, in the endpoint's own namespace.")
    key: SecretKey = Field(description="Key inside the Secret.")
    scope: Scope | None = Field(default=None, description="The Databricks spelling of the scope, echoed by REST.")


class WorkloadIdentity(Model):
    """Credentials of the pod's own cloud identity; it has no settings of its own."""
