"""The peer's control stream. What is told of it by events is in test_connection."""

import pytest
from tests.unit.engine.h3.peers import settings

from headgate.engine.h3.budget import GLITCH_SECONDS, MAX_GLITCHES
from headgate.engine.h3.control import ControlReader, Glitches
from headgate.engine.h3.errors import (
    H3_EXCESSIVE_LOAD,
    H3_FRAME_ERROR,
    H3_FRAME_UNEXPECTED,
    H3_GENERAL_PROTOCOL_ERROR,
    H3_ID_ERROR,
    H3_MISSING_SETTINGS,
    H3_SETTINGS_ERROR,
    H3ConnectionError,
)
from headgate.engine.h3.frames import (
    CANCEL_PUSH,
    DATA,
    FRAME_MAX_PUSH_ID,
    GOAWAY,
    HEADERS,
    PRIORITY_UPDATE_PUSH,
    PRIORITY_UPDATE_REQUEST,
    PUSH_PROMISE,
    SETTINGS,
    encode_frame,
    encode_head,
)
from headgate.engine.h3.settings import MAX_SETTINGS_OCTETS
from headgate.engine.message.priority import MAX_PRIORITY_OCTETS
from headgate.engine.varint import encode_varint


def reader(is_client=False):
    made = ControlReader(is_client, Glitches())
    made.receive(settings(), 0.0)
    return made


def fails(code, made, octets):
    with pytest.raises(H3ConnectionError) as caught:
        made.receive(octets, 0.0)
    assert caught.value.code == code


def priority(element, value, kind=PRIORITY_UPDATE_REQUEST):
    return encode_frame(kind, encode_varint(element) + value)


@pytest.mark.parametrize("kind", [DATA, HEADERS, GOAWAY, FRAME_MAX_PUSH_ID, PRIORITY_UPDATE_REQUEST, 0x21])
def test_rfc9114_6_2_1_settings_come_first(kind):
    fails(H3_MISSING_SETTINGS, ControlReader(False, Glitches()), encode_frame(kind, b"\0"))


def test_rfc9114_7_2_4_settings_come_once():
    fails(H3_FRAME_UNEXPECTED, reader(), settings())


def test_settings_at_the_limit_of_octets_and_one_more():
    at = b"".join(encode_varint(0x4040 + i) + b"\0" for i in range(20))
    made = ControlReader(False, Glitches())
    made.receive(encode_frame(SETTINGS, at), 0.0)
    assert made.settings.received
    made = ControlReader(False, Glitches())
    made.receive(encode_head(SETTINGS, MAX_SETTINGS_OCTETS), 0.0)
    fails(H3_EXCESSIVE_LOAD, ControlReader(False, Glitches()), encode_head(SETTINGS, MAX_SETTINGS_OCTETS + 1))


def test_settings_that_are_wrong():
    fails(H3_SETTINGS_ERROR, ControlReader(False, Glitches()), settings(0x02, 0))


@pytest.mark.parametrize("kind", [DATA, HEADERS, PUSH_PROMISE, 0x02, 0x06, 0x08, 0x09])
def test_rfc9114_7_2_frames_that_may_not_be_here(kind):
    fails(H3_FRAME_UNEXPECTED, reader(), encode_frame(kind, b""))


def test_rfc9114_9_unknown_frames_are_skipped():
    made = reader()
    made.receive(encode_frame(0x21, b"x" * 5000) + encode_frame(GOAWAY, b"\x03"), 0.0)
    assert made.goaway == 3


@pytest.mark.parametrize("kind", [GOAWAY, CANCEL_PUSH, FRAME_MAX_PUSH_ID])
@pytest.mark.parametrize("payload", [b"", b"\x40", b"\x00\x00", b"\x00" * 9])
def test_rfc9114_7_1_lengths_that_do_not_fit(kind, payload):
    fails(H3_FRAME_ERROR, reader(), encode_frame(kind, payload))


def test_rfc9114_5_2_goaway_never_grows():
    made = reader(is_client=True)
    made.receive(
        encode_frame(GOAWAY, b"\x08") + encode_frame(GOAWAY, b"\x08") + encode_frame(GOAWAY, b"\x04"), 0.0
    )
    assert made.goaway == 4
    fails(H3_ID_ERROR, made, encode_frame(GOAWAY, b"\x08"))


def test_rfc9114_7_2_6_goaway_of_a_server_names_a_request_stream():
    fails(H3_ID_ERROR, reader(is_client=True), encode_frame(GOAWAY, b"\x07"))
    reader().receive(encode_frame(GOAWAY, b"\x07"), 0.0)  # of a client it is a push


def test_rfc9114_7_2_7_max_push_id_never_shrinks_and_is_for_clients():
    made = reader()
    made.receive(encode_frame(FRAME_MAX_PUSH_ID, b"\x07") + encode_frame(FRAME_MAX_PUSH_ID, b"\x07"), 0.0)
    fails(H3_ID_ERROR, made, encode_frame(FRAME_MAX_PUSH_ID, b"\x06"))
    fails(H3_FRAME_UNEXPECTED, reader(is_client=True), encode_frame(FRAME_MAX_PUSH_ID, b"\x07"))


def test_rfc9114_7_2_3_nothing_was_promised_that_could_be_cancelled():
    for is_client in (False, True):
        fails(H3_ID_ERROR, reader(is_client), encode_frame(CANCEL_PUSH, b"\x00"))


def test_rfc9218_7_2_priorities():
    made = reader()
    made.receive(priority(0, b"u=1, i") + priority(400, b""), 0.0)
    assert made.priorities == [(0, 3), (400, 6)]
    fails(H3_FRAME_UNEXPECTED, reader(is_client=True), priority(0, b"u=1"))


def test_rfc9218_7_2_ids_that_cannot_be():
    made = reader()
    made.max_streams = 100
    made.receive(priority(99 * 4, b"u=1"), 0.0)
    fails(H3_ID_ERROR, made, priority(100 * 4, b"u=1"))
    for element in (1, 2, 3):
        fails(H3_ID_ERROR, reader(), priority(element, b"u=1"))
    fails(H3_ID_ERROR, reader(), priority(0, b"u=1", PRIORITY_UPDATE_PUSH))


def test_rfc9218_7_values_that_are_none():
    fails(H3_GENERAL_PROTOCOL_ERROR, reader(), priority(0, b"U"))
    fails(H3_FRAME_ERROR, reader(), encode_frame(PRIORITY_UPDATE_REQUEST, b""))
    fails(H3_FRAME_ERROR, reader(), encode_frame(PRIORITY_UPDATE_REQUEST, b"\x40"))


def test_a_priority_at_the_limit_of_octets_and_one_more():
    made = reader()
    made.receive(priority(0, b"u=1;x=" + b"1" * (MAX_PRIORITY_OCTETS - 6)), 0.0)
    assert made.priorities == [(0, 2)]
    fails(H3_EXCESSIVE_LOAD, reader(), encode_head(PRIORITY_UPDATE_REQUEST, MAX_PRIORITY_OCTETS + 9))


def test_frames_for_nothing_at_the_limit_and_one_more():
    made = reader()
    made.receive(encode_frame(0x21, b"") * MAX_GLITCHES, 0.0)
    fails(H3_EXCESSIVE_LOAD, made, encode_frame(0x21, b""))
    made = reader()
    made.receive(encode_frame(0x21, b"") * MAX_GLITCHES, 0.0)
    made.receive(encode_frame(0x21, b""), GLITCH_SECONDS)


def test_a_control_stream_in_single_octets():
    octets = (
        settings(0x06, 77) + encode_frame(0x21, b"abc") + priority(4, b"u=0") + encode_frame(GOAWAY, b"\x09")
    )
    made = ControlReader(False, Glitches())
    for i in range(len(octets)):
        made.receive(octets[i : i + 1], 0.0)
    assert (made.settings.max_section, made.priorities, made.goaway) == (77, [(4, 0)], 9)
    assert repr(made) == "<ControlReader settings=True goaway=9>"
