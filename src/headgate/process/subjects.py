"""The keeper's certificates as the stapler wants them, read a piece at a time and kept as long as they do
not change.

Ten thousand certificates take seconds to read; meanwhile staples have to be fetched and an admin answered.
A new Snapshot costs only what is new in it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from headgate.config.model import Config
from headgate.ocsp.subject import Subject, SubjectError
from headgate.process.certificates import decode_subject, rules_of
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
        unknown = [item for item in certificates if not self._knows(item, config)]
        unknown.sort(key=lambda item: not item.must_staple)
        demanding = sum(item.must_staple for item in unknown)
        chosen = unknown[: max(limit, demanding)]
        for number, item in enumerate(chosen, 1):
            self._known[item.name] = (item, rules_of(config, item.section).stapling, self._read(item, config))
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

    def _knows(self, item: Certificate, config: Config) -> bool:
        known = self._known.get(item.name)
        return known is not None and known[:2] == (item, rules_of(config, item.section).stapling)

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
