"""Other issuers than the API server's, as the setting of operator and router lists them: parsed once at their start.

The fields are those of a `jwt` entry of the API server's structured authentication, laid flat.
"""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

import msgspec
import yaml

from model_serving.kube.issuers.jwks import KeysError, public_keys
from model_serving.proxy_config import Issuer

MOST_ISSUERS = 16
AUDIENCE = "model-serving"
_USER = re.compile(r"//[^\s\"']*@")


class IssuerSetting(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One issuer, and where its keys come from: given here, or at a URL, or where its discovery document says."""

    issuer: str
    audiences: tuple[str, ...] = (AUDIENCE,)
    keys: tuple[dict[str, object], ...] = ()
    jwks_url: str = ""
    certificate_authority: str = ""
    """PEM; empty: the authorities that the image trusts."""
    username_claim: str = "sub"
    username_prefix: str = ""
    groups_claim: str = ""
    groups_prefix: str = ""

    def with_keys(self, keys: list[dict[str, str]]) -> Issuer:
        """The issuer as proxies are told of it."""
        return Issuer(
            self.issuer,
            list(self.audiences),
            keys,
            username_claim=self.username_claim,
            username_prefix=self.username_prefix,
            groups_claim=self.groups_claim,
            groups_prefix=self.groups_prefix,
        )


def parse_issuers(text: str) -> tuple[IssuerSetting, ...]:
    """The setting's YAML or JSON list. ValueError says what to do."""
    try:
        found = msgspec.convert(yaml.safe_load(text), list[IssuerSetting])
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"set it to a YAML list of issuers: {' '.join(str(error).split())}") from None
    if len(found) > MOST_ISSUERS:
        raise ValueError(f"set it to at most {MOST_ISSUERS} issuers")
    if len({setting.issuer for setting in found}) != len(found):
        raise ValueError("name each issuer once")
    for setting in found:
        _check(setting)
    return tuple(found)


def quoted(text: str) -> str:
    """A bad setting as a complaint shows it: its begin, without what stands before the @ of a URL."""
    return repr(_USER.sub("//…@", text)[:120])


def _check(setting: IssuerSetting) -> None:
    for field, url in (("issuer", setting.issuer), ("jwksUrl", setting.jwks_url or setting.issuer)):
        if not _is_safe(url):
            raise ValueError(f"set {field} to an https:// URL without user, query and fragment ({quoted(url)} is none)")
    if not setting.audiences or not all(setting.audiences):
        raise ValueError(f"name the audiences that tokens of {setting.issuer} must be meant for")
    if not setting.username_claim:
        raise ValueError(f"name the usernameClaim of {setting.issuer}")
    if setting.keys and setting.jwks_url:
        raise ValueError(f"set either keys or jwksUrl of {setting.issuer}")
    try:
        if setting.keys:
            public_keys({"keys": list(setting.keys)})
        if setting.certificate_authority:
            ssl.create_default_context(cadata=setting.certificate_authority)
    except KeysError as error:
        raise ValueError(f"correct keys of {setting.issuer}: {error}") from None
    except (ssl.SSLError, ValueError):
        raise ValueError(f"set certificateAuthority of {setting.issuer} to certificates in PEM") from None


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "https" and bool(parts.hostname) and not (parts.username or parts.query or parts.fragment)
        )
    except ValueError:
        return False
