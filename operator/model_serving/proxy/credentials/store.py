"""The sources of all credentials that the current config names. Used by `upstream.py` and for readiness."""

from __future__ import annotations

from collections.abc import Iterable

from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.exchange import Exchange, no_exchange
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.credentials.scheme import Opening, Scheme, Source
from model_serving.proxy.credentials.secrecy import redacted
from model_serving.proxy_config import CredentialFile, CredentialReport, Layout, TokenReport


class CredentialStore:
    """Files and sources, each once, however many targets need them."""

    def __init__(self, layout: Layout) -> None:
        self.exchange: Exchange = no_exchange
        """Where sources fetch tokens; this and `platform` are set before the first config is loaded."""
        self.platform = Platform()
        self._layout = layout
        self._credentials: dict[CredentialFile, Credential] = {}
        self._sources: dict[Scheme, Source] = {}

    def track(self, schemes: Iterable[Scheme], moved: Iterable[Scheme] = ()) -> None:
        """Follows exactly these from now on; what is known already stays loaded.

        Of `moved`, whose targets lie elsewhere now, nothing is: a former key must not be tried at another host.
        """
        self._forget({file for scheme in moved for file in scheme.files})
        wanted = list(dict.fromkeys(schemes))
        files = dict.fromkeys(file for scheme in wanted for file in scheme.files)
        self._credentials = {file: self._credentials.get(file) or Credential(file, self._layout) for file in files}
        opening = Opening(self._credentials.__getitem__, self.exchange, self.platform)
        self._sources = {scheme: self._sources.get(scheme) or scheme.source(opening) for scheme in wanted}

    def _forget(self, files: set[CredentialFile]) -> None:
        self._credentials = {file: kept for file, kept in self._credentials.items() if file not in files}
        self._sources = {scheme: kept for scheme, kept in self._sources.items() if files.isdisjoint(scheme.files)}

    def refresh(self, now: float, wall: float) -> None:
        """Looks at all files, then at what is made of them."""
        for credential in self._credentials.values():
            credential.refresh(now, wall)
        for source in self._sources.values():
            source.refresh(now, wall)

    def of(self, scheme: Scheme) -> Source:
        """The source of a scheme that is tracked."""
        return self._sources[scheme]

    def knows(self, source: Source) -> bool:
        """Whether a source still is that of its scheme: not that of targets which have moved or are gone."""
        return any(kept is source for kept in self._sources.values())

    @property
    def loaded(self) -> bool:
        """Whether calls may come for each target."""
        return all(source.ready for source in self._sources.values())

    def files(self) -> list[Credential]:
        """All files that are tracked."""
        return list(self._credentials.values())

    def reports(self) -> list[CredentialReport]:
        """How each source stands, a file once."""
        return list(dict.fromkeys(report for source in self._sources.values() for report in source.reports()))

    def tokens(self) -> list[TokenReport]:
        """How each token stands."""
        return [report for source in self._sources.values() for report in source.tokens()]

    def scrub(self, text: bytes) -> bytes:
        """`text` without any credential's value, in whatever spelling: providers repeat keys in their errors."""
        for source in self._sources.values():
            text = redacted(text, source.known_values())
        return text
