"""One certificate's staple: what is held, what may replace it, and how it is shown.

The replacement rule is here and nowhere else. A verified answer replaces the held one only if it is newer
(thisUpdate), or as new and good for longer (the certificate that signed it was renewed); a verified `revoked` does
so at once, and from then on no `good` is taken that is not newer than the revocation and than everything held
before it: `floor` is that line, and it outlives the response that drew it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import final

from cryptography import x509

from headgate.ocsp.conversation import Failure
from headgate.ocsp.exchange import Memory
from headgate.ocsp.lanes import Urgency
from headgate.ocsp.schedule import REFRESH_MARGIN, RETRY_SHARE_OF_LIFE
from headgate.ocsp.subject import Subject
from headgate.tls.staple import Staple

NEVER = float("inf")


class StapleState(StrEnum):
    """How it stands with a certificate's staple. The values are labels of the metric `staples`."""

    FRESH = "fresh"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    PENDING = "pending"
    NONE = "none"
    REVOKED = "revoked"
    OFF = "off"
    NO_RESPONDER = "no-responder"
    NO_ISSUER = "no-issuer"


class Source(StrEnum):
    """Where a response came from."""

    NETWORK = "network"
    STORE = "store"
    FILE = "file"


class Verdict(StrEnum):
    """What became of a verified response."""

    ADOPTED = "adopted"
    SAME = "same"
    OLDER = "older"
    OLDER_THAN_REVOCATION = "older-than-revocation"


@dataclass(frozen=True, slots=True)
class StapleStatus:
    """One row of `headgate ocsp`. Times are seconds since the epoch, None when there is none."""

    name: str
    state: StapleState
    must_staple: bool
    source: Source | None
    this_update: float | None
    next_update: float | None
    next_attempt: float | None
    in_progress: bool
    last_success: float | None
    last_failure_at: float | None
    last_failure: Failure | None
    successes: int
    failures: int
    failures_in_a_row: int
    responders: tuple[str, ...]
    serial: str
    problem: str
    hosts: tuple[str, ...]


@final
class Entry:
    """The state of one certificate; several names may share it. Changed by the stapler only."""

    def __init__(self, fingerprint: str, subject: Subject) -> None:
        self.fingerprint = fingerprint
        self.subject = subject
        self.names: list[str] = []
        self.key: str | None = None
        self.held: Staple | None = None
        self.source: Source | None = None
        self.published = False
        self.unsaved = False
        self.floor: float | None = None
        self.memory = Memory()
        self.due = NEVER
        self.due_wall = NEVER
        self.armed = NEVER
        self.running = False
        self.again = False
        self.tried = False
        self.removed = False
        self.successes = 0
        self.failures = 0
        self.failures_in_a_row = 0
        self.resolve_failures = 0
        self.last_success: float | None = None
        self.last_failure: Failure | None = None
        self.last_failure_at: float | None = None
        self.counted: StapleState | None = None

    def __repr__(self) -> str:
        held = f"{self.held.status} until {self.held.next_update:.0f}" if self.held is not None else "nothing"
        return f"<Entry {'+'.join(self.names)}: holds {held}, {self.failures_in_a_row} failures in a row>"

    @property
    def askable(self) -> bool:
        """Whether there is anybody to ask about this certificate."""
        subject = self.subject
        if subject.stapling == "off" or not subject.responders:
            return False
        return subject.issuer is not None or bool(subject.issuer_urls)

    def set_issuer(self, issuer: x509.Certificate) -> None:
        """Take up an issuer that the chain lacked; the caller has checked that it is the one."""
        self.subject = replace(self.subject, issuer=issuer)

    def usable(self, wall: float) -> Staple | None:
        """Return what is held if it may be served now."""
        return self.held if self.held is not None and self.held.usable(wall) else None

    def consider(self, staple: Staple, source: Source, wall: float) -> Verdict:
        """Apply the replacement rule to a verified response, and take it up if it may be."""
        held = self.held
        if staple.status == "revoked":
            verdict = self._newer(staple, wall) if held is not None and held.status == "revoked" else None
            if verdict not in (None, Verdict.ADOPTED):
                return Verdict.SAME if verdict is Verdict.SAME else Verdict.OLDER
            before = [time for time in (self.floor, held.this_update if held else None) if time is not None]
            self.floor = max([staple.this_update, *before])
        elif self.floor is not None and staple.this_update <= self.floor:
            return Verdict.OLDER_THAN_REVOCATION
        else:
            verdict = self._newer(staple, wall)
            if verdict is not Verdict.ADOPTED:
                return verdict
        self.held, self.source = staple, source
        return Verdict.ADOPTED

    def _newer(self, staple: Staple, wall: float) -> Verdict:
        held = self.usable(wall)
        if held is None or staple.this_update > held.this_update:
            return Verdict.ADOPTED
        if staple.this_update < held.this_update:
            return Verdict.OLDER
        return Verdict.ADOPTED if staple.next_update > held.next_update else Verdict.SAME

    def remember_revocation(self, this_update: float) -> None:
        """Draw the line of an expired revocation that was kept on disk."""
        self.floor = this_update if self.floor is None else max(self.floor, this_update)

    def urgency(self, wall: float) -> Urgency:
        """Never tried (and nothing held) first, then what ends first, must-staple before others."""
        held = self.usable(wall)
        ends = held.next_update if held is not None else 0.0
        waits = int(self.tried or held is not None)
        return Urgency(waits, ends, int(not self.subject.must_staple))

    def state(self, wall: float) -> StapleState:
        """Return how it stands now."""
        held = self.held
        if self.subject.stapling == "off":
            return StapleState.OFF
        if held is not None and held.status == "revoked":
            return StapleState.REVOKED
        if held is not None and held.usable(wall):
            return StapleState.EXPIRING if self._is_expiring(held, wall) else StapleState.FRESH
        if held is None and self.floor is not None:
            return StapleState.REVOKED
        if not self.subject.responders:
            return StapleState.NO_RESPONDER if held is None else StapleState.EXPIRED
        if self.subject.issuer is None and (self.tried or not self.subject.issuer_urls):
            return StapleState.NO_ISSUER
        if held is not None:
            return StapleState.EXPIRED
        return StapleState.NONE if self.tried else StapleState.PENDING

    def _is_expiring(self, held: Staple, wall: float) -> bool:
        lifetime, left = held.next_update - held.this_update, held.next_update - wall
        if self.failures_in_a_row and left < lifetime * RETRY_SHARE_OF_LIFE:
            return True
        return left < min(REFRESH_MARGIN, lifetime / 10.0)

    def status(self, name: str, now: float, wall: float) -> StapleStatus:
        """Return the row for `name`."""
        held, subject = self.held, self.subject
        return StapleStatus(
            name=name,
            state=self.state(wall),
            must_staple=subject.must_staple,
            source=self.source,
            this_update=held.this_update if held is not None else None,
            next_update=held.next_update if held is not None else None,
            next_attempt=None if self.due == NEVER or self.running else wall + max(0.0, self.due - now),
            in_progress=self.running,
            last_success=self.last_success,
            last_failure_at=self.last_failure_at,
            last_failure=self.last_failure,
            successes=self.successes,
            failures=self.failures,
            failures_in_a_row=self.failures_in_a_row,
            responders=subject.responders,
            serial=f"{subject.leaf.serial_number:x}",
            problem=subject.problem,
            hosts=subject.hosts,
        )
