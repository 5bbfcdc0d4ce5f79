"""RFC 9113 sections 3.4, 4, 6.1 to 6.4, 6.6 and 6.10: the preface, frames and their sizes, field blocks.

All rules and the tests that hold them stand in docs/conformance-h2.md.
"""

import itertools

import pytest
from tests.conformance.h2_playbook import FIRST, Play, both, half_closed, opened, started
from tests.conformance.h2_wire import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HAS_PRIORITY,
    HEADER_TABLE_SIZE,
    HEADERS,
    MAX_FRAME_SIZE,
    OK,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
    WINDOW_UPDATE,
    data,
    frame,
    headers,
    integer,
    padded,
    parse,
    reset,
    section,
    settings,
    window_update,
)

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response


def message(role):
    """A stream to speak on, and the lines that the peer's head has there."""
    play = started(role)
    if role == "client":
        play.ask()
        play.sent()
    return play, FIRST[role]


# -- 3.4 the connection preface


def test_rfc9113_3_4_a_client_begins_with_the_preface_and_settings():
    play = Play("client")
    octets = play.write()
    assert octets[:24] == PREFACE
    first = parse(octets[24:])[0]
    assert (first.type, first.flags, first.stream) == (SETTINGS, 0, 0)


def test_rfc9113_3_4_the_first_frame_of_a_server_is_settings():
    play = Play("server")
    play.put(play.start, headers(1, *GET, end=True))
    play.answer(1, 204)
    kinds = [(found.type, found.flags & ACK) for found in play.sent()]
    assert kinds[0] == (SETTINGS, 0)
    assert (SETTINGS, ACK) in kinds


@both
def test_rfc9113_3_4_the_settings_of_the_preface_are_acknowledged_behind_ours(role):
    play = Play(role)
    play.put(play.start)
    kinds = [found.flags for found in play.sent(SETTINGS)]
    assert kinds == [0, ACK]


@both
@pytest.mark.parametrize(
    "first",
    [
        headers(1, *GET, end=True),
        frame(PING, 0, 0, bytes(8)),
        window_update(0, 1),
        settings(flags=ACK),
        frame(UNKNOWN, 0, 0, b""),
        frame(PRIORITY, 0, 1, bytes(5)),
    ],
    ids=["headers", "ping", "window_update", "settings_ack", "unknown", "priority"],
)
def test_rfc9113_3_4_the_preface_goes_on_with_settings(role, first):
    Play(role).refuses(PROTOCOL_ERROR, PREFACE if role == "server" else b"", first)


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_rfc9113_3_4_a_wrong_preface_is_a_protocol_error(at):
    wrong = PREFACE[:at] + bytes((PREFACE[at] ^ 1,)) + PREFACE[at + 1 :]
    Play("server").refuses(PROTOCOL_ERROR, wrong + settings())


def test_rfc9113_3_4_what_is_no_preface_is_not_waited_for():
    Play("server").refuses(PROTOCOL_ERROR, b"GET")


@both
def test_rfc9113_3_4_requests_need_not_wait_for_the_other_preface(role):
    play = Play(role)
    if role == "client":
        play.ask()
        assert [found.type for found in play.sent(SETTINGS, HEADERS)] == [SETTINGS, HEADERS]
    else:
        assert [type(event) for event in play.put(play.start, headers(1, *GET, end=True))] == [Request]


# -- 4.1 frame format


@both
def test_rfc9113_4_1_no_frame_is_longer_than_the_peer_takes(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.put(window_update(0, 1 << 20), window_update(1, 1 << 20))
    play.write_content(1, bytes(100_000))
    sent = play.sent(DATA)
    assert sum(len(found.payload) for found in sent) == 100_000
    assert max(len(found.payload) for found in sent) <= 16384


@both
def test_rfc9113_4_1_a_larger_maximum_of_the_peer_is_its_leave_not_our_duty(role):
    play = opened(role, (MAX_FRAME_SIZE, 1 << 20))
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.put(window_update(0, 1 << 20), window_update(1, 1 << 20))
    play.write_content(1, bytes(100_000))
    assert max(len(found.payload) for found in play.sent(DATA)) <= 1 << 20


@both
def test_rfc9113_4_1_a_long_section_is_cut_into_frames(role):
    play = started(role)
    value = bytes(range(0x21, 0x7F)) * 400
    if role == "client":
        play.ask((b"x-long", value))
    else:
        play.put(headers(1, *GET, end=True))
        play.answer(1, 200, 0, (b"x-long", value))
    sent = play.sent()
    assert [found.type for found in sent[:2]] == [HEADERS, CONTINUATION]
    assert {found.type for found in sent[1:]} == {CONTINUATION}
    assert max(len(found.payload) for found in sent) <= 16384
    assert [found.flags & END_HEADERS for found in sent] == [0] * (len(sent) - 1) + [END_HEADERS]
    ((stream, lines),) = play.heads
    assert stream == 1
    assert (b"x-long", value) in lines


@both
def test_rfc9113_4_1_unknown_frames_are_ignored(role):
    play = opened(role)
    for stream in (0, 1, 2, 77):
        for kind in (0x0B, 0x20, UNKNOWN, 0xFF):
            assert play.takes(frame(kind, 0xFF, stream, b"whatever")) == []
    play.still_works()


@both
def test_rfc9113_4_1_unused_flags_are_ignored(role):
    play, lines = message(role)
    play.takes(
        frame(SETTINGS, 0xFE, 0, b""),
        frame(PING, 0xFE, 0, bytes(8)),
        frame(WINDOW_UPDATE, 0xFF, 0, (1).to_bytes(4)),
        frame(PRIORITY, 0xFF, 1, bytes(5)),
    )
    events = play.put(
        frame(HEADERS, END_HEADERS | 0xD2 & ~END_STREAM, 1, section(*lines)),
        frame(DATA, 0xF6 & ~END_STREAM, 1, b"x"),
        frame(DATA, 0xF7, 1, b"y"),
    )
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"xy"
    assert type(events[-1]) is EndOfMessage


@both
def test_rfc9113_4_1_the_reserved_bit_is_ignored(role):
    play, lines = message(role)
    high = 1 << 31
    events = play.put(
        frame(SETTINGS, 0, high),
        frame(PING, 0, high, bytes(8)),
        frame(HEADERS, END_HEADERS, 1 | high, section(*lines)),
        frame(DATA, END_STREAM, 1 | high, b"x"),
        frame(WINDOW_UPDATE, 0, high, (5 | high).to_bytes(4)),
    )
    assert [type(event) for event in events[1:]] == [Data, EndOfMessage]
    assert play.sent(RST_STREAM, GOAWAY) == []


@both
def test_rfc9113_4_1_unused_flags_and_the_reserved_bit_are_not_sent(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.put(frame(PING, 0, 0, b"12345678"), settings())
    play.write_content(1, b"content")
    allowed = {
        SETTINGS: ACK, PING: ACK, WINDOW_UPDATE: 0, DATA: END_STREAM, HEADERS: END_STREAM | END_HEADERS,
    }  # fmt: skip
    sent = play.sent()
    assert {found.type for found in sent} >= {SETTINGS, PING, DATA}
    for found in sent:
        assert found.flags & ~allowed[found.type] == 0
        assert found.stream < 1 << 31


# -- 4.2 frame size


@both
def test_rfc9113_4_2_frames_of_16384_octets_are_read(role):
    play, lines = message(role)
    (_, *events) = play.put(headers(1, *lines), data(1, bytes(16384), end=True))
    assert sum(len(event.data) for event in events if isinstance(event, Data)) == 16384
    play = opened(role)
    play.takes(frame(UNKNOWN, 0, 0, bytes(16384)))


@both
@pytest.mark.parametrize("kind", [DATA, HEADERS, SETTINGS, PING, GOAWAY, CONTINUATION, UNKNOWN])
def test_rfc9113_4_2_a_frame_beyond_our_maximum_is_a_frame_size_error(role, kind):
    """For DATA a stream error would do; whoever sends what was not allowed may not be waited for."""
    play = opened(role)
    stream = 0 if kind in (SETTINGS, PING, GOAWAY, UNKNOWN) else 1
    play.refuses(FRAME_SIZE_ERROR, frame(kind, 0, stream, b"", length=16385))


@both
@pytest.mark.parametrize(
    "small",
    [
        frame(GOAWAY, 0, 0, bytes(7)),
        frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, bytes(4)),
        frame(HEADERS, END_HEADERS | PADDED, 1, b""),
        frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, bytes(5)),
    ],
    ids=["goaway", "priority", "padded", "both"],
)
def test_rfc9113_4_2_a_frame_too_small_for_what_it_must_hold(role, small):
    play, _ = message(role)
    play.refuses((FRAME_SIZE_ERROR, PROTOCOL_ERROR), small)


@both
def test_rfc9113_4_2_data_too_small_for_its_pad_length(role):
    opened(role).refuses((FRAME_SIZE_ERROR, PROTOCOL_ERROR), frame(DATA, PADDED, 1, b""))


# -- 4.3 field blocks


@both
@pytest.mark.parametrize("cuts", [(0,), (1,), (5, 9), (0, 0, 3), tuple(range(0, 12, 2))])
def test_rfc9113_4_3_a_block_is_put_together_from_its_fragments(role, cuts):
    play, lines = message(role)
    block = section(*lines, (b"x-more", b"fields"), (b"x-and", b"more"))
    edges = [0, *cuts, len(block)]
    parts = [block[a:b] for a, b in itertools.pairwise(edges)]
    octets = [frame(HEADERS, END_STREAM, 1, parts[0])]
    octets += [frame(CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    octets.append(frame(CONTINUATION, END_HEADERS, 1, parts[-1]))
    (event,) = play.put(*octets)
    assert type(event) is (Request if role == "server" else Response)
    assert event.body == 0
    assert event.fields.get(b"x-and") == b"more"


@both
@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize(
    "between",
    [
        data(1, b"x"),
        frame(PING, 0, 0, bytes(8)),
        settings(),
        window_update(0, 1),
        frame(PRIORITY, 0, 1, bytes(5)),
        reset(1),
        frame(GOAWAY, 0, 0, bytes(8)),
        headers(1, *GET),
        headers(3, *GET),
        frame(CONTINUATION, END_HEADERS, 3, b""),
        frame(UNKNOWN, 0, 0, b""),
        frame(UNKNOWN, 0, 1, b""),
    ],
    ids=repr,
)
def test_rfc9113_4_3_nothing_stands_between_the_frames_of_a_block(role, between, behind):
    """Sections 4.3, 5.5 (of extensions), 6.2, 6.10 and 8.1 say it."""
    play, lines = message(role)
    block = section(*lines)
    begun = [frame(HEADERS, 0, 1, block[:4])]
    if behind:
        begun.append(frame(CONTINUATION, 0, 1, block[4:8]))
    play.takes(*begun)
    play.refuses(PROTOCOL_ERROR, between)


@both
@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # an integer that never ends
        b"\xc0",  # 64, and the dynamic table is empty
        b"\0\x05abc",  # a string beyond the block
        b"\0\x83\xff\xff\xff\x01x",  # Huffman: padding longer than 7 bits
        b"\0\x81\x00\x01x",  # Huffman: padding that is no prefix of EOS
        b"\x3f\xe2\x1f",  # a table of 4097 octets
        section(*GET) + b"\x20",  # a size update behind a line
        b"\0",
    ],
    ids=["zero", "integer", "index", "string", "pad", "eos", "table", "late", "cut"],
)
def test_rfc9113_4_3_a_block_that_cannot_be_decoded_is_a_compression_error(role, block):
    play, _ = message(role)
    play.refuses(COMPRESSION_ERROR, frame(HEADERS, END_HEADERS | END_STREAM, 1, block))


@both
def test_rfc9113_4_3_a_block_is_decoded_also_when_its_message_is_not_wanted(role):
    """Here behind a RST_STREAM of ours: the table goes on, and the next section refers to it."""
    play = opened(role)
    play.engine.abort(1)
    play.sent()
    kept = b"\x40" + integer(6, 7) + b"x-kept" + integer(3, 7) + b"yes"
    play.takes(frame(HEADERS, END_HEADERS | END_STREAM, 1, section(*FIRST[role]) + kept))
    stream = play.ask() if role == "client" else 3
    play.sent()
    block = section(*FIRST[role]) + b"\xbe"
    (event,) = play.put(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
    assert event.fields.get(b"x-kept") == b"yes"


@both
def test_rfc9113_4_3_a_block_of_a_closed_stream_that_cannot_be_decoded_ends_the_connection(role):
    play = opened(role)
    play.engine.abort(1)
    play.sent()
    play.refuses(COMPRESSION_ERROR, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"))


# -- 4.3.1 compression state


@both
def test_rfc9113_4_3_1_a_smaller_table_of_the_peer_is_confirmed_in_the_next_block(role):
    play = opened(role)
    play.put(settings((HEADER_TABLE_SIZE, 0)))
    kinds = play.sent()
    assert (SETTINGS, ACK) in [(found.type, found.flags) for found in kinds]
    if role == "client":
        play.ask()
    else:
        play.answer(1, 204)
    play.decoder.max_allowed_table_size = 0
    (found,) = play.sent(HEADERS)
    assert found.payload[0] == 0x20
    assert play.decoder.header_table_size == 0


@both
def test_rfc9113_4_3_1_a_table_that_shrank_and_grew_tells_the_smallest_size_first(role):
    play = opened(role)
    play.put(settings((HEADER_TABLE_SIZE, 100)), settings((HEADER_TABLE_SIZE, 4096)))
    play.sent()
    if role == "client":
        play.ask()
    else:
        play.answer(1, 204)
    (found,) = play.sent(HEADERS)
    assert found.payload.startswith(b"\x3f\x45")
    assert found.payload[2] & 0xE0 == 0x20


@both
def test_rfc9113_4_3_1_the_table_of_the_encoder_is_never_larger_than_allowed(role):
    play = opened(role, (HEADER_TABLE_SIZE, 200))
    play.decoder.max_allowed_table_size = 200
    for number in range(30):
        pair = (b"x-number", b"%d" % number * 20)
        if role == "client":
            play.ask(pair)
        else:
            stream = 3 + 2 * number
            play.put(headers(stream, *GET, end=True))
            play.answer(stream, 200, 0, pair)
        play.sections()
    assert play.decoder.header_table_size <= 200


@both
def test_rfc9113_4_3_1_a_block_without_the_update_we_asked_for_is_a_compression_error(role):
    play = Play(role, header_table=0)
    play.put(play.start, settings(flags=ACK))
    stream = play.ask() if role == "client" else 1
    play.sent()
    play.refuses(COMPRESSION_ERROR, headers(stream, *FIRST[role], end=True))


@both
def test_rfc9113_4_3_1_a_block_with_the_update_we_asked_for(role):
    play = Play(role, header_table=0)
    play.put(play.start, settings(flags=ACK))
    stream = play.ask() if role == "client" else 1
    play.sent()
    block = b"\x20" + section(*FIRST[role])
    assert len(play.takes(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))) == 1


# -- 6.1 DATA


@both
def test_rfc9113_6_1_data_on_stream_0(role):
    opened(role).refuses(PROTOCOL_ERROR, data(0, b"x"))


def head_and(play, role, *octets):
    if role == "client":
        play.takes(headers(1, *OK))
    return play.put(*octets)


@both
@pytest.mark.parametrize("pad", [0, 1, 255])
def test_rfc9113_6_1_padding_is_taken_off(role, pad):
    play = opened(role)
    events = head_and(play, role, frame(DATA, PADDED | END_STREAM, 1, padded(b"content", pad)))
    assert [event.data for event in events if isinstance(event, Data)] == [b"content"]


@both
@pytest.mark.parametrize("payload", [b"\x01", b"\x05abcd", b"\xffabcd"])
def test_rfc9113_6_1_padding_as_long_as_the_payload(role, payload):
    play = opened(role)
    head_and(play, role)
    play.refuses(PROTOCOL_ERROR, frame(DATA, PADDED, 1, payload))


@both
def test_rfc9113_6_1_padding_up_to_the_end_is_no_error(role):
    play = opened(role)
    assert head_and(play, role, frame(DATA, PADDED, 1, b"\x04" + bytes(4))) == []
    assert not play.engine.failed


# -- 6.2 HEADERS


@both
def test_rfc9113_6_2_headers_on_stream_0(role):
    started(role).refuses(PROTOCOL_ERROR, headers(0, *FIRST[role]))


@both
@pytest.mark.parametrize("pad", [0, 1, 255])
@pytest.mark.parametrize("priority", [b"", b"\x80\0\0\x05\xff"])
def test_rfc9113_6_2_padding_and_priority_are_taken_off(role, pad, priority):
    play, lines = message(role)
    flags = END_HEADERS | END_STREAM | PADDED | (HAS_PRIORITY if priority else 0)
    assert len(play.takes(frame(HEADERS, flags, 1, padded(priority + section(*lines), pad)))) == 1


@both
@pytest.mark.parametrize(
    ("flags", "payload"),
    [(PADDED, b"\x01"), (PADDED, b"\x09" + bytes(8)), (PADDED | HAS_PRIORITY, b"\x05" + bytes(9))],
)
def test_rfc9113_6_2_padding_as_long_as_the_payload(role, flags, payload):
    play, _ = message(role)
    play.refuses(PROTOCOL_ERROR, frame(HEADERS, END_HEADERS | flags, 1, payload))


# -- 6.3 PRIORITY


@both
def test_rfc9113_6_3_priority_on_stream_0(role):
    started(role).refuses(PROTOCOL_ERROR, frame(PRIORITY, 0, 0, bytes(5)))


@both
@pytest.mark.parametrize("size", [0, 4, 6])
def test_rfc9113_6_3_priority_of_another_length_is_a_stream_error(role, size):
    opened(role).resets(1, FRAME_SIZE_ERROR, frame(PRIORITY, 0, 1, bytes(size)))


@both
def test_rfc9113_6_3_priority_of_another_length_on_an_idle_stream(role):
    """An idle stream cannot be reset (section 6.4)."""
    opened(role).refuses(FRAME_SIZE_ERROR, frame(PRIORITY, 0, 7, bytes(4)))


@both
def test_rfc9113_6_3_priority_is_taken_in_every_state(role):
    play = half_closed(role)
    for stream in (1, 2, 3, 99):
        assert play.takes(frame(PRIORITY, 0, stream, b"\0\0\0\x01\x10")) == []
    play.engine.abort(1)
    play.sent()
    assert play.takes(frame(PRIORITY, 0, 1, b"\0\0\0\x01\x10")) == []
    play.still_works()


# -- 6.4 RST_STREAM


@both
def test_rfc9113_6_4_nothing_is_sent_on_a_stream_that_was_reset(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
        play.sent()
    play.put(reset(1))
    play.write_content(1, b"content")
    play.engine.abort(1)
    assert play.sent(DATA, HEADERS, RST_STREAM) == []
    play.still_works()


@both
def test_rfc9113_6_4_what_waited_for_a_window_is_not_sent_after_a_reset(role):
    play = opened(role)
    if role == "server":
        play.answer(1, 200, UNKNOWN_LENGTH)
    play.write_content(1, bytes(70_000))
    play.sent()
    assert play.engine.queued(1) > 0
    play.put(reset(1))
    assert play.engine.queued(1) == 0
    play.put(window_update(0, 1 << 20))
    assert [found for found in play.sent() if found.stream == 1] == []


@both
def test_rfc9113_6_4_reset_on_stream_0(role):
    started(role).refuses(PROTOCOL_ERROR, reset(0))


@both
@pytest.mark.parametrize("stream", [3, 4])
def test_rfc9113_6_4_reset_of_an_idle_stream(role, stream):
    opened(role).refuses(PROTOCOL_ERROR, reset(stream))


@both
@pytest.mark.parametrize("size", [0, 3, 5])
def test_rfc9113_6_4_reset_of_another_length(role, size):
    opened(role).refuses(FRAME_SIZE_ERROR, frame(RST_STREAM, 0, 1, bytes(size)))


# -- 6.6 PUSH_PROMISE


@both
@pytest.mark.parametrize("stream", [0, 1, 3])
def test_rfc9113_6_6_a_promise_is_a_protocol_error(role, stream):
    """A client cannot push (section 8.4), and as a client we have forbidden it."""
    payload = (2).to_bytes(4) + section(*GET)
    opened(role).refuses(PROTOCOL_ERROR, frame(PUSH_PROMISE, END_HEADERS, stream, payload))


# -- 6.10 CONTINUATION


@both
def test_rfc9113_6_10_continuation_on_stream_0(role):
    opened(role).refuses(PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 0, b""))


@both
@pytest.mark.parametrize("before", [(), (data(1, b""),), (headers(1, (b"a", b"b"), end=True),)])
def test_rfc9113_6_10_continuation_behind_nothing_that_it_continues(role, before):
    play = opened(role)
    if role == "client":
        play.takes(headers(1, *OK))
    play.put(*before)
    play.refuses(PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1, b""))


@both
def test_rfc9113_6_10_the_end_of_a_stream_waits_for_the_end_of_its_block(role):
    play, lines = message(role)
    block = section(*lines)
    assert play.put(frame(HEADERS, END_STREAM, 1, block[:5])) == []
    (event,) = play.put(frame(CONTINUATION, END_HEADERS, 1, block[5:]))
    assert event.body == 0


def test_rfc9113_6_2_a_request_may_come_padded_cut_and_with_content():
    play = started("server")
    block = section(*POST, (b"content-length", b"7"))
    events = play.put(
        frame(HEADERS, PADDED, 1, padded(block[:11], 9)),
        frame(CONTINUATION, 0, 1, block[11:12]),
        frame(CONTINUATION, END_HEADERS, 1, block[12:]),
        frame(DATA, PADDED, 1, padded(b"con", 3)),
        frame(DATA, END_STREAM, 1, b"tent"),
    )
    assert [type(event) for event in events] == [Request, Data, Data, EndOfMessage] or [
        type(event) for event in events
    ] == [Request, Data, EndOfMessage]
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"content"
