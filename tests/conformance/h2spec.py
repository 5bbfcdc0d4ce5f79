"""The cases of h2spec, version 2.6.0: generic ones, of HTTP/2 and of HPACK, each "sends X: the endpoint MUST do Y".

Written anew from the RFCs; only the list of what is asked comes from there. A case says what a client sends behind
its preface and what must become of it: a connection error or a stream error with one of some codes, an answer, or an
answer to its PING or SETTINGS. Where section 5.4.1 lets an endpoint end the connection for an error of a stream, both
are right.
"""

from dataclasses import dataclass

from tests.conformance.h2_wire import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    POST,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    UNKNOWN,
    WINDOW_UPDATE,
    data,
    frame,
    goaway,
    headers,
    reset,
    section,
    settings,
    window_update,
)

CONNECTION, STREAM, ANSWERED, PONG, SETTLED = "connection", "stream", "answered", "pong", "settled"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`sends` goes out behind the preface; `does` must become of it, with one of `codes`."""

    name: str
    section: str
    sends: bytes
    does: str
    codes: tuple[int, ...] = ()
    preface: bytes | None = None

    def __str__(self):
        return f"{self.section}: {self.name}"


def ends(section, name, codes, *sends, **more):
    codes = codes if isinstance(codes, tuple) else (codes,)
    return Case(name=name, section=section, sends=b"".join(sends), does=CONNECTION, codes=codes, **more)


def fails(section, name, codes, *sends):
    codes = codes if isinstance(codes, tuple) else (codes,)
    return Case(name=name, section=section, sends=b"".join(sends), does=STREAM, codes=codes)


def answers(section, name, *sends):
    return Case(name=name, section=section, sends=b"".join(sends), does=ANSWERED)


def pongs(section, name, *sends):
    return Case(name=name, section=section, sends=b"".join(sends) + PING_US, does=PONG)


PING_US = frame(PING, 0, 0, b"h2spec!!")
BLOCK = section(*GET)
ASK = headers(1, *GET, end=True)
OPEN = headers(1, *POST)
BEGUN = frame(HEADERS, END_STREAM, 1, BLOCK[:9])
A_OF_5_BITS = b"\0\x01x\x81\x1f"
PAD = frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, bytes((len(BLOCK) + 1,)) + BLOCK)


def malformed(section, name, *lines):
    return fails(section, name, PROTOCOL_ERROR, headers(1, *lines, end=True))


GENERIC = [
    pongs("generic 1", "PING after the preface"),
    pongs("generic 2", "PRIORITY of an idle stream", frame(PRIORITY, 0, 1, bytes(4) + b"\xff")),
    pongs("generic 2", "WINDOW_UPDATE of a half-closed stream", ASK, window_update(1, 100)),
    pongs("generic 2", "PRIORITY of a half-closed stream", ASK, frame(PRIORITY, 0, 1, bytes(4) + b"\xff")),
    pongs("generic 2", "RST_STREAM of a half-closed stream", ASK, reset(1)),
    answers("generic 3.1", "DATA", OPEN, data(1, b"test", end=True)),
    answers("generic 3.1", "DATA in two", OPEN, data(1, b"te"), data(1, b"st", end=True)),
    answers("generic 3.1", "DATA with padding", OPEN, frame(DATA, PADDED | END_STREAM, 1, b"\6test" + bytes(6))),
    answers("generic 3.2", "HEADERS", ASK),
    answers(
        "generic 3.2", "HEADERS with padding",
        frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\4" + BLOCK + bytes(4)),
    ),
    answers(
        "generic 3.2", "HEADERS with a priority",
        frame(HEADERS, HAS_PRIORITY | END_HEADERS | END_STREAM, 1, bytes(4) + b"\xff" + BLOCK),
    ),
    answers("generic 3.3", "PRIORITY, then a request", frame(PRIORITY, 0, 1, bytes(4) + b"\x10"), ASK),
    answers(
        "generic 3.3", "an exclusive PRIORITY", frame(PRIORITY, 0, 1, b"\x80\0\0\0\xff"), ASK,
    ),
    pongs("generic 3.4", "RST_STREAM", OPEN, reset(1)),
    Case(name="SETTINGS", section="generic 3.5", sends=settings((INITIAL_WINDOW_SIZE, 100)), does=SETTLED),
    pongs("generic 3.7", "PING"),
    answers("generic 3.8", "GOAWAY, and a request that was before it", ASK, goaway(0)),
    answers("generic 3.9", "WINDOW_UPDATE of the connection", window_update(0, 1), ASK),
    answers("generic 3.9", "WINDOW_UPDATE of a stream", OPEN, window_update(1, 1), data(1, b"", end=True)),
    answers(
        "generic 3.10", "CONTINUATION", BEGUN, frame(CONTINUATION, END_HEADERS, 1, BLOCK[9:]),
    ),
    answers(
        "generic 3.10", "two of them", BEGUN, frame(CONTINUATION, 0, 1, BLOCK[9:30]),
        frame(CONTINUATION, END_HEADERS, 1, BLOCK[30:]),
    ),
    answers("generic 4", "HEAD", headers(1, (b":method", b"HEAD"), *GET[1:], end=True)),
    answers("generic 4", "POST with trailers", OPEN, data(1, b"test"), headers(1, (b"x-test", b"ok"), end=True)),
    answers("generic 5", "an indexed line", frame(HEADERS, 5, 1, b"\x82\x87\x84" + section(GET[2]))),
    answers("generic 5", "a literal with indexing", frame(HEADERS, 5, 1, b"\x82\x87\x84\x41\x06a.test")),
    answers("generic 5", "a literal never indexed", frame(HEADERS, 5, 1, b"\x82\x87\x84\x11\x06a.test")),
    answers("generic 5", "Huffman's code", frame(HEADERS, 5, 1, b"\x82\x87\x84" + section(GET[2]) + A_OF_5_BITS)),
]  # fmt: skip

HTTP2 = [
    ends("3.5", "a wrong preface", PROTOCOL_ERROR, settings(), preface=b"INVALID CONNECTION PREFACE\r\n\r\n"),
    pongs("4.1", "a frame of unknown type", frame(UNKNOWN, 0, 0, bytes(8))),
    Case(name="a flag that is not defined", section="4.1", sends=frame(PING, 0x16, 0, b"h2spec!!"), does=PONG),
    Case(name="the reserved bit", section="4.1", sends=frame(PING, 0, 1 << 31, b"h2spec!!"), does=PONG),
    answers("4.2", "DATA of 2^14 octets", OPEN, data(1, bytes(16384), end=True)),
    fails("4.2", "DATA beyond the maximum", FRAME_SIZE_ERROR, OPEN, data(1, bytes(16385), end=True)),
    ends("4.2", "HEADERS beyond the maximum", FRAME_SIZE_ERROR,
         frame(HEADERS, 5, 1, BLOCK + section((b"x", b"y" * 16384)))),
    ends("4.3", "a line that cannot be decoded", COMPRESSION_ERROR, frame(HEADERS, 5, 1, b"\x40")),
    ends("4.3", "PRIORITY inside a field block", PROTOCOL_ERROR, BEGUN, frame(PRIORITY, 0, 1, bytes(5))),
    ends("4.3", "HEADERS of another stream inside one", PROTOCOL_ERROR, BEGUN, headers(3, *GET)),
    ends("5.1", "idle: DATA", PROTOCOL_ERROR, data(1, b"test", end=True)),
    ends("5.1", "idle: RST_STREAM", PROTOCOL_ERROR, reset(1)),
    ends("5.1", "idle: WINDOW_UPDATE", PROTOCOL_ERROR, window_update(1, 100)),
    ends("5.1", "idle: CONTINUATION", PROTOCOL_ERROR, frame(CONTINUATION, 4, 1, BLOCK)),
    fails("5.1", "half-closed: DATA", STREAM_CLOSED, ASK, data(1, b"test", end=True)),
    fails("5.1", "half-closed: HEADERS", STREAM_CLOSED, ASK, ASK),
    ends("5.1", "half-closed: CONTINUATION", (STREAM_CLOSED, PROTOCOL_ERROR), ASK, frame(CONTINUATION, 4, 1, BLOCK)),
    fails("5.1", "closed by RST_STREAM: DATA", STREAM_CLOSED, OPEN, reset(1), data(1, b"test", end=True)),
    fails("5.1", "closed by RST_STREAM: HEADERS", STREAM_CLOSED, OPEN, reset(1), ASK),
    ends("5.1", "closed by RST_STREAM: CONTINUATION", (STREAM_CLOSED, PROTOCOL_ERROR), OPEN, reset(1),
         frame(CONTINUATION, 4, 1, BLOCK)),
    ends("5.1.1", "an even number", PROTOCOL_ERROR, headers(2, *GET, end=True)),
    ends("5.1.1", "a number that falls", PROTOCOL_ERROR, headers(5, *GET, end=True), headers(3, *GET, end=True)),
    fails("5.1.2", "more streams than may be", (PROTOCOL_ERROR, REFUSED_STREAM),
          *[headers(3 + 2 * number, *POST) for number in range(100)], headers(1001, *POST)),
    ends("5.4.1", "a frame that is wrong: GOAWAY and the end", FRAME_SIZE_ERROR, frame(PING, 0, 0, bytes(6))),
    pongs("5.5", "an unknown extension", frame(0x16, 0, 0, bytes(8))),
    ends("5.5", "an unknown extension inside a field block", PROTOCOL_ERROR, BEGUN, frame(0x16, 0, 0, bytes(8))),
    ends("6.1", "DATA on stream 0", PROTOCOL_ERROR, data(0, b"test")),
    ends("6.1", "padding beyond the frame", PROTOCOL_ERROR, OPEN, frame(DATA, PADDED | END_STREAM, 1, b"\6test")),
    ends("6.2", "HEADERS without END_HEADERS, then PRIORITY", PROTOCOL_ERROR, BEGUN,
         frame(PRIORITY, 0, 1, bytes(5))),
    ends("6.2", "HEADERS on stream 0", PROTOCOL_ERROR, headers(0, *GET, end=True)),
    ends("6.2", "padding beyond the frame", PROTOCOL_ERROR, PAD),
    ends("6.3", "PRIORITY on stream 0", PROTOCOL_ERROR, frame(PRIORITY, 0, 0, bytes(5))),
    fails("6.3", "PRIORITY of 4 octets", FRAME_SIZE_ERROR, OPEN, frame(PRIORITY, 0, 1, bytes(4))),
    ends("6.4", "RST_STREAM on stream 0", PROTOCOL_ERROR, reset(0)),
    ends("6.4", "RST_STREAM of an idle stream", PROTOCOL_ERROR, reset(1)),
    ends("6.4", "RST_STREAM of 3 octets", FRAME_SIZE_ERROR, OPEN, frame(RST_STREAM, 0, 1, bytes(3))),
    ends("6.5", "SETTINGS that acknowledge and say something", FRAME_SIZE_ERROR,
         settings((ENABLE_PUSH, 0), flags=ACK)),
    ends("6.5", "SETTINGS on a stream", PROTOCOL_ERROR, settings(stream=1)),
    ends("6.5", "SETTINGS of 3 octets", FRAME_SIZE_ERROR, frame(SETTINGS, 0, 0, bytes(3))),
    ends("6.5.2", "ENABLE_PUSH of 2", PROTOCOL_ERROR, settings((ENABLE_PUSH, 2))),
    ends("6.5.2", "INITIAL_WINDOW_SIZE beyond the maximum", FLOW_CONTROL_ERROR,
         settings((INITIAL_WINDOW_SIZE, 1 << 31))),
    ends("6.5.2", "MAX_FRAME_SIZE below the first", PROTOCOL_ERROR, settings((MAX_FRAME_SIZE, 16383))),
    ends("6.5.2", "MAX_FRAME_SIZE beyond the maximum", PROTOCOL_ERROR, settings((MAX_FRAME_SIZE, 1 << 24))),
    pongs("6.5.2", "an unknown setting", settings((0xFF, 1))),
    Case(name="SETTINGS are acknowledged", section="6.5.3", sends=settings(), does=SETTLED),
    ends("6.6", "PUSH_PROMISE of a client", PROTOCOL_ERROR, OPEN,
         frame(PUSH_PROMISE, END_HEADERS, 1, (2).to_bytes(4) + BLOCK)),
    pongs("6.7", "PING"),
    pongs("6.7", "an answer to PING is not answered", frame(PING, ACK, 0, b"invalid!")),
    ends("6.7", "PING on a stream", PROTOCOL_ERROR, frame(PING, 0, 1, bytes(8))),
    ends("6.7", "PING of 6 octets", FRAME_SIZE_ERROR, frame(PING, 0, 0, bytes(6))),
    ends("6.8", "GOAWAY on a stream", PROTOCOL_ERROR, frame(GOAWAY, 0, 1, bytes(8))),
    ends("6.9", "WINDOW_UPDATE by 0", PROTOCOL_ERROR, window_update(0, 0)),
    fails("6.9", "WINDOW_UPDATE of a stream by 0", PROTOCOL_ERROR, OPEN, window_update(1, 0)),
    ends("6.9", "WINDOW_UPDATE of 3 octets", FRAME_SIZE_ERROR, frame(WINDOW_UPDATE, 0, 0, bytes(3))),
    ends("6.9.1", "a window of the connection beyond the maximum", FLOW_CONTROL_ERROR,
         window_update(0, (1 << 31) - 1), window_update(0, (1 << 31) - 1)),
    fails("6.9.1", "a window of a stream beyond the maximum", FLOW_CONTROL_ERROR, OPEN,
          window_update(1, (1 << 31) - 1), window_update(1, (1 << 31) - 1)),
    ends("6.9.2", "a first window beyond the maximum", FLOW_CONTROL_ERROR,
         settings((INITIAL_WINDOW_SIZE, 1 << 31))),
    ends("6.10", "CONTINUATION on stream 0", PROTOCOL_ERROR, BEGUN, frame(CONTINUATION, 4, 0, BLOCK[9:])),
    ends("6.10", "CONTINUATION behind HEADERS that ended", PROTOCOL_ERROR, OPEN, frame(CONTINUATION, 4, 1, BLOCK)),
    ends("6.10", "CONTINUATION behind one that ended", PROTOCOL_ERROR, BEGUN, frame(CONTINUATION, 4, 1, BLOCK[9:]),
         frame(CONTINUATION, 4, 1, BLOCK)),
    ends("6.10", "CONTINUATION behind DATA", PROTOCOL_ERROR, OPEN, data(1, b"test"),
         frame(CONTINUATION, 4, 1, BLOCK)),
    ends("6.10", "another frame inside a block", PROTOCOL_ERROR, BEGUN, data(1, b"test")),
    pongs("7", "GOAWAY with an unknown code", goaway(0, 0xFF)),
    pongs("7", "RST_STREAM with an unknown code", OPEN, reset(1, 0xFF)),
    fails("8.1", "a second HEADERS without END_STREAM", PROTOCOL_ERROR, OPEN, headers(1, (b"x", b"y"))),
    malformed("8.1.2", "upper case", *GET, (b"X-TEST", b"ok")),
    malformed("8.1.2.1", "an unknown pseudo-header field", *GET, (b":test", b"ok")),
    malformed("8.1.2.1", "a pseudo-header field of responses", *GET, (b":status", b"200")),
    fails("8.1.2.1", "a pseudo-header field in trailers", PROTOCOL_ERROR, OPEN, data(1, b"test"),
          headers(1, (b":method", b"200"), end=True)),
    malformed("8.1.2.1", "a pseudo-header field behind a field", *GET[:3], (b"x-test", b"ok"), GET[3]),
    malformed("8.1.2.2", "connection", *GET, (b"connection", b"keep-alive")),
    malformed("8.1.2.2", "te", *GET, (b"trailers", b"test"), (b"te", b"trailers, deflate")),
    malformed("8.1.2.3", "an empty :path", *GET[:3], (b":path", b"")),
    malformed("8.1.2.3", "no :method", *GET[1:]),
    malformed("8.1.2.3", "no :scheme", GET[0], *GET[2:]),
    malformed("8.1.2.3", "no :path", *GET[:3]),
    malformed("8.1.2.3", ":method twice", *GET, GET[0]),
    malformed("8.1.2.3", ":scheme twice", *GET, GET[1]),
    malformed("8.1.2.3", ":path twice", *GET, GET[3]),
    fails("8.1.2.6", "content-length that is not DATA's", PROTOCOL_ERROR,
          headers(1, *POST, (b"content-length", b"1")), data(1, b"test", end=True)),
    fails("8.1.2.6", "content-length that is not that of several", PROTOCOL_ERROR,
          headers(1, *POST, (b"content-length", b"1")), data(1, b"te"), data(1, b"st", end=True)),
    ends("8.2", "PUSH_PROMISE", PROTOCOL_ERROR, OPEN, frame(PUSH_PROMISE, END_HEADERS, 1, (2).to_bytes(4) + BLOCK)),
]  # fmt: skip


def compression(section, name, block):
    return ends(section, name, COMPRESSION_ERROR, frame(HEADERS, END_HEADERS | END_STREAM, 1, block))


HPACK = [
    compression("hpack 2.3.3", "an index beyond both tables", BLOCK + b"\xff\x00"),
    compression("hpack 2.3.3", "a name of that index", BLOCK + b"\x7f\x00\x01x"),
    compression("hpack 4.2", "a table size update at the end", BLOCK + b"\x21"),
    compression("hpack 5.2", "Huffman: padding longer than 7 bits", BLOCK + b"\0\x01x\x82\x1f\xff"),
    compression("hpack 5.2", "Huffman: padding of zeros", BLOCK + b"\0\x01x\x81\x18"),
    compression("hpack 5.2", "Huffman: EOS", BLOCK + b"\0\x01x\x84\xff\xff\xff\xff"),
    compression("hpack 6.1", "index 0", BLOCK + b"\x80"),
    compression("hpack 6.3", "a table size beyond the limit", b"\x3f\xe2\x1f" + BLOCK),
]  # fmt: skip
