import pytest

from headgate.engine.h2 import frames
from headgate.engine.h2.connection import MAX_CONTINUATIONS, H2Connection
from headgate.engine.h2.control import MAX_SETTINGS
from headgate.engine.h2.errors import ENHANCE_YOUR_CALM, PROTOCOL_ERROR, H2ConnectionError
from headgate.engine.h2.frames import PREFACE, encode_frame

SETTINGS = encode_frame(frames.SETTINGS, 0, 0, b"")


def server(settings=SETTINGS):
    engine = H2Connection(False, 0.0)
    engine.receive(PREFACE + settings, 0.0)
    return engine


def breaks(engine, data, code, reason):
    with pytest.raises(H2ConnectionError) as caught:
        engine.receive(data, 0.0)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert engine.failed


def test_rfc9113_3_4_a_preface_that_is_another():
    breaks(H2Connection(False, 0.0), b"GET / HTTP/1.1\r\n\r\n", PROTOCOL_ERROR, "preface")


def test_rfc9113_3_4_a_preface_in_pieces():
    engine = H2Connection(False, 0.0)
    for i in range(len(PREFACE)):
        engine.receive(PREFACE[i : i + 1], 0.0)
    breaks(engine, encode_frame(frames.PING, 0, 0, bytes(8)), PROTOCOL_ERROR, "preface")


def test_settings_at_the_limit_and_one_more():
    server(encode_frame(frames.SETTINGS, 0, 0, MAX_SETTINGS * b"\x10\0\0\0\0\0"))
    more = encode_frame(frames.SETTINGS, 0, 0, (MAX_SETTINGS + 1) * b"\x10\0\0\0\0\0")
    breaks(server(), more, ENHANCE_YOUR_CALM, "settings-flood")


def test_continuations_at_the_limit_and_one_more():
    engine = server()
    engine.receive(encode_frame(frames.HEADERS, 0, 1, b"\x82"), 0.0)
    for _ in range(MAX_CONTINUATIONS):
        assert engine.buffered > 0
        engine.receive(encode_frame(frames.CONTINUATION, 0, 1, b"\x84"), 0.0)
    breaks(engine, encode_frame(frames.CONTINUATION, 0, 1, b"\x84"), ENHANCE_YOUR_CALM, "continuation-flood")


def test_a_field_block_at_the_limit_and_one_more():
    engine = server()
    engine.receive(encode_frame(frames.HEADERS, 0, 1, bytes(16384)), 0.0)
    for _ in range(3):
        engine.receive(encode_frame(frames.CONTINUATION, 0, 1, bytes(16384)), 0.0)
    assert engine.buffered == 65536
    breaks(engine, encode_frame(frames.CONTINUATION, 0, 1, b"\0"), ENHANCE_YOUR_CALM, "continuation-flood")
