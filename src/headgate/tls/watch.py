"""Certificate files that change while Headgate runs: plain functions for a supervisor that polls.

`CertificateShelf` holds what the files last gave. `poll` looks at size, time and inode of every file a certificate is
made of, expands the globs again, and reads only what changed. A file that cannot be used keeps its identity of
before: deploy tools write chain and key one after the other, so that they do not fit together for a moment, and some
remove a file before they write it anew. Such a place is read again at every poll until it fits; `problems` says so
meanwhile. A file that a glob no longer finds is dropped at the second poll in a row that misses it, and the last
certificate that is left is never dropped.
"""

import os
from collections.abc import Sequence
from typing import Final

from headgate.clock import Clock
from headgate.tls.files import (
    CertificateFiles,
    NotACertificateError,
    Place,
    Problem,
    find_places,
    load_place,
    warnings_of,
)
from headgate.tls.identity import Identity, IdentityError

# Looked at but not there: differs from every file that is.
_ABSENT: Final = (-1, -1, -1)
_MISSES_BEFORE_DROP: Final = 2

Signature = tuple[tuple[int, int, int], ...]


class _Slot:
    """One chain file: the identity that serves, what the files looked like before they were last read, and why
    they could not be used ("" when they could)."""

    __slots__ = ("failure", "identity", "misses", "paths", "place", "signature")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.paths = place.paths()
        self.identity: Identity | None = None
        self.signature: Signature = ()
        self.failure = ""
        self.misses = 0


class CertificateShelf:
    """The certificate files of a configuration, kept current by `poll`."""

    def __init__(self, tables: Sequence[CertificateFiles], clock: Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._slots: dict[str, _Slot] = {}
        self._missing: list[Problem] = []

    def __repr__(self) -> str:
        return f"<CertificateShelf {len(self.identities())} served, {len(self.problems())} problems>"

    def load(self) -> list[Identity]:
        """Read everything for the first time; `problems()` has what could not be used."""
        self.poll()
        return self.identities()

    def poll(self) -> list[Identity] | None:
        """Read what changed on disk. Return all identities if they are others than before, else None."""
        before = self.identities()
        self._find()
        for slot in self._slots.values():
            signature = tuple(_look(path) for path in slot.paths)
            if signature != slot.signature or slot.failure:
                # Taken before reading: a write that overtakes us differs from it, and is seen at the next poll.
                slot.signature = signature
                _read_into(slot)
                slot.signature = _settled(slot, signature)
        after = self.identities()
        same = len(before) == len(after) and all(old is new for old, new in zip(before, after, strict=True))
        return None if same else after

    def identities(self) -> list[Identity]:
        """Return what is served, in the order of the configuration."""
        return [slot.identity for slot in self._slots.values() if slot.identity is not None]

    def problems(self) -> list[Problem]:
        """Return what is wrong now: files that could not be used (fatal), and warnings about those that are."""
        found = list(self._missing)
        for slot in self._slots.values():
            if slot.failure:
                kept = "; the certificate of before is still served" if slot.identity is not None else ""
                fatal = slot.identity is None
                found.append(Problem(slot.place.chain, slot.failure + kept, fatal=fatal, kept=not fatal))
            elif slot.identity is not None:
                found += warnings_of(slot.identity, self._clock.wall())
        return found

    def _find(self) -> None:
        """Expand the globs; keep for a while what they no longer find."""
        places, self._missing = find_places(self._tables)
        slots: dict[str, _Slot] = {}
        for place in places:
            slot = self._slots.get(place.chain)
            if slot is None or slot.place != place:
                slot = _renewed(slot, place)
            slot.misses = 0
            slots[place.chain] = slot
        kept = self._kept(slots)
        if kept:
            order = {id(table): index for index, table in enumerate(self._tables)}
            slots |= kept
            slots = dict(sorted(slots.items(), key=lambda item: (order[id(item[1].place.table)], item[0])))
        self._slots = slots

    def _kept(self, found: dict[str, _Slot]) -> dict[str, _Slot]:
        """Return the slots that no glob finds any more and that serve all the same for now."""
        kept: dict[str, _Slot] = {}
        served = any(slot.identity is not None for slot in found.values())
        for chain, slot in self._slots.items():
            if chain in found or slot.identity is None:
                continue
            slot.misses += 1
            slot.failure = "the file is gone"
            if slot.misses < _MISSES_BEFORE_DROP or not served:
                kept[chain] = slot
        return kept


def _settled(slot: _Slot, signature: Signature) -> Signature:
    """After a reading: stop looking for keys that are not there when the chain has its own."""
    everything = slot.place.paths()
    seen = dict(zip(slot.paths, signature, strict=True))
    if slot.failure:
        slot.paths = everything
    else:
        slot.paths = tuple(path for path in everything if path.endswith(".ocsp") or seen.get(path) != _ABSENT)
    return tuple(seen.get(path, _ABSENT) for path in slot.paths)


def _renewed(old: _Slot | None, place: Place) -> _Slot:
    """Return a slot for a place that is new, or whose key is looked for elsewhere than before."""
    slot = _Slot(place)
    if old is not None:
        slot.identity = old.identity
    return slot


def _look(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return _ABSENT
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _read_into(slot: _Slot) -> None:
    try:
        identity = load_place(slot.place)
    except NotACertificateError as error:
        # With an identity of before, this is a file that is being written, key first.
        slot.failure = str(error) if slot.identity is not None else ""
        return
    except IdentityError as error:
        slot.failure = str(error)
        return
    slot.failure = ""
    old = slot.identity
    if old is not None and _same(old, identity):
        return  # touched, not changed: its staple stays where it is
    if old is not None and old.fingerprint == identity.fingerprint:
        identity.staple = old.staple
    slot.identity = identity


def _same(old: Identity, new: Identity) -> bool:
    return (
        old.chain_pem == new.chain_pem
        and old.key_pem == new.key_pem
        and old.issuer_pem == new.issuer_pem
        and old.response == new.response
        and old.rules == new.rules
    )
