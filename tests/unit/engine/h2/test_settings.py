import pytest

from headgate.engine.h2.errors import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    H2ConnectionError,
)
from headgate.engine.h2.settings import CAUTIOUS_STREAMS, UNLIMITED, H2Settings, RemoteSettings


def payload(*pairs):
    return b"".join(number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in pairs)


def fails(code, *pairs, is_client=False):
    with pytest.raises(H2ConnectionError) as caught:
        RemoteSettings().receive(payload(*pairs), is_client)
    assert caught.value.code == code


def test_what_a_server_sends_can_be_read():
    remote = RemoteSettings()
    settings = H2Settings(header_table=0, max_streams=7, max_frame=20_000, connect_protocol=True)
    remote.receive(settings.encode(False), True)
    assert (remote.header_table, remote.max_streams, remote.initial_window) == (0, 7, 65536)
    assert (remote.max_frame, remote.max_section, remote.connect_protocol) == (20_000, 65536, True)


def test_rfc8441_3_only_servers_announce_extended_connect():
    remote = RemoteSettings()
    remote.receive(H2Settings(connect_protocol=True).encode(True), False)
    assert remote.connect_protocol is False


def test_rfc9113_6_5_2_the_defaults():
    remote = RemoteSettings()
    assert (remote.received, remote.max_streams) == (False, CAUTIOUS_STREAMS)
    remote.receive(b"", False)
    assert (remote.received, remote.max_streams) == (True, UNLIMITED)
    assert (remote.header_table, remote.initial_window, remote.max_frame) == (4096, 65535, 16384)
    assert remote.max_section == UNLIMITED
    remote.receive(b"", False)
    assert remote.max_streams == UNLIMITED


def test_rfc9113_6_5_3_values_are_applied_in_order():
    remote = RemoteSettings()
    remote.receive(payload((3, 1), (3, 2)), False)
    assert remote.max_streams == 2


def test_rfc9113_6_5_2_unknown_settings_are_ignored():
    RemoteSettings().receive(payload((0x10, 1), (0, 2), (0xFFFF, 0xFFFFFFFF)), False)


@pytest.mark.parametrize("data", [b"\0", b"\0\3\0\0\0", b"\0\3\0\0\0\1\0"])
def test_rfc9113_6_5_a_length_that_is_no_multiple_of_six(data):
    with pytest.raises(H2ConnectionError) as caught:
        RemoteSettings().receive(data, False)
    assert caught.value.code == FRAME_SIZE_ERROR


def test_rfc9113_6_5_2_values_out_of_range():
    fails(FLOW_CONTROL_ERROR, (4, 1 << 31))
    fails(PROTOCOL_ERROR, (5, 16383))
    fails(PROTOCOL_ERROR, (5, 1 << 24))
    fails(PROTOCOL_ERROR, (2, 2))
    fails(PROTOCOL_ERROR, (8, 2))
    fails(PROTOCOL_ERROR, (9, 2))
    RemoteSettings().receive(payload((4, (1 << 31) - 1), (5, (1 << 24) - 1), (2, 1)), False)


def test_rfc9113_6_5_2_a_server_never_allows_push():
    fails(PROTOCOL_ERROR, (2, 1), is_client=True)
    RemoteSettings().receive(payload((2, 0)), True)


def test_rfc8441_3_extended_connect_is_not_taken_back():
    fails(PROTOCOL_ERROR, (8, 1), (8, 0))
