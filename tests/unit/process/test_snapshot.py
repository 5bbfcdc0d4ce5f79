"""What a Snapshot says after a trip over the channel."""

import pytest

from headgate.process.channel import ChannelError, FrameReader, Kind, Message, encode_frame
from headgate.process.quic_keys import QuicKeys
from headgate.process.snapshot import Certificate, Snapshot, decode_snapshot, decode_staple, encode_staple
from headgate.tls.staple import Staple

CERTIFICATE = Certificate(
    "a.pem", 1, "CHAIN", "f00d", key="KEY", issuer="ISSUER", response=b"\x00\xff", must_staple=True
)
STAPLE = Staple(b"\x30\x00\xff", 1.5, 2.5, "revoked")
SNAPSHOT = Snapshot(
    7,
    {"workers": 2},
    (CERTIFICATE,),
    {"a.pem": {"name": "a.pem", "staple": encode_staple(STAPLE)}},
    {"api": {}},
    {"0": {"ca": "PEOPLE", "crl": ""}},
    {"api": {"ca": "ORIGINS", "certificate": "OURS", "key": "ITS KEY"}, "shop": {"key": "ANOTHER KEY"}},
    QuicKeys(b"i" * 16, b"r" * 32, b"t" * 32, (b"s" * 32, b"u" * 32)),
    {"1": {"users": "alice:{SHA}x"}},
)


def over_the_wire(snapshot):
    reader = FrameReader(10_000)
    reader.receive(encode_frame(Kind.SNAPSHOT, snapshot.to_json()), [])
    return decode_snapshot(reader.next_message())


def test_round_trip():
    assert over_the_wire(SNAPSHOT) == SNAPSHOT


def test_the_keepers_copy_has_no_key_and_everything_else():
    copy = over_the_wire(SNAPSHOT.without_keys())
    assert copy.certificates[0].key == ""
    assert copy.certificates[0].chain == "CHAIN"
    assert copy.staples == SNAPSHOT.staples
    assert copy.users == {}
    assert copy.clients == SNAPSHOT.clients
    assert copy.upstreams == {"api": {"ca": "ORIGINS"}}
    assert copy.quic is None
    assert "KEY" not in str(SNAPSHOT.without_keys().to_json())


def test_repr_shows_no_key():
    assert "KEY" not in repr(CERTIFICATE)
    assert repr(SNAPSHOT) == "<Snapshot 7: 1 certificates, 1 staples>"


@pytest.mark.parametrize(
    "missing", ["number", "settings", "certificates", "staples", "health", "clients", "upstreams", "users"]
)
def test_missing_parts_are_named(missing):
    value = SNAPSHOT.to_json()
    del value[missing]
    with pytest.raises(ChannelError, match=missing):
        decode_snapshot(Message(Kind.SNAPSHOT, value))


@pytest.mark.parametrize("staple", [None, STAPLE, Staple(b"", 0.0, 1.0, "good")])
def test_staples_round_trip(staple):
    assert decode_staple(encode_staple(staple)) == staple


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"der": "", "this_update": 1, "next_update": "2", "status": "good"},
        {"der": "", "this_update": 1, "next_update": 2, "status": "unknown"},
        {"this_update": 1, "next_update": 2, "status": "good"},
        "staple",
    ],
)
def test_what_is_no_staple_is_refused(value):
    with pytest.raises(ChannelError):
        decode_staple(value)
