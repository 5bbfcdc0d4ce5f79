"""The keeper's certificates as the stapler wants them, read a piece at a time and kept as long as they do
not change.

Ten thousand certificates take seconds to read; meanwhile staples have to be fetched and an admin answered.
A new Snapshot costs only what is new in it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from headgate.config.certificate import Ocsp
from headgate.config.model import Config
from headgate.ocsp.settings import OcspSettings
from headgate.ocsp.subject import Subject, SubjectError
from headgate.process.certificates import rules_of
from headgate.process.parts import Events
from headgate.process.snapshot import Certificate

# Read between two looks at everything else: some ten milliseconds.
_SLICE: Final = 20


class SubjectShelf:
    """Subjects by certificate. A certificate that cannot be read is told once and has none."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._known: dict[str, tuple[Certificate, str, Subject | None]] = {}

    async def decode(self, certificates: Sequence[Certificate], config: Config, limit: int) -> bool:
        """Read up to `limit` certificates that are not known yet, and all must-staple ones, which come first.

        Returns whether all of them are known now.
        """
        stapling = [rules_of(config, section).stapling for section in range(len(config.certificate))]
        unknown = [item for item in certificates if not self._knows(item, stapling[item.section])]
        unknown.sort(key=lambda item: not item.must_staple)
        demanding = sum(item.must_staple for item in unknown)
        chosen = unknown[: max(limit, demanding)]
        for number, item in enumerate(chosen, 1):
            self._known[item.name] = (item, stapling[item.section], self._read(item, config))
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        names = {item.name for item in certificates}
        for name in self._known.keys() - names:
            del self._known[name]
        return len(chosen) == len(unknown)

    def of(self, certificates: Sequence[Certificate]) -> list[Subject]:
        """Return the subjects of those certificates that were read."""
        found = [self._known.get(item.name) for item in certificates]
        return [known[2] for known in found if known is not None and known[2] is not None]

    def fingerprints(self) -> dict[str, str]:
        """Return whose staple a name's staple is: the fingerprint of the certificate that was read last."""
        return {name: item.fingerprint for name, (item, _, _) in self._known.items()}

    def _knows(self, item: Certificate, stapling: str) -> bool:
        known = self._known.get(item.name)
        return known is not None and known[:2] == (item, stapling)

    def _read(self, item: Certificate, config: Config) -> Subject | None:
        try:
            return decode_subject(item, config)
        except SubjectError as exc:
            self._events.event(
                "certificate-problem",
                "error",
                limit_key=item.name,
                file=item.name,
                reason=str(exc),
                next="it gets no staple",
            )
            return None


def decode_subject(certificate: Certificate, config: Config) -> Subject:
    """Return what the stapler works on. Raises `SubjectError`."""
    subject = Subject.from_pem(
        certificate.name,
        certificate.chain.encode("latin-1"),
        issuer_pem=certificate.issuer.encode("latin-1") or None,
        file_response=certificate.response or None,
        stapling=rules_of(config, certificate.section).stapling,
    )
    own = config.certificate[certificate.section].ocsp
    if own.timeout is None and own.min_interval is None and own.max_interval is None:
        return subject
    return replace(subject, settings=durations_of(config.ocsp_of(config.certificate[certificate.section])))


def durations_of(ocsp: Ocsp) -> OcspSettings:
    """Return the stapler's settings for a table of the configuration."""
    return OcspSettings(timeout=ocsp.timeout, min_interval=ocsp.min_interval, max_interval=ocsp.max_interval)
