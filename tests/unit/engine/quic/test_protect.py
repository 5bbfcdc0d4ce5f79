"""Packet protection against the vectors of RFC 9001 appendix A and RFC 9369 appendix A, and against forgers."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.quic.errors import AEAD_LIMIT_REACHED, KEY_UPDATE_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.keys import derive_header_key, derive_key, initial_secret, next_secret
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    VERSION_1,
    VERSION_2,
    encode_long_header,
    encode_short_header,
    parse_long_header,
)
from headgate.engine.quic.protect import (
    MAX_FORGED,
    MAX_SEALED,
    UPDATE_MARGIN,
    KeySet,
)
from headgate.engine.tls13.schedule import hkdf_extract
from headgate.engine.tls13.suites import (
    TLS_AES_128_GCM_SHA256,
    TLS_AES_256_GCM_SHA384,
    TLS_CHACHA20_POLY1305_SHA256,
)
from headgate.errors import LocalProtocolError

SUITES = (TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256)

DESTINATION = bytes.fromhex("8394c8f03e515708")
SERVER_ID = bytes.fromhex("f067a5502a4262b5")
# Appendices A.2 and A.3: the same frames in both versions.
CLIENT_FRAMES = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c000004130113"
    "02010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce1"
    "5d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806"
    "048000ffff"
).ljust(1162, b"\0")
SERVER_FRAMES = bytes.fromhex(
    "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a1200"
    "130100002e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
    "020304"
)
# The protected client Initials are 1200 octets: their beginnings, their ends, and the digest of the whole.
CLIENT_INITIALS = {
    VERSION_1: (
        "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399",
        "8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934",
        "73fa0210cb4a5a17dc10b9dc98e5cc359ba1c20fe7c0e93a9e1dcb473c37e097",
    ),
    VERSION_2: (
        "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa162e75d6c96058bdbfb127cdfcbf903388e99ad04",
        "9973b2172b4d21fb69745a262ccde96ba18b2faa745b6fe189cf772a9f84cbfc",
        "b0b766fe7e762577072d3365cc4f9635809210cba301a67f8457f5e6fdac5c68",
    ),
}
SERVER_INITIALS = {
    VERSION_1: bytes.fromhex(
        "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3"
        "8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
        "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee"
    ),
    VERSION_2: bytes.fromhex(
        "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89237bbf872630"
        "17915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2"
        "c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca84bed8521e2e140"
    ),
}

# Appendix A.1: client and server secret, each with its key, IV and header protection key.
KEYS = {
    (VERSION_1, True): (
        "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea",
        "1f369613dd76d5467730efcbe3b1a22d",
        "fa044b2f42a3fd3b46fb255c",
        "9f50449e04a0e810283a1e9933adedd2",
    ),
    (VERSION_1, False): (
        "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b",
        "cf3a5331653c364c88f0f379b6067e37",
        "0ac1493ca1905853b0bba03e",
        "c206b8d9b9f0f37644430b490eeaa314",
    ),
    (VERSION_2, True): (
        "14ec9d6eb9fd7af83bf5a668bc17a7e283766aade7ecd0891f70f9ff7f4bf47b",
        "8b1a0bc121284290a29e0971b5cd045d",
        "91f73e2351d8fa91660e909f",
        "45b95e15235d6f45a6b19cbcb0294ba9",
    ),
    (VERSION_2, False): (
        "0263db1782731bf4588e7e4d93b7463907cb8cd8200b5da55a8bd488eafc37c1",
        "82db637861d55e1d011f19ea71d5d2a7",
        "dd13c276499c0249d3310652",
        "edf6d05c83121201b436e16877593c3a",
    ),
}
# Appendix A.5: a 1-RTT packet with ChaCha20-Poly1305.
CHACHA_SECRET = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
CHACHA_NUMBER = 654_360_564
CHACHA = {
    VERSION_1: (
        "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8",
        "e0459b3474bdd0e44a41c144",
        "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
        "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9",
        "4cfe4189655e5cd55c41f69080575d7999c25a5bfb",
    ),
    VERSION_2: (
        "3bfcddd72bcf02541d7fa0dd1f5f9eeea817e09a6963a0e6c7df0f9a1bab90f2",
        "a6b5bc6ab7dafce30ffff5dd",
        "d659760d2ba434a226fd37b35c69e2da8211d10c4f12538787d65645d5d1b8e2",
        "c69374c49e3d2a9466fa689e49d476db5d0dfbc87d32ceeaa6343fd0ae4c7d88",
        "5558b1c60ae7b6b932bc27d786f4bc2bb20f2162ba",
    ),
}


def initial_keys(version, *, is_client):
    """The Initial keys of one side, both directions."""
    keys = KeySet(INITIAL, version)
    keys.install_initial(DESTINATION, is_client=is_client, is_write=True)
    keys.install_initial(DESTINATION, is_client=not is_client, is_write=False)
    return keys


def pair(suite=TLS_AES_128_GCM_SHA256, level=APPLICATION, version=VERSION_1):
    """Two sides that have the same secrets."""
    size = 48 if suite == TLS_AES_256_GCM_SHA384 else 32
    one, two = KeySet(level, version), KeySet(level, version)
    for secret, writer, reader in ((b"1" * size, one, two), (b"2" * size, two, one)):
        writer.install(suite, secret, is_write=True)
        reader.install(suite, secret, is_write=False)
    return one, two


def short(keys, number, content=b"\x01\x00\x00\x00", cid=b"ABCD", length=2):
    keys.seal(encode_short_header(cid, keys.phase, 0, number, length), length, number, content)
    return keys.take_sealed()


def read(keys, packet, largest=-1, number_at=5):
    masks = keys.masks(packet, [number_at])
    return keys.open(packet, 0, number_at, len(packet), masks, 0, largest)


@pytest.mark.parametrize(("version", "is_client"), KEYS)
def test_rfc9001_a_1_rfc9369_a_1_keys(version, is_client):
    secret = initial_secret(version, DESTINATION, is_client=is_client)
    key, iv = derive_key(version, TLS_AES_128_GCM_SHA256, secret)
    header = derive_header_key(version, TLS_AES_128_GCM_SHA256, secret)
    assert (secret.hex(), key.hex(), iv.hex(), header.hex()) == KEYS[version, is_client]


def test_rfc9001_a_1_the_common_secret():
    salt = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
    expected = "7db5df06e7a69e432496adedb00851923595221596ae2ae9fb8115c1e9ed0a44"
    assert hkdf_extract("sha256", salt, DESTINATION).hex() == expected


@pytest.mark.parametrize("version", CLIENT_INITIALS)
def test_rfc9001_a_2_rfc9369_a_2_client_initial(version):
    header = encode_long_header(INITIAL, version, DESTINATION, b"", b"", 2, 4, len(CLIENT_FRAMES))
    client, server = initial_keys(version, is_client=True), initial_keys(version, is_client=False)
    client.seal(header, 4, 2, CLIENT_FRAMES)
    packet = client.take_sealed()
    begin, end, digest = CLIENT_INITIALS[version]
    assert len(packet) == 1200
    assert (packet[:64].hex(), packet[-32:].hex()) == (begin, end)
    assert hashlib.sha256(packet).hexdigest() == digest
    assert read(server, packet, number_at=18) == CLIENT_FRAMES
    assert (server.number, server.first) == (2, header[0])


@pytest.mark.parametrize("version", SERVER_INITIALS)
def test_rfc9001_a_3_rfc9369_a_3_server_initial(version):
    header = encode_long_header(INITIAL, version, b"", SERVER_ID, b"", 1, 2, len(SERVER_FRAMES))
    client, server = initial_keys(version, is_client=True), initial_keys(version, is_client=False)
    server.seal(header, 2, 1, SERVER_FRAMES)
    packet = server.take_sealed()
    assert packet == SERVER_INITIALS[version]
    parsed = parse_long_header(packet, 0, len(packet))
    assert read(client, packet, number_at=parsed.number_at) == SERVER_FRAMES
    assert client.number == 1


@pytest.mark.parametrize("version", CHACHA)
def test_rfc9001_a_5_rfc9369_a_5_chacha20_short_header(version):
    suite = TLS_CHACHA20_POLY1305_SHA256
    key, iv = derive_key(version, suite, CHACHA_SECRET)
    header_key = derive_header_key(version, suite, CHACHA_SECRET)
    following = next_secret(version, suite, CHACHA_SECRET)
    keys = KeySet(APPLICATION, version)
    keys.install(suite, CHACHA_SECRET, is_write=True)
    keys.install(suite, CHACHA_SECRET, is_write=False)
    header = encode_short_header(b"", 0, 0, CHACHA_NUMBER, 3)
    assert header.hex() == "4200bff4"
    keys.seal(header, 3, CHACHA_NUMBER, b"\x01")
    packet = keys.take_sealed()
    assert tuple(value.hex() for value in (key, iv, header_key, following, packet)) == CHACHA[version]
    assert read(keys, packet, CHACHA_NUMBER - 1, number_at=1) == b"\x01"
    assert keys.number == CHACHA_NUMBER


@pytest.mark.parametrize("suite", SUITES)
def test_a_batch_comes_out_end_to_end_and_opens_with_one_call_for_the_masks(suite):
    one, two = pair(suite)
    sizes = []
    for number in range(40):
        length = 1 + number % 4
        content = bytes([number]) * (3 + number)
        one.seal(encode_short_header(b"ABCD", 0, 0, number, length), length, number, content)
        sizes.append(5 + length + len(content) + 16)
    data = one.take_sealed()
    assert len(data) == sum(sizes)
    assert one.take_sealed() == b""
    starts = [sum(sizes[:at]) for at in range(40)]
    masks = two.masks(data, [start + 5 for start in starts])
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        content = two.open(data, start, start + 5, start + size, masks, 16 * number, number - 1)
        assert content == bytes([number]) * (3 + number)
        assert two.number == number


@given(
    st.sampled_from(SUITES),
    st.integers(0, 1 << 40),
    st.binary(min_size=3, max_size=300),
    st.binary(max_size=20),
    st.data(),
)
@settings(deadline=None)
def test_no_packet_that_was_changed_opens(suite, number, content, cid, data):
    one, two = pair(suite)
    packet = short(one, number, content, cid, 4)
    at = 1 + len(cid)
    assert read(two, packet, number - 1, at) == content
    bit = data.draw(st.integers(0, 8 * len(packet) - 1))
    changed = bytearray(packet)
    changed[bit // 8] ^= 1 << bit % 8
    if bit == 7:
        return  # a long header: parse_long_header's matter
    number_before = two.number
    assert read(two, bytes(changed), number - 1, at) is None
    assert two.number == number_before
    cut = data.draw(st.integers(at + 20, len(packet) + 1))
    if cut != len(packet):
        assert read(two, packet[:cut].ljust(cut, b"x"), number - 1, at) is None


@given(st.binary(min_size=21, max_size=100), st.sampled_from(SUITES))
@settings(deadline=None)
def test_garbage_does_not_open_and_is_counted(garbage, suite):
    two = pair(suite)[1]
    assert read(two, garbage, 7, 1) is None
    # A phase that cannot be yet is not even tried.
    assert two.forged in (0, 1)


def test_rfc9001_5_3_packets_of_other_levels_and_versions_do_not_open():
    one = pair()[0]
    packet = short(one, 0)
    assert read(pair(version=VERSION_2)[1], packet) is None
    other = initial_keys(VERSION_1, is_client=False)
    assert read(other, packet) is None


@pytest.mark.parametrize("bit", [0x08, 0x10])
def test_rfc9000_17_3_1_reserved_bits_of_a_short_header(bit):
    one, two = pair()
    header = bytearray(encode_short_header(b"ABCD", 0, 0, 0, 2))
    header[0] |= bit
    one.seal(bytes(header), 2, 0, b"\x01\x00")
    with pytest.raises(QuicError) as caught:
        read(two, one.take_sealed())
    assert caught.value.code == PROTOCOL_VIOLATION


@pytest.mark.parametrize("bit", [0x04, 0x08])
def test_rfc9000_17_2_reserved_bits_of_a_long_header(bit):
    one, two = pair(level=HANDSHAKE)
    header = bytearray(encode_long_header(HANDSHAKE, VERSION_1, b"a", b"b", b"", 0, 1, 8))
    header[0] |= bit
    one.seal(bytes(header), 1, 0, bytes(8))
    with pytest.raises(QuicError) as caught:
        read(two, one.take_sealed(), number_at=len(header) - 1)
    assert caught.value.code == PROTOCOL_VIOLATION


def test_rfc9000_17_1_a_number_beyond_62_bits_is_never_opened():
    one, two = pair()
    last = (1 << 62) - 1
    assert read(two, short(one, last, length=4), last - 1) is not None
    assert read(two, short(one, last + 1, length=4), last) is None


def test_sealing_needs_keys_and_enough_for_a_sample():
    keys = KeySet(APPLICATION, VERSION_1)
    assert not keys.can_read
    assert not keys.can_write
    with pytest.raises(LocalProtocolError):
        keys.seal(b"@\0", 1, 0, b"\x01\x00\x00")
    with pytest.raises(LocalProtocolError):
        keys.masks(bytes(30), [1])
    one = pair()[0]
    with pytest.raises(LocalProtocolError):
        one.seal(b"@\0", 1, 0, b"\x01\x00")
    assert repr(one) == "<KeySet 1-rtt read write 0/0>"


# Key updates


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_rfc9001_6_both_sides_update_in_turn(suite, version):
    one, two = pair(suite, version=version)
    number = 0
    for generation in range(1, 6):
        starter, other = (one, two) if generation % 2 else (two, one)
        for writer, reader in ((starter, other), (other, starter)):
            assert read(reader, short(writer, number), number - 1) is not None
        number += 1
        starter.update()
        assert (starter.write_generation, starter.read_generation) == (generation, generation - 1)
        assert read(other, short(starter, number), number - 1) is not None
        # Section 6.2: who is updated by its peer seals with the new key from now on.
        assert (other.write_generation, other.read_generation) == (generation, generation)
        other.acknowledged(number)
        assert read(starter, short(other, number), number - 1) is not None
        assert starter.read_generation == generation
        starter.acknowledged(number)
        assert starter.phase == other.phase == generation & 1
        number += 1


def test_rfc9001_6_1_header_keys_do_not_change():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    one.update()
    packet = short(one, 1)
    assert read(two, packet, 0) is not None
    assert two.first == 0x40 | 1 << 2 | 1


def test_rfc9001_6_1_no_second_update_of_ours_before_the_peer_followed():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    one.update()
    with pytest.raises(LocalProtocolError):
        one.update()
    with pytest.raises(LocalProtocolError):
        pair(level=HANDSHAKE)[0].update()


def test_rfc9001_6_2_a_second_update_before_the_acknowledgement():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    one.update()
    assert read(two, short(one, 1), 0) is not None
    two.acknowledged(0)  # not the packet that began it
    one.read_generation = 1  # a peer that does not wait
    one.update()
    with pytest.raises(QuicError) as caught:
        read(two, short(one, 2), 1)
    assert caught.value.code == KEY_UPDATE_ERROR


def test_rfc9001_6_5_old_keys_open_old_numbers_until_they_are_dropped():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    late, later = short(one, 1), short(one, 2)
    one.update()
    assert read(two, short(one, 3), 0) is not None
    assert read(two, late, 3) is not None
    assert (two.number, two.read_generation) == (1, 1)
    two.drop_old()
    forged = two.forged
    assert read(two, later, 3) is None
    assert two.forged == forged


def test_rfc9001_6_4_new_keys_under_numbers_below_old_ones():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    assert read(two, short(one, 9), 0) is not None
    one.update()
    with pytest.raises(QuicError) as caught:
        read(two, short(one, 5), 9)
    assert caught.value.code == KEY_UPDATE_ERROR


def test_rfc9001_6_4_an_old_packet_between_new_ones():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    old = short(one, 5)
    one.update()
    assert read(two, short(one, 8), 0) is not None
    assert read(two, old, 8) is not None
    with pytest.raises(QuicError) as caught:
        read(two, short(one, 4), 8)
    assert caught.value.code == KEY_UPDATE_ERROR


def test_rfc9001_6_3_a_forged_phase_changes_nothing():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    for number in range(1, 9):
        packet = bytearray(short(one, number))
        packet[0] ^= 0x04
        assert read(two, bytes(packet), number - 1) is None
    assert (two.forged, two.read_generation, two.write_generation) == (8, 0, 0)
    assert read(two, short(one, 9), 0) is not None


# Limits of use


def test_limit_of_sealed_packets_and_one_more():
    one, two = pair()
    assert read(two, short(one, 0)) is not None
    limit = MAX_SEALED[TLS_AES_128_GCM_SHA256]
    one.sealed = limit - UPDATE_MARGIN - 1
    assert not one.wants_update
    short(one, 1)
    assert one.wants_update
    one.sealed = limit - 1
    short(one, 2)
    with pytest.raises(QuicError) as caught:
        short(one, 3)
    assert caught.value.code == AEAD_LIMIT_REACHED
    one.update()
    assert not one.wants_update
    assert read(two, short(one, 4), 0) is not None


@pytest.mark.parametrize("suite", SUITES)
def test_limit_of_forged_packets_and_one_more(suite):
    two = pair(suite)[1]
    two.forged = MAX_FORGED[suite] - 1
    garbage = bytes([0x40]) + bytes(60)
    masks = bytes(16)
    assert two.open(garbage, 0, 5, 61, masks, 0, -1) is None
    with pytest.raises(QuicError) as caught:
        two.open(garbage, 0, 5, 61, masks, 0, -1)
    assert caught.value.code == AEAD_LIMIT_REACHED


def test_rfc9001_6_6_the_limits():
    assert [MAX_SEALED[suite] for suite in SUITES] == [1 << 23, 1 << 23, 1 << 62]
    assert [MAX_FORGED[suite] for suite in SUITES] == [1 << 52, 1 << 52, 1 << 36]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_run_is_what_single_packets_are(suite, length):
    secret = bytes(range(48 if suite == TLS_AES_256_GCM_SHA384 else 32))
    one, all_at_once = KeySet(APPLICATION, VERSION_1), KeySet(APPLICATION, VERSION_1)
    one.install(suite, secret, is_write=True)
    all_at_once.install(suite, secret, is_write=True)
    contents = [bytes((at,)) * (40 + at) for at in range(20)]
    first = (1 << 8 * length - 1) - 7
    singly = []
    for at, content in enumerate(contents):
        one.seal(encode_short_header(SERVER_ID, 0, 0, first + at, length), length, first + at, content)
        singly.append(one.take_sealed())
    out = []
    all_at_once.seal_run(SERVER_ID, length, first, contents, out)
    assert b"".join(out) == b"".join(singly)
    assert all_at_once.sealed == one.sealed == 20


def test_rfc9001_6_6_a_run_ends_at_the_limit_of_its_key():
    keys = KeySet(APPLICATION, VERSION_1)
    with pytest.raises(LocalProtocolError):
        keys.seal_run(SERVER_ID, 1, 0, [b"1234"], [])
    keys.install(TLS_AES_128_GCM_SHA256, bytes(32), is_write=True)
    keys.sealed = MAX_SEALED[TLS_AES_128_GCM_SHA256] - 2
    with pytest.raises(QuicError) as caught:
        keys.seal_run(SERVER_ID, 1, 0, [b"1234"] * 3, [])
    assert caught.value.code == AEAD_LIMIT_REACHED
    keys.seal_run(SERVER_ID, 1, 0, [b"1234"] * 2, [])
