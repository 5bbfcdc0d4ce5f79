"""Which identities may answer for a server name (RFC 6066 section 3, RFC 9525 section 6.3).

An exact name wins over a wildcard, and a wildcard stands for exactly one label. Of the identities that cover a name,
one for each key type is offered, RSA and ECDSA side by side: the first in the order of the configuration whose dates
are valid, or else the first. OpenSSL (over QUIC: our own handshake) picks between them by what the client can verify.
"""

from collections.abc import Sequence
from typing import Final, final

from OpenSSL import SSL

from headgate.engine.tls13.credential import Credential
from headgate.tls.identity import Identity

# Of any shape: what comes next is a hash lookup, so a long name costs nothing but its lower().
_DOT: Final = b"."


@final
class Choice:
    """The identities that are offered together, and what is made of them when the first client asks: the context
    over TCP, the credentials over QUIC.

    `failure` says why no context could be made, "" as long as that did not happen.
    """

    __slots__ = ("context", "credentials", "failure", "identities")

    def __init__(self, identities: tuple[Identity, ...]) -> None:
        self.identities = identities
        self.context: SSL.Context | None = None
        self.credentials: tuple[Credential, ...] | None = None
        self.failure = ""

    def __repr__(self) -> str:
        return (
            f"<Choice {', '.join(f'{identity.name} ({identity.key_type})' for identity in self.identities)}>"
        )


class Selection:
    """The server names of a set of identities. Immutable but for the contexts that grow in its choices."""

    def __init__(
        self, identities: Sequence[Identity], wall: float, before: "Selection | None" = None
    ) -> None:
        """Index `identities`; choices that `before` had already, of the same objects, are taken over."""
        candidates: dict[str, list[Identity]] = {}
        for identity in identities:
            for name in identity.names:
                candidates.setdefault(name, []).append(identity)
        self._choices: dict[tuple[int, ...], Choice] = {}
        self._before = before._choices if before is not None else {}
        self._exact: dict[bytes, Choice] = {}
        self._wildcard: dict[bytes, Choice] = {}
        for name, covering in candidates.items():
            choice = self._choice(_one_for_each_type(covering, wall))
            if name.startswith("*."):
                self._wildcard[name[2:].encode("latin-1", "replace")] = choice
            else:
                self._exact[name.encode("latin-1", "replace")] = choice
        self.first = self._first(identities, candidates, wall)
        del self._before

    def __repr__(self) -> str:
        return f"<Selection {len(self._exact)} names, {len(self._wildcard)} wildcards, {len(self._choices)} choices>"

    def find(self, server_name: bytes) -> Choice | None:
        """Return the choice for a name as the client sent it, None when no identity covers it."""
        name = server_name.lower()
        choice = self._exact.get(name)
        if choice is None:
            if name.endswith(_DOT):
                return self.find(name.rstrip(_DOT)) if name.rstrip(_DOT) else None
            choice = self._wildcard.get(name.partition(_DOT)[2])
        return choice

    def _first(
        self, identities: Sequence[Identity], candidates: dict[str, list[Identity]], wall: float
    ) -> Choice | None:
        """Return what a client without a known name gets: the first identity, with its like of other key types."""
        if not identities:
            return None
        first = identities[0]
        if not first.names:
            return self._choice((first,))
        beside = [identity for identity in candidates[first.names[0]] if identity.key_type != first.key_type]
        return self._choice(_one_for_each_type([first, *beside], wall))

    def _choice(self, identities: tuple[Identity, ...]) -> Choice:
        key = tuple(id(identity) for identity in identities)
        choice = self._choices.get(key)
        if choice is None:
            # The ids of `before` cannot be those of other objects: its choices still hold theirs.
            choice = self._before.get(key)
            if choice is None or choice.failure:
                choice = Choice(identities)
            self._choices[key] = choice
        return choice


def _one_for_each_type(covering: Sequence[Identity], wall: float) -> tuple[Identity, ...]:
    chosen: dict[str, Identity] = {}
    for identity in covering:
        held = chosen.get(identity.key_type)
        if held is None or (identity.is_valid(wall) and not held.is_valid(wall)):
            chosen[identity.key_type] = identity
    return tuple(chosen.values())
