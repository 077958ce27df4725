"""What token services that speak OAuth 2.0 have in common: requests as forms, answers as JSON. Used by Google's and
Entra ID's grants. Reference: RFC 6749, sections 4.4, 5.1 and 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec

from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.credentials.token import Fetched
from model_serving.proxy.http.head import is_clean

T = TypeVar("T")
_QUOTED = 240
_ENDS = ("\n", "\r", "Trace ID:")
"""Where an error's words end that are the same at each attempt: Entra ID appends ids and times."""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: Annotated[int, msgspec.Meta(lt=2**53)]


class _Refusal(msgspec.Struct):
    error: Any = ""
    error_description: Any = ""


@dataclass(frozen=True, slots=True)
class TokenService:
    """Who is asked: its name, and what to do when it refuses, or is out of reach. All stand in messages."""

    name: str
    remedy: str
    out_of_reach: str = "it is asked again"

    def token(self, answer: TokenAnswer, wall: float) -> Fetched:
        """The access token of an answer to a request made at `wall`. ValueError."""
        token = self.understood(answer, _Token)
        return bearer(self.name, token.access_token, wall + token.expires_in)

    def understood(self, answer: TokenAnswer, kind: type[T]) -> T:
        """A successful answer, typed. ValueError tells what else it is, and what to do."""
        if answer.failure:
            raise ValueError(f"{self.name} {answer.failure}; {self.out_of_reach}")
        if answer.status >= 500 or answer.status == 429:
            raise ValueError(f"{self.name} fails with status {answer.status}{_quoted(answer.body)}; it is asked again")
        if answer.status != 200:
            raise ValueError(f"{self.name} refuses with status {answer.status}{_quoted(answer.body)}: {self.remedy}")
        try:
            return msgspec.json.decode(answer.body, type=kind, strict=False)
        except (ValueError, RecursionError):
            raise ValueError(f"{self.name} answers with something else than a token; it is asked again") from None


def bearer(service: str, token: str, expires_at: float) -> Fetched:
    """A token that is sent in a header. ValueError when it cannot be."""
    if not token or not token.isascii() or not is_clean(token.encode()):
        raise ValueError(f"{service} answers with a token that cannot be sent in a header; it is asked again")
    return Fetched(token, expires_at, (token,))


def form_request(url: str, fields: dict[str, str]) -> TokenRequest:
    """A POST of a form."""
    headers = (("content-type", "application/x-www-form-urlencoded"),)
    return TokenRequest("POST", url, headers, urlencode(fields).encode())


def _quoted(body: bytes) -> str:
    """An error's code and words in parentheses, as far as they say something to people."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, RecursionError):
        words = body.decode("utf-8", "replace").strip()
        parts: list[Any] = ["" if words.startswith("<") else words]
    else:
        inner = refusal.error if isinstance(refusal.error, dict) else {}
        parts = [inner.get("status"), inner.get("message")] if inner else [refusal.error, refusal.error_description]
    said = ": ".join(_first_words(part) for part in parts if isinstance(part, str) and part)
    return f" ({said})" if said else ""


def _first_words(text: str) -> str:
    for end in _ENDS:
        text = text.partition(end)[0]
    return text.strip().rstrip(".")[:_QUOTED]
