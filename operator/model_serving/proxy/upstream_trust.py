"""Which authorities vouch for upstreams: the system's, those of the admin's file, and those of a Secret that the
endpoint names, replaced while serving.

Asked by the pool for each new connection. A bundle that cannot be used never takes the place of one that can.
"""

from __future__ import annotations

import ssl

from model_serving.proxy.credentials.credential import moment
from model_serving.proxy.files import Watched
from model_serving.proxy.http.dial import Trust
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialFile, CredentialReport, Layout

NO_CERTIFICATES = "not a bundle of certificates in PEM format"


class UpstreamTrust(Trust):
    """The context of connections to upstreams."""

    def __init__(self, layout: Layout, ca_file: str = "") -> None:
        super().__init__(ca_file)
        self._layout = layout
        self._file: CredentialFile | None = None
        self._watched: Watched | None = None
        self._problem = ""
        self._loaded_at = 0.0

    def follow(self, file: CredentialFile | None) -> None:
        """Trusts the authorities of this file from now on; None: of none."""
        if file == self._file:
            return
        self._file = file
        self._watched = Watched(self._layout.credential(file)) if file is not None else None
        self._problem, self._loaded_at = CREDENTIAL_MISSING if file is not None else "", 0.0
        self._context = None

    @property
    def loaded(self) -> bool:
        """Whether all authorities that the endpoint names are trusted."""
        return self._file is None or self._loaded_at > 0.0

    def refresh(self, wall: float) -> None:
        """Takes over a bundle that changed; the former one stays in use while the new one is not good."""
        if self._watched is None or not self._watched.changed():
            return
        try:
            bundle = self._watched.read().decode("ascii", "ignore")  # bundles have comments, in any language
        except FileNotFoundError:
            self._problem = CREDENTIAL_MISSING
            return
        except (OSError, ValueError):
            self._problem = "unreadable"
            return
        context = self.fresh()
        try:
            context.load_verify_locations(cadata=bundle)
        except (ssl.SSLError, ValueError):
            self._problem = NO_CERTIFICATES
            return
        self._context, self._problem, self._loaded_at = context, "", wall

    def reports(self) -> list[CredentialReport]:
        """How the file stands, as for any credential."""
        if self._file is None:
            return []
        return [CredentialReport(self._file.secret, self._file.key, moment(self._loaded_at), self._problem)]
