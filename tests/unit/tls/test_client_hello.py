"""The look at a ClientHello: real ones from OpenSSL, and everything that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from headgate.errors import RemoteProtocolError
from headgate.tls.client_hello import (
    MAX_HELLO,
    MAX_HELLO_OCTETS,
    MAX_HELLO_RECORDS,
    RECORD_MAX,
    decode_client_hello,
    is_plain_http,
    missing,
    read_hello,
)


def hello_of(
    name: bytes = b"", version: int = SSL.TLS1_3_VERSION, session: SSL.Session | None = None
) -> bytes:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    conn = SSL.Connection(context, None)
    conn.set_connect_state()
    if name:
        conn.set_tlsext_host_name(name)
    with pytest.raises(SSL.WantReadError):
        conn.do_handshake()
    return conn.bio_read(65536)


HELLO = hello_of(b"www.example.test")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_server_name_is_found_in_a_real_hello(version):
    hello = decode_client_hello(hello_of(b"a.b.example.test", version))
    assert hello is not None
    assert hello.server_name == b"a.b.example.test"
    assert hello.ticket_key == b""


def test_hello_without_a_name():
    hello = decode_client_hello(hello_of())
    assert hello is not None
    assert hello.server_name == b""


def record(extensions: bytes, tail: bytes = b"") -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions + tail
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


NAME = bytes(range(16))


def test_rfc5077_3_2_session_ticket_begins_with_its_key_name():
    hello = decode_client_hello(record(extension(35, NAME + b"x" * 100)))
    assert hello is not None
    assert hello.ticket_key == NAME


def test_rfc8446_4_2_11_first_identity_of_pre_shared_key_decides():
    ticket = NAME + b"x" * 100
    identities = len(ticket).to_bytes(2, "big") + ticket + bytes(4)
    psk = len(identities).to_bytes(2, "big") + identities + b"\x00\x21\x20" + bytes(32)
    hello = decode_client_hello(record(extension(35, b"y" * 50) + extension(41, psk)))
    assert hello is not None
    assert hello.ticket_key == NAME


@pytest.mark.parametrize("content", [b"", NAME, b"short"])
def test_tickets_too_short_for_a_key_name_have_none(content):
    hello = decode_client_hello(record(extension(35, content)))
    assert hello is not None
    assert hello.ticket_key == b""


def test_hello_without_extensions():
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    assert decode_client_hello(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message) is not None


@pytest.mark.parametrize(
    "data",
    [
        record(extension(0, b"\x00\x10\x00\x00\x20short"), b""),  # the name is longer than its extension
        record(extension(0, b"\x00\x03\x01\x00\x00")),  # a name of another type
    ],
)
def test_malformed_server_name_is_no_name(data):
    hello = decode_client_hello(data)
    assert hello is not None
    assert hello.server_name == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        HELLO[:-1],
        HELLO[:5] + b"\x02" + HELLO[6:],  # another handshake message
        record(b"\x00\x23\x00\xff"),  # an extension that is longer than the message
        record(b"", tail=b"x"),  # bytes behind the extensions
    ],
)
def test_what_is_no_whole_hello_is_none(data):
    assert decode_client_hello(data) is None


@given(st.integers(0, len(HELLO)))
def test_missing_says_how_much_of_the_record_lacks(size):
    lacking = missing(HELLO[:size])
    assert lacking == (5 - size if size < 5 else len(HELLO) - size)


def test_missing_gives_up_on_records_that_cannot_be():
    assert missing(b"\x16\x03\x01" + (RECORD_MAX + 1).to_bytes(2, "big")) == 0
    assert missing(b"\x17\x03\x01\xff\xff") == 0


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_make_it_raise(noise, at, value):
    decode_client_hello(noise)
    damaged = bytearray(HELLO)
    damaged[at] = value
    decode_client_hello(bytes(damaged))
    decode_client_hello(HELLO[:6] + noise + HELLO[6:])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.1", True),
        (b"POST /", True),
        (b"PRI * HTTP/2.0", True),
        (b"GETX", False),
        (HELLO[:8], False),
    ],
)
def test_plain_http_is_told_from_the_rest(data, expected):
    assert is_plain_http(data) is expected


# -- hellos that are passed on


def cut(hello, size):
    """Spread a hello's message over records of `size` octets."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("size", [100, 1000, 10_000])
def test_rfc8446_5_1_a_hello_may_be_spread_over_records(size):
    data = cut(HELLO, size)
    for end in range(len(data)):
        assert read_hello(data[:end]) is None
    assert read_hello(data + b"\x17\x03\x03").server_name == b"www.example.test"


def test_the_records_of_a_hello_are_bounded():
    message = HELLO[5:]
    size = -(-len(message) // MAX_HELLO_RECORDS)
    assert read_hello(cut(HELLO, size)) is not None
    with pytest.raises(RemoteProtocolError, match="32 records"):
        read_hello(cut(HELLO, len(message) // (MAX_HELLO_RECORDS + 1)))


def test_the_octets_of_a_hello_are_bounded_before_they_are_waited_for():
    largest = b"\x16\x03\x01\x40\x00\x01" + (MAX_HELLO - 4).to_bytes(3, "big")
    assert read_hello(largest) is None
    with pytest.raises(RemoteProtocolError, match="more than 16384"):
        read_hello(b"\x16\x03\x01\x40\x00\x01" + (MAX_HELLO - 3).to_bytes(3, "big"))
    padded = record(extension(21, bytes(MAX_HELLO - 47 - 4)))
    assert len(padded) - 5 == MAX_HELLO
    assert read_hello(padded).server_name == b""
    assert len(cut(padded, MAX_HELLO // MAX_HELLO_RECORDS)) == MAX_HELLO_OCTETS
    assert read_hello(cut(padded, MAX_HELLO // MAX_HELLO_RECORDS)) is not None


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_refused_or_waited_for(data):
    for octets in (data, HELLO[:9] + data):
        try:
            read_hello(octets)
        except RemoteProtocolError as error:
            refused = error.reason
        else:
            refused = "client-hello"
        assert refused in ("not-tls", "client-hello")
