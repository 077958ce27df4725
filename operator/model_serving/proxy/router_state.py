"""What a router was told or has read from files, and what of that is missing or wrong. Made by `router_app.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model_serving.proxy.api_keys import ApiKeys
from model_serving.proxy.auth import Authenticator, Principal, TokenTable
from model_serving.proxy.files import Watched
from model_serving.proxy.router_call import key_head, token_head
from model_serving.proxy.router_pipeline import RouterPipeline
from model_serving.proxy.router_tls import ProxyTls
from model_serving.proxy.settings import RouterSettings
from model_serving.proxy.tls import ServerTls
from model_serving.proxy.tokens.verifier import TokenVerifier
from model_serving.proxy_config import Entry, Issuer, Layout

_KEY, _TABLE, _USERS = "the router key", "the table of endpoints", "the users"
_OWN = "the router's own token (MODEL_SERVING_ROUTER_TOKEN_FILE is not set)"


class RouterState:
    """Hands on to a pipeline what it learns. `fed`: by a feed, so that no parent tells users and key."""

    def __init__(self, settings: RouterSettings, *, fed: bool) -> None:
        layout = Layout(settings.root) if settings.root is not None else None
        self.tls = ServerTls(settings.tls_secret, layout) if settings.tls_secret and layout is not None else None
        """The certificate of the data port; None for plain HTTP."""
        self.proxy_tls = ProxyTls(settings.proxy_ca_file)
        self._keys = ApiKeys(layout.api_keys) if layout is not None else None
        self._token_file = Watched(settings.token_file) if settings.token_file is not None else None
        self._token_problem = "" if self._token_file is None else "the router's own token is not read yet"
        self._users: TokenTable | None = None
        self._tokens: TokenVerifier | None = None
        self._issuers: Sequence[Issuer] = ()
        self._management = settings.management
        self._missing = {_TABLE}
        if not fed:
            self._missing.add(_USERS)
        if self._token_file is None:
            self._missing.add(_OWN if fed else _KEY)

    def attach(self, pipeline: RouterPipeline) -> None:
        """Feeds this pipeline from now on."""
        self._pipeline = pipeline
        pipeline.tls = self.tls is not None
        pipeline.management = self._management

    def missing(self) -> list[str]:
        """Why the router is not ready; empty when it is."""
        found = [f"{what} has not been handed over yet" for what in sorted(self._missing)]
        if self.tls is not None and not self.tls.loaded:
            found.append("the certificate of the data port is not loaded")
        if self._token_problem and not self._pipeline.credential:
            found.append(self._token_problem)
        return found

    def problems(self) -> list[str]:
        """What could not be taken over, though the router serves."""
        found = [self._token_problem] if self._pipeline.credential else []
        found += [self._keys.problem if self._keys is not None else "", self.proxy_tls.problem]
        if self.tls is not None:
            found += [f"the key {r.key} of Secret {r.secret} is {r.problem}" for r in self.tls.reports() if r.problem]
        return [problem for problem in found if problem]

    def set_key(self, router_key: str) -> None:
        """Shows proxies this key, unless there is a token to show."""
        if self._token_file is None:
            self._pipeline.credential = key_head(router_key)
        self._missing -= {_KEY, _OWN}

    def set_users(self, users: Mapping[str, Principal]) -> None:
        """Knows these callers by the digests of their tokens."""
        self._users = TokenTable(users)
        self._missing.discard(_USERS)
        self._set_authenticators()

    def set_issuers(self, issuers: Sequence[Issuer]) -> None:
        """Knows callers by tokens of these issuers."""
        if issuers != self._issuers:  # else everybody who is known would have to be found out anew
            self._issuers = issuers
            self._tokens = TokenVerifier(issuers) if issuers else None
            self._set_authenticators()

    def set_table(self, table: Mapping[str, Entry]) -> None:
        """Routes by this table."""
        self._missing.discard(_TABLE)
        self._pipeline.set_table(table)

    def refresh(self, wall: float) -> None:
        """Takes over what changed on disk."""
        if self.tls is not None:
            self.tls.refresh(wall)
        self.proxy_tls.refresh()
        if self._keys is not None and self._keys.refresh():
            self._set_authenticators()
        if self._token_file is not None and (self._token_file.changed() or self._token_problem):
            self._read_token(self._token_file)

    def _read_token(self, file: Watched) -> None:
        try:
            token = file.read().decode("ascii").strip()
            if not token:
                raise ValueError("empty")
            self._pipeline.credential = token_head(token)
            self._token_problem = ""
        except (OSError, ValueError) as error:
            self._token_problem = f"the router's own token cannot be read: {type(error).__name__}"

    def _set_authenticators(self) -> None:
        authenticators: list[Authenticator] = []
        if self._users is not None:
            authenticators.append(self._users)
        if self._keys is not None:
            authenticators.append(self._keys.table)
        if self._tokens is not None:
            authenticators.append(self._tokens)
        self._pipeline.identity.replace(authenticators)
