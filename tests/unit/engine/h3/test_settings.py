import pytest

from headgate.engine.h3.errors import H3_FRAME_ERROR, H3_SETTINGS_ERROR, H3ConnectionError
from headgate.engine.h3.settings import MAX_SETTINGS, UNLIMITED, H3Settings, PeerSettings
from headgate.engine.varint import encode_varint


def payload(*numbers):
    return b"".join(encode_varint(number) for number in numbers)


def fails(code, data):
    with pytest.raises(H3ConnectionError) as caught:
        PeerSettings().receive(data)
    assert caught.value.code == code


def test_what_we_send_can_be_read():
    peer = PeerSettings()
    peer.receive(H3Settings(table_capacity=10**6, blocked_streams=3, connect_protocol=True).encode(False))
    assert (peer.max_section, peer.table_capacity, peer.connect_protocol) == (65536, 4096, True)


def test_rfc9220_3_only_servers_announce_extended_connect():
    peer = PeerSettings()
    peer.receive(H3Settings(connect_protocol=True).encode(True))
    assert peer.connect_protocol is False


def test_the_defaults():
    peer = PeerSettings()
    peer.receive(b"")
    assert peer.received
    assert (peer.max_section, peer.table_capacity, peer.connect_protocol) == (UNLIMITED, 0, False)


def test_rfc9114_7_2_4_unknown_settings_are_ignored():
    PeerSettings().receive(payload(0x21, 5, 0x4040, 1 << 61, 0x33, 1))


def test_rfc9114_7_2_4_a_setting_that_stands_twice():
    fails(H3_SETTINGS_ERROR, payload(0x06, 1, 0x06, 1))
    fails(H3_SETTINGS_ERROR, payload(0x21, 1, 0x21, 2))


@pytest.mark.parametrize("identifier", [0, 2, 3, 4, 5])
def test_rfc9114_7_2_4_1_settings_of_http_2(identifier):
    fails(H3_SETTINGS_ERROR, payload(identifier, 0))


def test_rfc9220_3_a_wrong_value():
    fails(H3_SETTINGS_ERROR, payload(0x08, 2))


@pytest.mark.parametrize("data", [b"\x06", b"\x40", b"\x06\x40", b"\x06\x01\x07"])
def test_rfc9114_7_1_settings_that_are_cut_short(data):
    fails(H3_FRAME_ERROR, data)


def test_settings_at_the_limit_and_one_more():
    ids = [0x40 + i for i in range(MAX_SETTINGS + 1)]
    PeerSettings().receive(payload(*[number for i in ids[:-1] for number in (i, 0)]))
    fails(H3_SETTINGS_ERROR, payload(*[number for i in ids for number in (i, 0)]))
