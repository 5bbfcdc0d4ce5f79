"""The Snapshot: everything a child needs to know, numbered, in one message.

A worker that starts, one that restarts after a crash and one that takes up new certificates all read the same
message, so there is one path to test. An exchange ends on the Snapshot it began with.

Certificates travel as text, by name; the keeper's copy has its keys removed by `without_keys`. Staples are
opaque to the supervisor: it stores and passes on what the keeper sent, and only the two ends read them
(`encode_staple`, `decode_staple`).
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from typing import Literal

from headgate.process.channel import ChannelError, Json, Kind, Message
from headgate.process.quic_keys import QuicKeys, decode_keys, encode_keys
from headgate.tls.staple import Staple


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate as it stands on disk.

    `name` is the path of its chain file, `section` its place among the [[certificate]] tables; `chain` is
    PEM, leaf first, `key` PEM ("" in the keeper), `issuer` PEM from an `issuer` file or "", `response` the
    DER of a file CHAIN.ocsp beside it or b"".
    """

    name: str
    section: int
    chain: str
    fingerprint: str
    key: str = field(default="", repr=False)
    issuer: str = ""
    response: bytes = b""
    must_staple: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a child works from.

    `settings` is the configuration as JSON; `clients` has the client authorities and CRLs of the listeners that ask
    for certificates (`with_client_files`), `upstreams` their authorities and our certificates for them
    (`upstream_files`), `users` the htpasswd files of forward listeners (`users_of`): no worker reads a file that only
    root may read. `staples` has the payload of the last STAPLE message by certificate name: {"name", "fingerprint",
    "staple"}, of which "staple" is for `decode_staple`. `quic` are the keys that all workers share, None in the
    keeper and where nothing speaks QUIC.
    """

    number: int
    settings: dict[str, Json]
    certificates: tuple[Certificate, ...] = ()
    staples: dict[str, Json] = field(default_factory=dict)
    health: dict[str, Json] = field(default_factory=dict)
    clients: dict[str, Json] = field(default_factory=dict)
    upstreams: dict[str, Json] = field(default_factory=dict)
    quic: QuicKeys | None = None
    users: dict[str, Json] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Snapshot {self.number}: {len(self.certificates)} certificates, {len(self.staples)} staples>"

    def without_keys(self) -> "Snapshot":
        """Return the keeper's copy: certificate chains and authorities, no private key and nothing of users. Its
        probes show upstreams no certificate."""
        certificates = tuple(replace(item, key="") for item in self.certificates)
        upstreams: dict[str, Json] = {
            name: {"ca": files["ca"]}
            for name, files in self.upstreams.items()
            if isinstance(files, dict) and "ca" in files
        }
        return replace(self, certificates=certificates, users={}, upstreams=upstreams, quic=None)

    def to_json(self) -> dict[str, Json]:
        """Return the payload of a SNAPSHOT message."""
        return {
            "number": self.number,
            "settings": self.settings,
            "certificates": [_encode_certificate(item) for item in self.certificates],
            "staples": self.staples,
            "health": self.health,
            "clients": self.clients,
            "users": self.users,
            "upstreams": self.upstreams,
            "quic": encode_keys(self.quic),
        }


def _encode_certificate(item: Certificate) -> Json:
    return {
        "name": item.name,
        "section": item.section,
        "chain": item.chain,
        "fingerprint": item.fingerprint,
        "key": item.key,
        "issuer": item.issuer,
        "response": b64encode(item.response).decode(),
        "must_staple": item.must_staple,
    }


def decode_snapshot(message: Message) -> Snapshot:
    """Read a SNAPSHOT message. Raises `ChannelError` when a part is missing or has another type."""
    certificates = message.item("certificates")
    if not isinstance(certificates, list):
        raise ChannelError("SNAPSHOT has no list of certificates")
    return Snapshot(
        number=message.integer("number"),
        settings=_object(message, "settings"),
        certificates=tuple(_decode_certificate(item) for item in certificates),
        staples=_object(message, "staples"),
        health=_object(message, "health"),
        clients=_object(message, "clients"),
        users=_object(message, "users"),
        upstreams=_object(message, "upstreams"),
        quic=decode_keys(message.item("quic")),
    )


def _object(message: Message, key: str) -> dict[str, Json]:
    value = message.item(key)
    if not isinstance(value, dict):
        raise ChannelError(f"{message.kind.name} has no object {key!r}")
    return value


def _decode_certificate(item: Json) -> Certificate:
    part = Message(Kind.SNAPSHOT, item)
    return Certificate(
        name=part.text("name"),
        section=part.integer("section"),
        chain=part.text("chain"),
        fingerprint=part.text("fingerprint"),
        key=part.text("key"),
        issuer=part.text("issuer"),
        response=b64decode(part.text("response")),
        must_staple=part.item("must_staple") is True,
    )


def encode_staple(staple: Staple | None) -> Json:
    """Return a staple as the opaque value of a STAPLE message; None takes the held one away."""
    if staple is None:
        return None
    return {
        "der": b64encode(staple.der).decode(),
        "this_update": staple.this_update,
        "next_update": staple.next_update,
        "status": staple.status,
    }


def decode_staple(value: Json) -> Staple | None:
    """Read a staple from a STAPLE message or a Snapshot. Raises `ChannelError` when it is none."""
    if value is None:
        return None
    part = Message(Kind.SNAPSHOT, value)
    this_update, next_update = part.item("this_update"), part.item("next_update")
    status: Literal["good", "revoked"] = "revoked" if part.item("status") == "revoked" else "good"
    if not isinstance(this_update, (int, float)) or not isinstance(next_update, (int, float)):
        raise ChannelError("a staple without its times")
    if part.item("status") not in ("good", "revoked"):
        raise ChannelError(f"a staple with the status {part.item('status')!r}")
    return Staple(b64decode(part.text("der")), float(this_update), float(next_update), status)
