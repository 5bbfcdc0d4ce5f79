"""Where staples come from besides the network, and where they are kept: the store, and files beside the chains.

Everything that is read here is verified by the same rules as an answer from the network, before any network is
asked. What is adopted from elsewhere is written at once; what cannot be written is kept in memory, said aloud, and
written when the disk is well again.
"""

import asyncio
from collections.abc import Collection
from typing import Final, final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from headgate import counters as slots
from headgate.clock import Clock
from headgate.ocsp import report
from headgate.ocsp.entry import Entry, Source, Verdict
from headgate.ocsp.issuer import decode_certificates
from headgate.ocsp.prune import prune
from headgate.ocsp.report import Event
from headgate.ocsp.response import NotBelieved, remembered_revocation, verify
from headgate.ocsp.store import StapleStore, StoreProblem
from headgate.ocsp.subject import find_issuer, staple_key
from headgate.tls.staple import Staple

SAVE_AGAIN: Final = 30.0
"""How often what could not be written is tried again, in seconds; the stapler's scan does it."""


@final
class Sources:
    """Reads and writes for entries; reports by event and counter, and never raises for a disk."""

    def __init__(self, store: StapleStore, clock: Clock, values: list[int], event: Event) -> None:
        self._store = store
        self._clock = clock
        self._values = values
        self._event = event

    def load(self, entry: Entry) -> bool:
        """Verify what the store (once) and the file have for `entry`; return whether it holds something else now."""
        subject, held = entry.subject, entry.held
        if subject.stapling == "off":
            return False
        if subject.issuer is None:
            self._load_issuer(entry)
        issuer = entry.subject.issuer
        if issuer is None:
            return False
        if entry.key is None:
            entry.key = staple_key(subject.leaf, issuer)
            stored, problem = self._store.load(entry.key)
            self._note(problem)
            if stored is not None:
                self._read(entry, stored, Source.STORE)
        if subject.file_response is not None:
            self._read(entry, subject.file_response, Source.FILE)
        return entry.held is not held

    def take(self, entry: Entry, staple: Staple, source: Source) -> Verdict:
        """Apply the replacement rule to a verified response, and save what was adopted."""
        verdict = entry.consider(staple, source, self._clock.wall())
        if verdict is Verdict.ADOPTED:
            entry.unsaved = source is not Source.STORE
            self._save(entry)
        return verdict

    def keep_issuer(self, entry: Entry, issuer: x509.Certificate) -> None:
        """Set and save a fetched issuer: after a restart, stored staples cannot be verified without it."""
        entry.set_issuer(issuer)
        self._note(self._store.save_issuer(entry.fingerprint, issuer.public_bytes(Encoding.DER)))

    async def prune(self, entries: Collection[Entry]) -> None:
        """Remove what the store has for certificates that are not among `entries`, and is of no more use."""
        if (directory := self._store.directory) is None:
            return
        keys = frozenset(entry.key for entry in entries if entry.key is not None)
        fingerprints = frozenset(entry.fingerprint for entry in entries)
        pruned = await asyncio.to_thread(prune, directory, keys, fingerprints, self._clock.wall())
        if pruned.count:
            self._event(*report.pruned(pruned.count, str(directory)))
        self._note(pruned.problem)

    def save_again(self, entries: list[Entry]) -> None:
        """Save what could not be saved; one failure is enough to know that the disk is still no good."""
        for entry in entries:
            if not self._save(entry):
                return

    def _load_issuer(self, entry: Entry) -> None:
        data, problem = self._store.load_issuer(entry.fingerprint)
        self._note(problem)
        issuer = find_issuer(entry.subject.leaf, decode_certificates(data)) if data is not None else None
        if issuer is not None:
            entry.set_issuer(issuer)

    def _read(self, entry: Entry, der: bytes, source: Source) -> None:
        try:
            staple = verify(der, entry.subject, self._clock.wall())
        except NotBelieved as error:
            revoked = remembered_revocation(der, entry.subject)
            if revoked is not None:
                entry.remember_revocation(revoked)
            return self._refuse(entry, source, str(error.reason), error.detail)
        verdict = self.take(entry, staple, source)
        if verdict is Verdict.OLDER_THAN_REVOCATION:
            self._refuse(entry, source, str(verdict), "verified, but older than the certificate's revocation")

    def _refuse(self, entry: Entry, source: Source, reason: str, detail: str) -> None:
        self._values[slots.OCSP_SOURCE_REFUSED] += 1
        self._event(*report.source_refused(entry, source, reason, detail))

    def _save(self, entry: Entry) -> bool:
        if not entry.unsaved or entry.held is None or entry.key is None:
            return True
        problem = self._store.save(entry.key, entry.held.der)
        entry.unsaved = problem is not None
        self._note(problem)
        return problem is None

    def _note(self, problem: StoreProblem | None) -> None:
        if problem is not None:
            self._values[slots.OCSP_STORE_FAILED] += 1
            self._event(*report.store_failed(problem, SAVE_AGAIN))
