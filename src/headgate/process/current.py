"""The Snapshot of the day: what the files say now, and what the keeper has found out about it.

Whatever changes in the files makes a new one with the next number; staples and verdicts of the keeper go into the one
that is there, for children that start later.
"""

from collections.abc import Sequence
from typing import final

from headgate.process.channel import Json, Kind, Message, encode_frame
from headgate.process.parts import Events, Parts
from headgate.process.snapshot import Certificate, Snapshot


def tell_defect(events: Events, where: str, exc: Exception) -> None:
    """Say that something of the supervisor failed that should not have, and that it goes on."""
    error = f"{type(exc).__name__}: {exc}"
    events.event("defect", "error", where=f"supervisor: {where}", error=error, next="it goes on")


@final
class Current:
    """Holds the Snapshot; `problems` says of certificate files by name what is wrong with them."""

    def __init__(self, parts: Parts) -> None:
        self.snapshot = Snapshot(0, parts.settings)
        self.problems: dict[str, str] = {}
        self._parts = parts
        self._fingerprints: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Current Snapshot {self.snapshot.number}>"

    def load(self) -> None:
        """Read all files for the first time."""
        self.snapshot.health.update(self._parts.health())
        self._take(self._parts.certificates.load())
        self.problems = self._parts.certificates.problems()

    def watch(self) -> tuple[bool, bool]:
        """Look at the files again; tell whether there is a new Snapshot, and whether problems have changed."""
        keys, before = self._parts.quic_keys, self.problems
        rotated = keys is not None and keys.poll()
        certificates: Sequence[Certificate] | None = None
        try:
            certificates = self._parts.certificates.poll()
            self.problems = self._parts.certificates.problems()
        except Exception as exc:
            # Nothing on a disk may cost the processes that serve.
            tell_defect(self._parts.events, "certificate files", exc)
        is_new = rotated or certificates is not None
        if is_new:
            self._take(self.snapshot.certificates if certificates is None else certificates)
        return is_new, self.problems != before

    def frame(self, *, keys: bool) -> bytes:
        """Return the Snapshot for a child; only workers get `keys`."""
        snapshot = self.snapshot if keys else self.snapshot.without_keys()
        return encode_frame(Kind.SNAPSHOT, snapshot.to_json())

    def take_staple(self, message: Message) -> bool:
        """Keep what the keeper sent, which is not looked into; tell whether it is for a certificate of today.

        Raises `ChannelError` for what is no staple.
        """
        name, fingerprint = message.text("name"), message.text("fingerprint")
        if self._fingerprints.get(name) != fingerprint:
            return False  # the certificate was replaced while its staple was on the way
        self.snapshot.staples[name] = message.value
        return True

    def _take(self, certificates: Sequence[Certificate]) -> None:
        """Make the next Snapshot; staples of certificates that are still the same go along."""
        parts, before = self._parts, self.snapshot
        self._fingerprints = {item.name: item.fingerprint for item in certificates}
        staples: dict[str, Json] = {
            name: value
            for name, value in before.staples.items()
            if isinstance(value, dict) and value.get("fingerprint") == self._fingerprints.get(name)
        }
        self.snapshot = Snapshot(
            before.number + 1,
            parts.settings,
            tuple(certificates),
            staples,
            before.health,
            clients=parts.clients(),
            users=parts.users(),
            upstreams=parts.upstreams(),
            quic=parts.quic_keys.keys if parts.quic_keys is not None else None,
        )
        parts.events.event("snapshot", number=self.snapshot.number, certificates=len(certificates))
