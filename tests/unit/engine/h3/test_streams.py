from headgate.engine.h3.streams import UNKNOWN, RequestStream, UniStream


def test_a_request_stream_begins_with_nothing_known():
    stream = RequestStream(8)
    assert repr(stream) == "<RequestStream 8 receiving=HEAD sending=HEAD>"
    assert (stream.left, stream.send_left, stream.fed, stream.ended) == (-1, -1, 0, False)


def test_a_unidirectional_stream_begins_without_a_type():
    assert (UniStream().kind, UniStream().begun) == (UNKNOWN, b"")
