"""The limits of HTTP/2: what stands in the RFCs about each, and the tests that go one beyond.

docs/limits.md has their values, reasons and counters. The tests here send the limit, and then one more, to a whole
engine and look at what comes back; those named elsewhere do so to the part that holds the limit.

| # | RFC, section | limit | tested in |
|---|---|---|---|
| 1 | 9113 10.5; CVE-2023-44487 | 500 requests given up within a second of theirs, then 33 a second | here: `test_each_flood_at_its_limit_and_one_more`, `test_requests_that_were_answered_make_good_for_others`, `test_one_cheap_answer_does_not_make_good_for_one_that_was_given_up`, `test_a_request_that_had_its_time_was_not_given_up_in_haste` |
| 2 | 9113 10.5; CVE-2025-8671 | 500 streams that we must reset, then 33 a second | here: `test_each_flood_at_its_limit_and_one_more`, `test_every_fault_that_makes_us_reset_a_stream_counts` |
| 3 | 9113 5.1.2 | 100 streams at a time | here: `test_rfc9113_5_1_2_streams_at_the_limit_and_one_more` |
| 4 | 9113 5.1.2 | 1000 streams beyond them, then 100 a second | here: `test_each_flood_at_its_limit_and_one_more` |
| 5 | 9113 6.5; CVE-2019-9515 | 100 SETTINGS, then 10 a second | here: `test_each_flood_at_its_limit_and_one_more` |
| 6 | 9113 6.5 | 64 settings in a frame | here: `test_settings_of_a_frame_at_the_limit_and_one_more` |
| 7 | 9113 6.7; CVE-2019-9512 | 1000 PING, then 33 a second | here: `test_each_flood_at_its_limit_and_one_more`, `test_content_pays_for_pings` |
| 8 | 9113 6.3; 9218 7.1; CVE-2019-9513 | 1000 priorities, then 100 a second | here: `test_each_flood_at_its_limit_and_one_more` |
| 9 | 9113 6.9; CVE-2019-9511 | 1000 WINDOW_UPDATE, then 100 a second | here: `test_each_flood_at_its_limit_and_one_more`, `test_an_answer_taken_octet_by_octet_does_not_pay_for_itself` |
| 10 | 9113 5.5, 6.8 | 1000 unknown frames, and GOAWAY behind the first, then 100 a second | here: `test_each_flood_at_its_limit_and_one_more`, `test_goaway_that_falls_and_falls` |
| 11 | 9113 5.1 | 1000 frames of closed streams, then 100 a second | here: `test_each_flood_at_its_limit_and_one_more` |
| 12 | 9113 10.5; CVE-2019-9518 | 10,000 empty DATA, then 1000 a second, beyond those of requests that were answered | here: `test_each_flood_at_its_limit_and_one_more`, `test_an_empty_frame_in_each_answered_request_is_paid_for` |
| 13 | 9113 10.5; CVE-2019-9518 | 100 empty HEADERS and CONTINUATION, then 10 a second | here: `test_each_flood_at_its_limit_and_one_more` |
| 14 | 9113 10.5 | 100,000 DATA of a few octets, and as many a second, of a client | here: `test_small_messages_of_an_origin_are_what_it_is_for`, `test_thousands_of_events_cost_a_reset_nothing`, `test_tiny_frames_at_the_limit_and_one_more`, `test_small_frames_of_one_read_are_one_piece` |
| 15 | 9113 10.7 | 1 MiB of padding, then 64 KiB a second | here: `test_padding_at_the_limit_and_one_more` |
| 16 | 9113 6.10; CVE-2024-27316 | 8 CONTINUATION of a block, 64 KiB in all | here: `test_continuation_frames_at_the_limit_and_one_more`, `test_octets_of_a_block_at_the_limit_and_one_more` |
| 17 | 9113 6.5.2, 10.5.1 | 64 KiB of decoded fields, 128 lines | here: `test_a_field_section_at_the_limit_of_octets_and_one_more`, `test_field_lines_at_the_limit_and_one_more`, `test_lines_of_a_block_at_the_limit_and_one_more`, `test_literals_of_a_section_that_is_given_up_are_passed_over_and_the_table_is_in_step`, `test_a_bomb_is_431_and_the_table_is_in_step` |
| 18 | 7541 4.2, 6.3 | the decoder's table: 4 KiB, two updates at the beginning of a block | here: `test_table_size_updates_beyond_what_may_be` |
| 19 | 7541 4.2 | the encoder's table is ours, whatever the peer allows | here: `test_the_encoders_table_stays_small`, `test_two_table_sizes_in_one_frame_are_both_taken` |
| 20 | 9113 4.2 | frames of 16 KiB | here: `test_rfc9113_4_2_a_frame_at_the_limit_and_one_octet_more` |
| 21 | 9113 6.9.1 | 64 KiB of a stream, more only by consumption | here: `test_rfc9113_6_9_1_content_of_a_stream_at_the_limit_and_one_octet_more` |
| 22 | 9113 6.9.1 | 1 MiB of a connection, more only by consumption | here: `test_rfc9113_6_9_1_content_of_a_connection_at_the_limit_and_one_octet_more` |
| 23 | 9113 6.8 | 10,000 requests, an hour | here: `test_requests_of_a_connection_at_the_limit_and_one_more`, `test_the_age_of_a_connection_at_the_limit_and_later` |
| 24 | 9113 8.1 | 8 interim answers | here: `test_interim_answers_at_the_limit_and_one_more` |
| 25 | 9218 7.1 | priorities of no more streams to come than may be opened | here: `test_rfc9218_7_1_priorities_of_streams_to_come_at_the_limit_and_one_more` |
| 26 | 9113 3.4, 10.5 | preface, frames and heads in the time of a head | integration/limits/test_h2_limits.py: `test_a_preface_that_does_not_come_in_time`, `test_a_head_or_frame_that_does_not_come_to_its_end` |
| 27 | 9113 10.5 | answers nobody takes: 60 s, however slowly a window opens | integration/limits/test_h2_limits.py: `test_an_answer_that_no_window_opens_for_loses_its_stream`, `test_an_answer_taken_an_octet_at_a_time_loses_its_stream`, `test_a_client_that_reads_nothing_is_closed` |
| 28 | 9113 10.5; CVE-2019-9517 | 64 KiB of frames that a client does not read, then it is not read from | unit/connection/test_h2_downstream.py: `test_a_client_that_asks_and_does_not_read_is_not_read_from` |
| 29 | 9113 10.5 | 128 MiB of answers and 256 MiB of content of all connections | unit/server/test_h2_memory.py: `test_what_is_held_at_the_limit_and_one_more`, `test_content_of_requests_at_the_limit_and_one_more` |
"""  # noqa: E501 - a table

import pytest

from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h2 import budgets, errors
from headgate.engine.h2.budgets import KINDS, MAX_EARNED
from headgate.engine.h2.connection import MAX_CONTINUATIONS, MAX_INTERIM_RESPONSES, H2Connection
from headgate.engine.h2.control import MAX_SETTINGS
from headgate.engine.h2.errors import ENHANCE_YOUR_CALM, H2ConnectionError
from headgate.engine.h2.hpack_decoder import MAX_LINES_READ
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.http.fields import Fields
from headgate.testing import h2_raw as raw
from headgate.testing.h2_raw import RawFrame

SETTINGS = H2Settings()
GET = raw.request_block(b"/")
POST = raw.request_block(b"/", b"POST")
HEAD = 9


def frames_of(octets):
    """Split what was written into frames."""
    found = []
    while octets:
        size = int.from_bytes(octets[:3], "big")
        stream = int.from_bytes(octets[5:9], "big")
        found.append(RawFrame(octets[3], octets[4], stream, octets[HEAD : HEAD + size]))
        octets = octets[HEAD + size :]
    return found


class Peer:
    """An engine, and what a peer sends to it by hand."""

    def __init__(self, is_client=False, settings=None, **values):
        self.now = 100.0
        self.h2 = H2Connection(is_client, self.now, settings, **values)
        self.events = []
        self.written = []
        self.put(b"" if is_client else raw.PREFACE, raw.settings(), raw.settings_ack())
        self.take()

    def put(self, *octets):
        try:
            self.h2.receive(b"".join(octets), self.now)
        finally:
            while (event := self.h2.next_event()) is not None:
                self.events.append(event)

    def take(self):
        """Return the frames that the engine writes."""
        octets = b""
        while self.h2.has_output():
            octets += self.h2.take_output(1 << 20)
        self.written += frames_of(octets)
        return frames_of(octets)

    def refused(self, *octets, reason, code=ENHANCE_YOUR_CALM):
        """These must end the connection, by GOAWAY with this code."""
        with pytest.raises(H2ConnectionError) as caught:
            self.put(*octets)
        assert (caught.value.code, caught.value.reason) == (code, reason)
        (goaway,) = [one for one in self.take() if one.kind == raw.GOAWAY]
        assert int.from_bytes(goaway.payload[4:8], "big") == code

    def answer(self, stream, content=b""):
        fields = Fields([b"content-length"], [b"content-length: %d" % len(content)])
        self.h2.send(Response(200, b"OK", 20, fields, len(content), stream))
        if content:
            self.h2.send(Data(content, stream))
            self.h2.send(EndOfMessage(None, stream))

    def resets(self):
        """Streams that were reset since the last look, with their codes."""
        return {
            one.stream: int.from_bytes(one.payload, "big")
            for one in self.take()
            if one.kind == raw.RST_STREAM
        }

    def met(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def opened(peer, count=100):
    """Open so many streams that nobody answers."""
    peer.put(*(raw.headers(2 * at + 1, GET) for at in range(count)))


def uploading(peer):
    peer.put(raw.headers(1, POST, end=False))


def closed(peer):
    """Stream 1 has come and gone."""
    peer.put(raw.headers(1, GET))
    peer.answer(1)
    peer.take()


def nothing(peer):
    pass


FLOODS = [
    ("rapid-reset", nothing, lambda at: raw.headers(2 * at + 1, GET) + raw.rst_stream(2 * at + 1)),
    (
        "made-you-reset",
        nothing,
        lambda at: raw.headers(2 * at + 1, POST, end=False) + raw.window_update(2 * at + 1, 0),
    ),
    ("refused-streams", opened, lambda at: raw.headers(2 * at + 201, GET)),
    ("settings-flood", nothing, lambda at: raw.settings((raw.INITIAL_WINDOW_SIZE, 65_535 + at % 2))),
    ("ping-flood", nothing, lambda at: raw.ping()),
    ("priority-flood", nothing, lambda at: raw.priority(101, 3)),
    ("priority-flood", nothing, lambda at: raw.priority_update(101)),
    ("window-update-flood", nothing, lambda at: raw.window_update(0, 1)),
    ("window-update-flood", uploading, lambda at: raw.window_update(1, 1)),
    ("unknown-frames", nothing, lambda at: raw.frame(0xFA, 0, at, b"")),
    ("unknown-frames", nothing, lambda at: raw.frame(0xFA, 0, 0, b"grease")),
    ("unknown-frames", nothing, lambda at: raw.ping(flags=raw.ACK)),
    ("unknown-frames", nothing, lambda at: raw.settings_ack()),
    ("closed-streams", closed, lambda at: raw.rst_stream(1)),
    ("empty-data", uploading, lambda at: raw.data(1, b"")),
    (
        "empty-headers",
        nothing,
        lambda at: raw.headers(2 * at + 1, b"", last=False) + raw.continuation(2 * at + 1, GET, last=True),
    ),
]


@pytest.mark.parametrize(
    ("reason", "begin", "frame"), FLOODS, ids=[f"{at}-{one[0]}" for at, one in enumerate(FLOODS)]
)
def test_each_flood_at_its_limit_and_one_more(reason, begin, frame):
    peer = Peer()
    begin(peer)
    # What the beginning has earned is not what is asked for here.
    peer.h2.budgets.earned = 0
    (limit,) = [burst for word, burst, _ in KINDS if word == reason]
    for at in range(limit):
        peer.put(frame(at))
        stream = 2 * at + 1
        if reason == "empty-headers":  # nobody minds the requests: they are answered
            peer.answer(stream)
            peer.take()
            peer.h2.budgets.earned = 0
    peer.take()
    assert not peer.h2.failed
    peer.refused(frame(limit), reason=reason)


def test_tiny_frames_at_the_limit_and_one_more():
    peer = Peer()
    uploading(peer)
    for _ in range(budgets.MAX_TINY_DATA // 1000):
        peer.put(raw.data(1, b"x") * 1000)
        peer.h2.consumed(1, 1000)
        peer.take()
    peer.refused(raw.data(1, b"x"), reason="tiny-data")


def test_small_frames_of_one_read_are_one_piece():
    peer = Peer()
    uploading(peer)
    peer.put(raw.data(1, b"x") * 1000)
    (piece,) = peer.met(Data)
    assert piece.data == b"x" * 1000


def asks_and_gives_up(answers, turns):
    """Give one request up for so many that are answered; return how many turns went well."""
    peer = Peer(max_requests=1 << 30)
    stream = 1
    for turn in range(turns):
        for _ in range(answers):
            peer.put(raw.headers(stream, GET))
            peer.answer(stream)
            peer.take()
            stream += 2
        try:
            peer.put(raw.headers(stream, GET), raw.rst_stream(stream))
        except H2ConnectionError:
            return turn
        stream += 2
    return turns


def test_requests_that_were_answered_make_good_for_others():
    assert asks_and_gives_up(4, 3 * budgets.MAX_RAPID_RESETS) == 3 * budgets.MAX_RAPID_RESETS


def test_one_cheap_answer_does_not_make_good_for_one_that_was_given_up():
    allowed = asks_and_gives_up(1, 3 * budgets.MAX_RAPID_RESETS)
    assert budgets.MAX_RAPID_RESETS < allowed < 1.4 * budgets.MAX_RAPID_RESETS


def test_a_request_that_had_its_time_was_not_given_up_in_haste():
    peer = Peer()
    for at in range(6 * budgets.MAX_RAPID_RESETS):
        peer.put(raw.headers(2 * at + 1, GET))
        if at >= 90:
            peer.put(raw.rst_stream(2 * (at - 90) + 1))
        peer.now += budgets.RAPID_SECONDS / 89
    assert not peer.h2.failed


def test_goaway_that_falls_and_falls():
    peer = Peer()
    for at in range(budgets.MAX_UNKNOWN_FRAMES + 1):
        peer.put(raw.frame(raw.GOAWAY, 0, 0, ((1 << 30) - at).to_bytes(4, "big") + bytes(4)))
    peer.refused(raw.frame(raw.GOAWAY, 0, 0, bytes(8)), reason="unknown-frames")


def test_small_messages_of_an_origin_are_what_it_is_for():
    peer = Peer(is_client=True)
    peer.h2.send(Request(b"GET", b"/", 20, Fields([b"host"], [b"Host: localhost"])))
    peer.put(raw.headers(1, raw.literal(b":status", b"200"), end=False))
    for _ in range(budgets.MAX_TINY_DATA // 1000 + 1):
        peer.put(raw.data(1, b"x" * 20) * 1000)
        peer.h2.consumed(1, 20_000)
        peer.take()
    assert not peer.h2.failed


def test_thousands_of_events_cost_a_reset_nothing():
    """What waits of other streams is not gone through for each stream that is given up."""
    peer = Peer()
    uploading(peer)
    peer.put(raw.headers(3, POST, end=False))
    peer.events = []
    frames = [raw.data(1 if at & 1 else 3, b"x") for at in range(1000)]
    frames.append(raw.headers(5, GET) + raw.headers(7, GET) + raw.rst_stream(5))
    peer.h2.receive(b"".join(frames), peer.now)
    events = peer.h2._events
    peer.h2.receive(raw.rst_stream(3), peer.now)
    assert peer.h2._events is events
    assert not peer.h2.has_event_of(3)
    met = []
    while (event := peer.h2.next_event()) is not None:
        met.append(event)
    assert [event.stream for event in met if isinstance(event, Data)] == [1] * 500
    assert [event.stream for event in met if not isinstance(event, Data)] == [7, 5, 3]
    assert peer.h2._dead == {}


def test_two_table_sizes_in_one_frame_are_both_taken():
    peer = Peer()

    def answered(stream):
        peer.put(raw.headers(stream, GET))
        fields = Fields([b"x-long"], [b"x-long: some-value-here"])
        peer.h2.send(Response(204, b"", 20, fields, 0, stream))
        (head,) = [one.payload for one in peer.take() if one.kind == raw.HEADERS]
        return head

    for stream in (1, 3, 5):
        answered(stream)
    peer.put(raw.settings((raw.HEADER_TABLE_SIZE, 0), (raw.HEADER_TABLE_SIZE, 4096)))
    assert answered(7).startswith(raw.table_size(0) + raw.table_size(4096))


@pytest.mark.parametrize(
    "fault",
    [
        lambda one: raw.headers(one, POST, end=False) + raw.window_update(one, 0),
        lambda one: raw.headers(one, POST, end=False) + raw.window_update(one, (1 << 31) - 1),
        lambda one: raw.headers(one, GET) + raw.data(one, b"x"),
        lambda one: raw.headers(one, GET) + raw.headers(one, GET),
        lambda one: raw.headers(one, raw.request_block(b"/", b"GET", (b"UPPER", b"x"))),
        lambda one: raw.headers(one, raw.request_block(b"/", b"GET", (b"connection", b"close"))),
        lambda one: raw.headers(one, raw.literal(b":method", b"GET")),
        lambda one: raw.headers(one, raw.request_block(b"/", b"GET", (b"content-length", b"5"))),
        lambda one: (
            raw.headers(one, raw.request_block(b"/", b"POST", (b"content-length", b"1")), end=False)
            + raw.data(one, b"xx")
        ),
        lambda one: raw.headers(one, POST, end=False) + raw.frame(raw.PRIORITY, 0, one, b"1234"),
        lambda one: raw.headers(one, POST, end=False) + raw.headers(one, GET, end=False),
        lambda one: (
            raw.headers(one, POST, end=False)
            + raw.data(one, bytes(16_384)) * (SETTINGS.initial_window // 16_384)
            + raw.data(one, b"x")
        ),
    ],
    ids=[
        "window-update-0",
        "window-overflow",
        "half-closed-data",
        "half-closed-headers",
        "upper-case",
        "connection-field",
        "no-path",
        "no-content",
        "more-content",
        "priority-size",
        "no-trailers",
        "flow-control",
    ],
)
def test_every_fault_that_makes_us_reset_a_stream_counts(fault):
    peer = Peer()
    for at in range(budgets.MAX_MADE_RESETS):
        peer.put(fault(2 * at + 1))
        assert list(peer.resets()) == [2 * at + 1]
        for event in peer.met(Data):
            peer.h2.consumed(event.stream, len(event.data))
        peer.events = []
        peer.take()
    peer.refused(fault(2 * budgets.MAX_MADE_RESETS + 1), reason="made-you-reset")


def test_rfc9113_5_1_2_streams_at_the_limit_and_one_more():
    peer = Peer()
    opened(peer, SETTINGS.max_streams)
    assert peer.resets() == {}
    peer.put(raw.headers(201, GET))
    assert peer.resets() == {201: errors.REFUSED_STREAM}
    assert len(peer.met(Request)) == SETTINGS.max_streams
    peer.answer(1)
    peer.take()
    peer.put(raw.headers(203, GET))
    assert peer.resets() == {}
    assert len(peer.met(Request)) == SETTINGS.max_streams + 1


def test_settings_of_a_frame_at_the_limit_and_one_more():
    peer = Peer()
    peer.put(raw.settings(*[(0xF0, 1)] * MAX_SETTINGS))
    peer.refused(raw.settings(*[(0xF0, 1)] * (MAX_SETTINGS + 1)), reason="settings-flood")


def test_content_pays_for_pings():
    peer = Peer()
    uploading(peer)
    peer.put(raw.data(1, bytes(8 * 1024)) * 4)
    earned = peer.h2.budgets.earned
    assert earned == 32
    peer.put(raw.ping() * budgets.MAX_PINGS)
    peer.put(raw.ping() * earned)
    peer.refused(raw.ping(), reason="ping-flood")


def test_an_answer_taken_octet_by_octet_does_not_pay_for_itself():
    peer = Peer()
    peer.put(raw.settings((raw.INITIAL_WINDOW_SIZE, 0)), raw.headers(1, GET))
    peer.answer(1, bytes(100_000))
    for _ in range(budgets.MAX_WINDOW_UPDATES):
        peer.put(raw.window_update(1, 1))
        peer.take()
    peer.refused(raw.window_update(1, 1), reason="window-update-flood")


def test_an_empty_frame_in_each_answered_request_is_paid_for():
    peer = Peer(max_requests=1 << 30)
    peer.h2.budgets.spend(
        budgets.EMPTY_DATA, peer.now, budgets.MAX_EMPTY_DATA
    )  # nothing is left of the burst
    peer.h2.budgets.earn(4)
    for at in range(3000):
        one = 2 * at + 1
        peer.put(raw.headers(one, POST, end=False), raw.data(one, b""), raw.data(one, b"x", end=True))
        peer.answer(one, b"ok")
        peer.take()
    assert not peer.h2.failed


def test_padding_at_the_limit_and_one_more():
    peer = Peer()
    uploading(peer)
    wasted = 255 + 1 - 64  # padding and its length, beyond the content
    count, rest = divmod(budgets.MAX_PADDING, wasted)
    for _ in range(count):
        peer.put(raw.data(1, bytes(64), padding=255))
        peer.h2.consumed(1, 64)
        peer.take()
    if rest:
        peer.put(raw.data(1, bytes(64), padding=63 + rest))
        peer.h2.consumed(1, 64)
    peer.refused(raw.data(1, bytes(64), padding=64), reason="padding")


def test_continuation_frames_at_the_limit_and_one_more():
    for count in (MAX_CONTINUATIONS, MAX_CONTINUATIONS + 1):
        peer = Peer()
        pieces = [raw.continuation(1, raw.literal(b"x-%d" % at, b"y")) for at in range(count - 1)]
        octets = raw.headers(1, GET, last=False) + b"".join(pieces)
        if count == MAX_CONTINUATIONS:
            peer.put(octets, raw.continuation(1, raw.literal(b"z", b"z"), last=True))
            assert len(peer.met(Request)) == 1
        else:
            peer.refused(octets, raw.continuation(1, raw.literal(b"z", b"z")), reason="continuation-flood")


@pytest.mark.parametrize("beyond", [0, 1])
def test_octets_of_a_block_at_the_limit_and_one_more(beyond):
    peer = Peer()
    # What it decodes to is more, and 431 at the limit.
    filler = raw.literal(b"x", bytes(SETTINGS.max_section - len(GET) - 7))
    block = GET + filler + bytes(beyond)
    assert len(block) == SETTINGS.max_section + beyond
    pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    octets = raw.headers(1, pieces[0], last=False) + b"".join(
        raw.continuation(1, piece, last=at == len(pieces) - 2) for at, piece in enumerate(pieces[1:])
    )
    if beyond:
        peer.refused(octets, reason="continuation-flood")
    else:
        peer.put(octets)
        assert not peer.h2.failed


def section(octets, lines=2):
    """Fields of so many octets, 32 for each line counted in, behind the pseudo-fields."""
    pseudo = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]
    octets -= sum(len(name) + len(value) + 32 for name, value in pseudo)
    each = octets // lines
    sizes = [each] * (lines - 1) + [octets - each * (lines - 1)]
    return [(b"x%03d" % at, b"v" * (size - 36)) for at, size in enumerate(sizes)]


def send_section(peer, fields):
    block = raw.request_block(b"/", b"GET", *fields)
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    peer.put(raw.headers(1, pieces[0], last=len(pieces) == 1))
    for at, piece in enumerate(pieces[1:]):
        peer.put(raw.continuation(1, piece, last=at == len(pieces) - 2))


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_field_section_at_the_limit_of_octets_and_one_more(beyond):
    peer = Peer()
    send_section(peer, section(SETTINGS.max_section + beyond))
    if beyond:
        (refused,) = peer.met(RequestRefused)
        assert refused.status == 431
    else:
        assert len(peer.met(Request)) == 1


@pytest.mark.parametrize("beyond", [0, 1])
def test_field_lines_at_the_limit_and_one_more(beyond):
    peer = Peer()
    count = SETTINGS.max_lines - 4 + beyond
    send_section(peer, [(b"x-%d" % at, b"v") for at in range(count)])
    if beyond:
        (refused,) = peer.met(RequestRefused)
        assert refused.status == 431
    else:
        assert len(peer.met(Request)) == 1


def test_a_bomb_is_431_and_the_table_is_in_step():
    peer = Peer()
    bomb = GET + raw.remembered(b"bomb", b"b" * 4000) + raw.indexed(62) * 500
    peer.put(raw.headers(1, bomb))
    (refused,) = peer.met(RequestRefused)
    assert refused.status == 431
    peer.put(raw.headers(3, GET + raw.indexed(62)))
    (request,) = peer.met(Request)
    assert request.fields.get(b"bomb") == b"b" * 4000


@pytest.mark.parametrize(
    "line",
    [raw.indexed(2), raw.literal(b"a", b"b"), b"\x10\x01a\x01b", raw.remembered(b"a", b"b")],
    ids=["indexed", "literal", "never-indexed", "remembered"],
)
def test_lines_of_a_block_at_the_limit_and_one_more(line):
    peer = Peer()
    limit = MAX_LINES_READ * SETTINGS.max_lines
    peer.put(raw.headers(1, GET + line * (limit - 4)))
    (refused,) = peer.met(RequestRefused)
    assert refused.status == 431
    peer.refused(raw.headers(3, GET + line * (limit - 3)), reason="field-lines")


def test_literals_of_a_section_that_is_given_up_are_passed_over_and_the_table_is_in_step():
    peer = Peer()
    bad = b"\x00\x01a\x84" + b"\xff" * 4  # no Huffman code: nobody looks
    too_many = raw.literal(b"a", b"b") * SETTINGS.max_lines
    peer.put(raw.headers(1, GET + too_many + bad + raw.remembered(b"kept", b"value") + bad))
    assert len(peer.met(RequestRefused)) == 1
    peer.put(raw.headers(3, GET + raw.indexed(62)))
    (request,) = peer.met(Request)
    assert request.fields.get(b"kept") == b"value"


@pytest.mark.parametrize(
    ("updates", "is_right"),
    [([4096], True), ([0, 4096], True), ([4097], False), ([0, 0, 4096], False)],
)
def test_table_size_updates_beyond_what_may_be(updates, is_right):
    peer = Peer()
    block = b"".join(raw.table_size(size) for size in updates) + GET
    if is_right:
        peer.put(raw.headers(1, block))
        assert len(peer.met(Request)) == 1
    else:
        peer.refused(raw.headers(1, block), reason="hpack-decompression", code=errors.COMPRESSION_ERROR)


def test_the_encoders_table_stays_small():
    peer = Peer()
    peer.put(raw.settings((raw.HEADER_TABLE_SIZE, (1 << 32) - 1)))
    for at in range(1000):
        peer.put(raw.headers(2 * at + 1, GET))
        fields = Fields([b"x-%d" % at], [b"x-%d: %s" % (at, b"v" * 200)])
        peer.h2.send(Response(204, b"", 20, fields, 0, 2 * at + 1))
        peer.take()
    assert peer.h2.encoder._table.size <= 4096


@pytest.mark.parametrize("kind", [raw.DATA, raw.HEADERS, raw.PING, 0xFA])
def test_rfc9113_4_2_a_frame_at_the_limit_and_one_octet_more(kind):
    peer = Peer()
    uploading(peer)
    if kind == raw.DATA:
        peer.put(raw.data(1, bytes(16_384)))
    peer.refused(
        raw.frame(kind, 0, 0 if kind == raw.PING else 1, bytes(16_385)),
        reason="frame-size",
        code=errors.FRAME_SIZE_ERROR,
    )


def test_rfc9113_6_9_1_content_of_a_stream_at_the_limit_and_one_octet_more():
    peer = Peer()
    uploading(peer)
    peer.put(raw.data(1, bytes(16_384)) * (SETTINGS.initial_window // 16_384))
    assert sum(len(event.data) for event in peer.met(Data)) == SETTINGS.initial_window
    assert peer.resets() == {}
    peer.put(raw.data(1, b"x"))
    assert peer.resets() == {1: errors.FLOW_CONTROL_ERROR}


def test_rfc9113_6_9_1_content_of_a_connection_at_the_limit_and_one_octet_more():
    peer = Peer()
    streams = SETTINGS.connection_window // SETTINGS.initial_window
    for at in range(streams):
        peer.put(raw.headers(2 * at + 1, POST, end=False))
        peer.put(raw.data(2 * at + 1, bytes(16_384)) * (SETTINGS.initial_window // 16_384))
    one = 2 * streams + 1
    peer.put(raw.headers(one, POST, end=False))
    peer.refused(raw.data(one, b"x"), reason="flow-control", code=errors.FLOW_CONTROL_ERROR)


def test_requests_of_a_connection_at_the_limit_and_one_more():
    peer = Peer(max_requests=3)
    for at in range(3):
        peer.put(raw.headers(2 * at + 1, GET))
        peer.answer(2 * at + 1)
    goaways = [one for one in peer.take() if one.kind == raw.GOAWAY]
    assert [int.from_bytes(one.payload, "big") for one in goaways] == [((1 << 31) - 1) << 32]
    peer.now += 60.0
    peer.h2.on_deadline(peer.now)
    (last,) = [one for one in peer.take() if one.kind == raw.GOAWAY]
    assert last.payload == (5).to_bytes(4, "big") + bytes(4)
    peer.put(raw.headers(7, GET))
    assert peer.resets() == {7: errors.REFUSED_STREAM}


def test_the_age_of_a_connection_at_the_limit_and_later():
    peer = Peer(max_age=60.0)
    peer.now = 159.9
    peer.put(raw.headers(1, GET))
    assert not peer.h2.is_going_away
    peer.now = 160.0
    peer.put(raw.headers(3, GET))
    assert peer.h2.is_going_away
    assert len(peer.met(Request)) == 2


def test_interim_answers_at_the_limit_and_one_more():
    peer = Peer(is_client=True)
    request = Request(b"GET", b"/", 20, Fields([b"host"], [b"Host: localhost"]))
    peer.h2.send(request)
    for _ in range(MAX_INTERIM_RESPONSES):
        peer.put(raw.headers(1, raw.literal(b":status", b"103"), end=False))
    assert len(peer.met(Response)) == MAX_INTERIM_RESPONSES
    peer.put(raw.headers(1, raw.literal(b":status", b"103"), end=False))
    (failed,) = peer.met(StreamFailed)
    assert failed.reason == "too-many-interim"


def test_rfc9218_7_1_priorities_of_streams_to_come_at_the_limit_and_one_more():
    peer = Peer()
    opened(peer, 60)
    for at in range(SETTINGS.max_streams - 60):
        peer.put(raw.priority_update(2 * at + 1001))
        peer.put(raw.priority_update(2 * at + 1001))  # another value for the same one
    peer.refused(raw.priority_update(2001), reason="protocol-error", code=errors.PROTOCOL_ERROR)


def test_what_is_earned_is_bounded():
    peer = Peer()
    uploading(peer)
    for _ in range(MAX_EARNED // 16 + 10):
        peer.put(raw.data(1, bytes(16_384)))
        peer.h2.consumed(1, 16_384)
        peer.take()
    assert peer.h2.budgets.earned == MAX_EARNED
