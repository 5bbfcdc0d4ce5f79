"""Sessions of origins, kept to be resumed (RFC 8446 section 2.2, RFC 5246 section 7.3), for one upstream.

A session is offered to the host and port that gave it, by the upstream whose settings it was made with, and to nobody
else. Those of TLS 1.3 are offered once (RFC 8446 appendix C.4); those of TLS 1.2 until the origin gives another.

A resumed handshake shows no certificate and no staple. So with each session goes its `Proof`, what the full handshake
was believed by, and a session is offered only while the proof holds as of now: no certificate has expired, and
the staple is still good. The name is looked at after every handshake, resumed or not.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

from cryptography import x509
from OpenSSL import SSL

from headgate.engine.tls13.alerts import TlsAlertError

CheckStaple = Callable[[Sequence[x509.Certificate], bytes], None]

# Hosts that are remembered: an upstream has a handful of endpoints.
MAX_HOSTS: Final = 256
# Of each host: as many of a burst of new connections are resumed. An origin gives one or two for each connection.
MAX_SESSIONS: Final = 16


@final
class Proof:
    """What a full handshake was believed by: the verified chain, leaf first, and the staple."""

    __slots__ = ("chain", "staple", "until")

    def __init__(self, chain: Sequence[x509.Certificate], staple: bytes) -> None:
        self.chain: Final = tuple(chain)
        self.staple: Final = staple
        self.until: Final = min((one.not_valid_after_utc.timestamp() for one in chain), default=float("inf"))

    def holds(self, wall: float, check_staple: CheckStaple | None) -> bool:
        """Tell whether it would be believed again at `wall`."""
        if wall >= self.until:
            return False
        if check_staple is None or not self.chain:
            return True
        try:
            check_staple(self.chain, self.staple)
        except TlsAlertError:
            return False
        return True


@final
class Kept:
    """One session, whether it may be offered once only, and what it was believed by."""

    __slots__ = ("is_single", "proof", "session")

    def __init__(self, session: SSL.Session, proof: Proof, *, is_single: bool) -> None:
        self.session: Final = session
        self.proof: Final = proof
        self.is_single: Final = is_single


@final
class Sessions:
    """The sessions of one upstream, by host and port. One thread only."""

    def __init__(self, check_staple: CheckStaple | None) -> None:
        self._check_staple = check_staple
        self._kept: dict[tuple[str, int], list[Kept]] = {}

    def __repr__(self) -> str:
        return f"<Sessions {sum(map(len, self._kept.values()))} of {len(self._kept)} hosts>"

    def take(self, host: str, port: int, wall: float) -> Kept | None:
        """Return the newest session that may be offered at `wall`, None when there is none."""
        held = self._kept.get((host, port))
        while held:
            kept = held[-1]
            if not kept.proof.holds(wall, self._check_staple):
                held.pop()
                continue
            if kept.is_single:
                held.pop()
            return kept
        return None

    def keep(self, host: str, port: int, kept: Kept) -> None:
        """Keep a session; the oldest of the host, and the host least recently heard of, make room."""
        held = self._kept.pop((host, port), None)
        if held is None:
            held = []
            if len(self._kept) >= MAX_HOSTS:
                del self._kept[next(iter(self._kept))]
        self._kept[host, port] = held
        if not kept.is_single:
            held.clear()  # the newest serves all
        held.append(kept)
        del held[:-MAX_SESSIONS]
