"""The cases of h3spec, version 0.1.14: of the transport, of HTTP/3 and of QPACK, each "MUST send X if Y".

Written anew from the RFCs; only the list of what is asked comes from there. A case says what a client does wrong and
which codes are right; where its RFC lets a server choose, all right ones stand there. `play` makes a client do it,
in memory or over sockets.
"""

from dataclasses import dataclass, field

from headgate.engine.h3 import errors as h3
from headgate.engine.h3.frames import CANCEL_PUSH, DATA, FRAME_MAX_PUSH_ID, HEADERS, SETTINGS, encode_frame
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.quic import errors as quic
from headgate.engine.quic import frames
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE
from headgate.engine.quic.transport_parameters import PreferredAddress, encode_parameters
from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.hello import decode_client_hello, encode_client_hello, encode_protocols
from headgate.engine.tls13.messages import END_OF_EARLY_DATA, KEY_UPDATE, encode_message
from headgate.engine.varint import encode_varint
from headgate.testing.quic_raw import default_parameters, encode_crypto, encode_stream

UNEXPECTED_MESSAGE = quic.CRYPTO_ERROR + 10
MISSING_EXTENSION = quic.CRYPTO_ERROR + 109
NO_APPLICATION_PROTOCOL = quic.CRYPTO_ERROR + 120

VIOLATION = (quic.PROTOCOL_VIOLATION,)
ENCODING = (quic.FRAME_ENCODING_ERROR,)
STATE = (quic.STREAM_STATE_ERROR,)
PARAMETER = (quic.TRANSPORT_PARAMETER_ERROR,)
KEY_UPDATE_MESSAGE = encode_message(KEY_UPDATE, b"\0")


@dataclass(frozen=True, kw_only=True)
class Case:
    """`content` goes into one packet of `level`; `streams` (stream, octets, fin) go out after the handshake.

    Where `codes` are of the application, a reset of the request's stream with one of them is right too, if
    `of_stream` says so. No codes: it is served.
    """

    name: str
    section: str
    codes: tuple[int, ...]
    content: bytes | None = None
    level: int = APPLICATION
    reserved: int = 0
    streams: tuple[tuple[int, bytes, bool], ...] = ()
    parameters: object = None
    tamper: object = None
    is_application: bool = False
    of_stream: bool = False
    extra: dict = field(default_factory=dict)

    def __str__(self):
        return f"{self.section}: {self.name}"


# --- the transport


def said(**changes):
    """Transport parameters with some of them changed."""

    def parameters(source):
        base = default_parameters(source)
        for name, value in changes.items():
            setattr(base, name, value)
        return encode_parameters(base)

    return parameters


def added(octets):
    return lambda source: encode_parameters(default_parameters(source)) + octets


def hello(change):
    """Write the ClientHello again with its extensions changed."""

    def tamper(level, data):
        if level:
            return data
        found = decode_client_hello(data)
        extensions = dict(found.extensions)
        change(extensions)
        return encode_client_hello(found.random, found.suites, extensions)

    return tamper


def in_front(message):
    """Put a message before the client's Finished."""
    return lambda level, data: message + data if level == HANDSHAKE else data


def drop_parameters(extensions):
    del extensions[ext.TRANSPORT_PARAMETERS]


def other_protocol(extensions):
    extensions[ext.ALPN] = encode_protocols((b"dummy",))


PREFERRED = PreferredAddress(b"\x7f\0\0\1", 443, bytes(16), 0, b"12345678", bytes(16))
TOO_MANY = encode_varint((1 << 60) + 1)


def new_id(sequence=1, prior=0, identifier=b"12345678"):
    return frames.encode_new_connection_id(sequence, prior, identifier, bytes(16))


def parameter(number, value):
    return encode_varint(number) + encode_varint(len(value)) + value


TRANSPORT = [
    Case(
        name="a STREAM frame with a large offset", section="9000-4.1", codes=(quic.FLOW_CONTROL_ERROR,),
        content=encode_stream(0, 100_000_000, b"x", fin=True),
    ),
    Case(
        name="a stream ID beyond the limit", section="9000-4.6", codes=(quic.STREAM_LIMIT_ERROR,),
        content=encode_stream(4000, 0, b"x"),
    ),
    Case(
        name="CRYPTO beyond what is buffered", section="9000-7.5", codes=(quic.CRYPTO_BUFFER_EXCEEDED,),
        content=encode_crypto(1 << 20, b"x"),
    ),
    Case(
        name="initial_source_connection_id is missing", section="9000-7.3", codes=PARAMETER,
        parameters=said(initial_source_connection_id=None),
    ),
    Case(
        name="original_destination_connection_id of a client", section="9000-18.2", codes=PARAMETER,
        parameters=said(original_destination_connection_id=b"dummy"),
    ),
    Case(
        name="preferred_address of a client", section="9000-18.2", codes=PARAMETER,
        parameters=said(preferred_address=PREFERRED),
    ),
    Case(
        name="retry_source_connection_id of a client", section="9000-18.2", codes=PARAMETER,
        parameters=said(retry_source_connection_id=b"dummy"),
    ),
    Case(
        name="stateless_reset_token of a client", section="9000-18.2", codes=PARAMETER,
        parameters=said(stateless_reset_token=bytes(16)),
    ),
    Case(
        name="max_udp_payload_size below 1200", section="9000-18.2", codes=PARAMETER,
        parameters=said(max_udp_payload_size=1199),
    ),
    Case(
        name="ack_delay_exponent above 20", section="9000-18.2", codes=PARAMETER,
        parameters=said(ack_delay_exponent=21),
    ),
    Case(
        name="max_ack_delay of 2^14", section="9000-18.2", codes=PARAMETER,
        parameters=said(max_ack_delay=1 << 14),
    ),
    Case(
        name="a malformed parameter", section="9000-7.4", codes=PARAMETER,
        parameters=added(parameter(0x20, b"\x40")),
    ),
    Case(
        name="initial_max_streams_bidi above 2^60", section="9000-4.6", codes=PARAMETER,
        parameters=said(initial_max_streams_bidi=(1 << 60) + 1),
    ),
    Case(
        name="initial_max_streams_uni above 2^60", section="9000-4.6", codes=PARAMETER,
        parameters=said(initial_max_streams_uni=(1 << 60) + 1),
    ),
    Case(
        name="a parameter twice", section="9000-7.4", codes=PARAMETER, parameters=added(parameter(0x01, b"\x01")),
    ),
    Case(name="a frame of unknown type", section="9000-12.4", codes=ENCODING, content=b"\x20"),
    Case(
        name="a packet without frames", section="9000-12.4", codes=VIOLATION, content=b"",
        extra={"number_length": 4},
    ),
    Case(
        name="reserved bits of a Handshake packet", section="9000-17.2", codes=VIOLATION, content=b"\x01",
        level=HANDSHAKE, reserved=0x08,
    ),
    Case(
        name="reserved bits of a short header", section="9000-17.3.1", codes=VIOLATION, content=b"\x01",
        reserved=0x10,
    ),
    Case(
        name="PATH_CHALLENGE in a Handshake packet", section="9000-17.2.4", codes=VIOLATION,
        content=frames.encode_path(frames.FRAME_PATH_CHALLENGE, bytes(8)), level=HANDSHAKE,
    ),
    Case(
        name="STREAM_DATA_BLOCKED in a Handshake packet", section="9000-17.2.4", codes=VIOLATION,
        content=frames.encode_stream_credit(frames.FRAME_STREAM_DATA_BLOCKED, 0, 0), level=HANDSHAKE,
    ),
    Case(
        name="DATA_BLOCKED in a Handshake packet", section="9000-17.2.4", codes=VIOLATION,
        content=frames.encode_credit(frames.FRAME_DATA_BLOCKED, 0), level=HANDSHAKE,
    ),
    Case(
        name="an ACK of a packet never sent", section="9000-13.1", codes=VIOLATION,
        content=frames.encode_ack([1000, 1000], 0, None, 100),
    ),
    Case(
        name="an ACK range below zero", section="9000-19.3.1", codes=ENCODING, content=b"\x02\x00\x00\x00\x01",
    ),
    Case(
        name="RESET_STREAM for a send-only stream", section="9000-19.4", codes=STATE,
        content=frames.encode_reset_stream(3, 0, 0),
    ),
    Case(
        name="STOP_SENDING for a stream that is not there", section="9000-19.5", codes=STATE,
        content=frames.encode_stop_sending(101, 0),
    ),
    Case(
        name="NEW_TOKEN of a client", section="9000-19.7", codes=VIOLATION,
        content=frames.encode_new_token(b"dummy"),
    ),
    Case(
        name="STREAM for a stream of the server that is not there", section="9000-19.8", codes=STATE,
        content=encode_stream(1, 0, b""),
    ),
    Case(
        name="STREAM for a send-only stream", section="9000-19.8", codes=STATE, content=encode_stream(3, 0, b""),
    ),
    Case(
        name="MAX_STREAM_DATA for a stream that is not there", section="9000-19.10", codes=STATE,
        content=frames.encode_stream_credit(frames.FRAME_MAX_STREAM_DATA, 101, 1_000_000),
    ),
    Case(
        name="MAX_STREAM_DATA for a receive-only stream", section="9000-19.10", codes=STATE,
        content=frames.encode_stream_credit(frames.FRAME_MAX_STREAM_DATA, 2, 1_000_000),
    ),
    Case(name="MAX_STREAMS above 2^60", section="9000-19.11", codes=ENCODING, content=b"\x12" + TOO_MANY),
    Case(
        name="STREAMS_BLOCKED above 2^60", section="9000-19.14",
        codes=(quic.STREAM_LIMIT_ERROR, quic.FRAME_ENCODING_ERROR), content=b"\x16" + TOO_MANY,
    ),
    Case(
        name="NEW_CONNECTION_ID that retires what is above it", section="9000-19.15", codes=ENCODING,
        content=new_id(1, 2),
    ),
    Case(
        name="NEW_CONNECTION_ID without an ID", section="9000-19.15", codes=ENCODING,
        content=new_id(identifier=b""),
    ),
    Case(
        name="RETIRE_CONNECTION_ID never given out", section="9000-19.16", codes=VIOLATION,
        content=frames.encode_retire_connection_id(50),
    ),
    Case(
        name="HANDSHAKE_DONE of a client", section="9000-19.20", codes=VIOLATION,
        content=frames.HANDSHAKE_DONE_FRAME,
    ),
    Case(
        name="KeyUpdate in the handshake", section="9001-6", codes=(UNEXPECTED_MESSAGE,),
        tamper=in_front(KEY_UPDATE_MESSAGE),
    ),
    Case(
        name="KeyUpdate in a 1-RTT packet", section="9001-6", codes=(UNEXPECTED_MESSAGE,),
        content=encode_crypto(0, KEY_UPDATE_MESSAGE),
    ),
    Case(
        name="no protocol of ours", section="9001-8.1", codes=(NO_APPLICATION_PROTOCOL,),
        tamper=hello(other_protocol),
    ),
    Case(
        name="no quic_transport_parameters", section="9001-8.2", codes=(MISSING_EXTENSION,),
        tamper=hello(drop_parameters),
    ),
    Case(
        name="EndOfEarlyData", section="9001-8.3", codes=(UNEXPECTED_MESSAGE,),
        tamper=in_front(encode_message(END_OF_EARLY_DATA, b"")),
    ),
]  # fmt: skip

# --- HTTP/3 and QPACK

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/"))
CONTROL = b"\0" + encode_frame(SETTINGS, b"")
ENCODER, DECODER, PUSH = b"\x02", b"\x03", b"\x01"


def section(*pairs):
    names = [name for name, _ in pairs]
    return QpackEncoder().encode(0, names, [name + b": " + value for name, value in pairs])


def asking(*pairs):
    """A request, with nothing before it but the control stream."""
    return ((2, CONTROL, False), (0, encode_frame(HEADERS, section(*pairs)), True))


def controlling(octets):
    return ((2, CONTROL + octets, False),)


def settings(*numbers):
    return encode_frame(SETTINGS, b"".join(map(encode_varint, numbers)))


def http(name, where, code, streams, **more):
    return Case(name=name, section=where, codes=(code,), streams=streams, is_application=True, **more)


def malformed(name, where, *pairs):
    return http(name, where, h3.H3_MESSAGE_ERROR, asking(*pairs), of_stream=True)


HTTP3 = [
    http(
        "DATA before HEADERS", "9114-4.1", h3.H3_FRAME_UNEXPECTED,
        ((2, CONTROL, False), (0, encode_frame(DATA, b""), False)),
    ),
    malformed("a pseudo-header twice", "9114-4.3", *GET, GET[0]),
    malformed("mandatory pseudo-headers are absent", "9114-4.3.1", *GET[:2]),
    malformed("a prohibited pseudo-header", "9114-4.3", *GET, (b":foo", b"bar")),
    malformed("a pseudo-header behind fields", "9114-4.3", *GET[:3], (b"foo", b"bar"), GET[3]),
    *[
        malformed(f"the field {name.decode()}", "9114-4.2", *GET, (name, value))
        for name, value in (
            (b"connection", b"close"), (b"keep-alive", b"timeout=5"), (b"proxy-connection", b"close"),
            (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"te", b"gzip"),
        )
    ],
    Case(
        name="the field te: trailers is served", section="9114-4.2", codes=(), is_application=True,
        streams=asking(*GET, (b"te", b"trailers")),
    ),
    http(
        "a HEADERS frame longer than a field section may be", "9114-4.2.2", h3.H3_EXCESSIVE_LOAD,
        ((2, CONTROL, False), (0, encode_varint(HEADERS) + encode_varint(1 << 30) + b"xx", False)), of_stream=True,
    ),
    http(
        "the control stream begins with another frame", "9114-6.2.1", h3.H3_MISSING_SETTINGS,
        ((2, b"\0" + encode_frame(FRAME_MAX_PUSH_ID, b"\x01"), False),),
    ),
    http("a second control stream", "9114-6.2.1", h3.H3_STREAM_CREATION_ERROR,
         ((2, CONTROL, False), (6, b"\0", False))),
    http("a push stream of a client", "9114-6.2.2", h3.H3_STREAM_CREATION_ERROR,
         ((2, CONTROL, False), (6, PUSH, False))),
    http("DATA on the control stream", "9114-7.2.1", h3.H3_FRAME_UNEXPECTED, controlling(encode_frame(DATA, b""))),
    http("HEADERS on the control stream", "9114-7.2.2", h3.H3_FRAME_UNEXPECTED,
         controlling(encode_frame(HEADERS, b""))),
    http(
        "CANCEL_PUSH on a request stream", "9114-7.2.3", h3.H3_FRAME_UNEXPECTED,
        ((2, CONTROL, False), (0, encode_frame(CANCEL_PUSH, b"\0"), False)),
    ),
    http("SETTINGS twice", "9114-7.2.4", h3.H3_FRAME_UNEXPECTED, controlling(encode_frame(SETTINGS, b""))),
    http("SETTINGS that end inside one", "9114-7.1", h3.H3_FRAME_ERROR,
         ((2, b"\0" + encode_frame(SETTINGS, b"\x06\x80"), False),)),
    http("a setting twice", "9114-7.2.4", h3.H3_SETTINGS_ERROR, ((2, b"\0" + settings(6, 9000, 6, 9000), False),)),
    http("a setting of HTTP/2", "9114-7.2.4.1", h3.H3_SETTINGS_ERROR, ((2, b"\0" + settings(2, 200), False),)),
    http("a setting of HTTP/2 behind a reserved one", "9114-7.2.4.1", h3.H3_SETTINGS_ERROR,
         ((2, b"\0" + settings(0x21, 1, 2, 200), False),)),
    http("the control stream is closed", "9114-6.2.1", h3.H3_CLOSED_CRITICAL_STREAM, ((2, CONTROL, True),)),
    http("the encoder stream is closed", "9204-4.2", h3.H3_CLOSED_CRITICAL_STREAM,
         ((2, CONTROL, False), (6, ENCODER, True))),
    http("the decoder stream is closed", "9204-4.2", h3.H3_CLOSED_CRITICAL_STREAM,
         ((2, CONTROL, False), (6, DECODER, True))),
    http("the encoder stream ends inside an instruction", "9204-4.2", h3.H3_CLOSED_CRITICAL_STREAM,
         ((2, CONTROL, False), (6, ENCODER + b"\x3f", True))),
    http("a second encoder stream", "9204-4.2", h3.H3_STREAM_CREATION_ERROR,
         ((2, CONTROL, False), (6, ENCODER, False), (10, ENCODER, False))),
    http("a second decoder stream", "9204-4.2", h3.H3_STREAM_CREATION_ERROR,
         ((2, CONTROL, False), (6, DECODER, False), (10, DECODER, False))),
    http("an invalid index of the static table", "9204-3.1", h3.QPACK_DECOMPRESSION_FAILED,
         ((2, CONTROL, False), (0, encode_frame(HEADERS, section(*GET) + b"\xff\x24"), True))),
    http("an entry of the dynamic table that is not there", "9204-2.2.3", h3.QPACK_DECOMPRESSION_FAILED,
         ((2, CONTROL, False), (0, encode_frame(HEADERS, b"\x02\0\x80"), True))),
    http("a capacity above the limit", "9204-4.3.1", h3.QPACK_ENCODER_STREAM_ERROR,
         ((2, CONTROL, False), (6, ENCODER + b"\x3f\xe1\xc7\xaf\xa0\x25", False))),
    http("an Insert Count Increment of 0", "9204-4.4.3", h3.QPACK_DECODER_STREAM_ERROR,
         ((2, CONTROL, False), (6, DECODER + b"\0", False))),
]  # fmt: skip


def wants_handshake(case):
    """Whether the case needs a confirmed handshake first."""
    return case.parameters is None and case.tamper is None and case.level == APPLICATION


def packets(case, raw):
    """The packets that break the rule, once the client is where the case wants it."""
    if case.content is not None:
        return [raw.packet(case.level, case.content, reserved=case.reserved, **case.extra)]
    return [
        raw.packet(APPLICATION, encode_stream(stream, 0, data, fin=fin)) for stream, data, fin in case.streams
    ]


def verdict(case, raw):
    """Say what is wrong with how the server took it; nothing where it is right."""
    close = raw.close
    if not case.codes:
        return "" if close is None and not raw.resets else f"closed: {close!r} {raw.resets}"
    if close is None:
        code = raw.resets.get(0)
        return "" if case.of_stream and code in case.codes else f"not closed, resets {raw.resets}"
    if close.is_application != case.is_application or close.code not in case.codes:
        return f"closed by {close!r}, {[hex(code) for code in case.codes]} would be right"
    return ""
