"""What is answered without a connection: what it says, what it never answers, and how often."""

import random

import pytest

from headgate.counters import (
    QUIC_DROPPED_FIRST,
    QUIC_DROPS,
    QUIC_REFUSALS,
    QUIC_RESETS,
    QUIC_RETRIES,
    QUIC_VERSION_NEGOTIATIONS,
    SIZE,
)
from headgate.engine.quic.errors import CONNECTION_REFUSED
from headgate.engine.quic.frames import FRAME_CONNECTION_CLOSE, FrameReader
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import (
    NEGOTIATION,
    RETRY,
    VERSION_1,
    VERSIONS,
    LongHeader,
    is_stateless_reset,
    parse_long_header,
    stateless_reset_token,
)
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import TokenKeys, is_genuine_retry
from headgate.server.quic_answers import (
    LEAST_INITIAL,
    MAX_NEGOTIATIONS,
    MAX_REFUSALS,
    MAX_RESET_PEERS,
    MAX_RESETS,
    RESET_SECONDS,
    Answers,
)

PEER = ("192.0.2.1", 4000)
ID = b"8 octets"
KEY = b"r" * 32


@pytest.fixture
def values():
    return [0] * SIZE


@pytest.fixture
def tokens():
    return TokenKeys(b"t" * 32)


@pytest.fixture
def answers(values, tokens):
    return Answers(values, random.Random(1).randbytes, KEY, tokens, 0.0)


def first(version=VERSION_1):
    return LongHeader(INITIAL, version, b"original", b"client", 0, 1200)


def limited(values):
    return values[QUIC_DROPPED_FIRST + QUIC_DROPS.index("answer-rate")]


def test_rfc9000_6_1_versions_are_named_to_who_speaks_another(answers, values):
    packet = answers.negotiate(first(0x1A2A3A4A), LEAST_INITIAL, 0.0)
    header = parse_long_header(packet, 0, len(packet))
    assert (header.kind, header.versions) == (NEGOTIATION, VERSIONS)
    assert (header.destination, header.source) == (b"client", b"original")
    assert values[QUIC_VERSION_NEGOTIATIONS] == 1
    assert answers.negotiate(first(), LEAST_INITIAL - 1, 0.0) == b""


def test_so_many_version_negotiations_in_a_second_and_one_more(answers, values):
    sent = [answers.negotiate(first(5), LEAST_INITIAL, 0.0) for _ in range(MAX_NEGOTIATIONS + 1)]
    assert all(sent[:-1])
    assert sent[-1] == b""
    assert limited(values) == 1


def test_rfc9000_17_2_5_a_retry_names_us_and_its_token_opens_once_it_comes_back(answers, values, tokens):
    packet = answers.retry(first(), ID, PEER, 1000.0)
    header = parse_long_header(packet, 0, len(packet))
    assert (header.kind, header.source, header.destination) == (RETRY, ID, b"client")
    assert is_genuine_retry(VERSION_1, b"original", packet)
    token = tokens.open(header.token, b"192.0.2.1", 4000, ID, 1001.0)
    assert token.original_destination == b"original"
    assert values[QUIC_RETRIES] == 1


def test_rfc9000_10_3_a_stateless_reset_has_the_token_of_the_id_and_is_shorter_than_its_cause(answers):
    packet = answers.reset(ID, 40, PEER, 0.0)
    assert len(packet) == 39
    assert is_stateless_reset(packet, 0, len(packet), [stateless_reset_token(KEY, ID)])


def test_rfc9000_10_3_3_nothing_small_is_answered_with_a_reset(answers, values):
    assert answers.reset(ID, 21, PEER, 0.0) == b""
    assert values[QUIC_RESETS] == 0


def test_one_peer_gets_one_reset_and_not_another(answers, values):
    assert answers.reset(ID, 1200, PEER, 0.0)
    assert answers.reset(ID, 1200, PEER, RESET_SECONDS - 0.1) == b""
    # Whoever else is behind the same NAT has lost a connection of its own.
    assert answers.reset(ID, 1200, (PEER[0], PEER[1] + 1), RESET_SECONDS - 0.1)
    assert limited(values) == 1
    assert answers.reset(ID, 1200, PEER, RESET_SECONDS)


def test_so_many_resets_in_a_second_and_one_more(answers, values):
    sent = [answers.reset(ID, 1200, (f"192.0.2.{n}", 1), 0.0) for n in range(MAX_RESETS + 1)]
    assert all(sent[:-1])
    assert sent[-1] == b""
    assert limited(values) == 1


def test_so_many_addresses_are_remembered_and_one_more(answers):
    for number in range(MAX_RESET_PEERS + 1):
        assert answers.reset(ID, 1200, (f"host {number}", 1), float(number))
    assert len(answers._reset_at) == 1


def test_rfc9000_5_2_2_a_refusal_is_a_close_that_the_client_can_read(answers, values):
    packet = answers.refuse(first(), CONNECTION_REFUSED, "full", 0.0)
    header = parse_long_header(packet, 0, len(packet))
    keys = KeySet(INITIAL, VERSION_1)
    keys.install_initial(b"original", is_client=False, is_write=False)
    masks = keys.masks(packet, [header.number_at])
    content = keys.open(packet, 0, header.number_at, header.end, masks, 0, -1)
    reader = FrameReader(is_server=False)
    reader.begin(content, INITIAL)
    assert reader.next()
    assert (reader.kind, reader.code, reader.content) == (FRAME_CONNECTION_CLOSE, CONNECTION_REFUSED, b"full")
    assert values[QUIC_REFUSALS] == 1
    assert len(packet) < LEAST_INITIAL


def test_so_many_refusals_in_a_second_and_one_more(answers, values):
    sent = [answers.refuse(first(), CONNECTION_REFUSED, "", 0.0) for _ in range(MAX_REFUSALS + 1)]
    assert all(sent[:-1])
    assert sent[-1] == b""
    assert limited(values) == 1
