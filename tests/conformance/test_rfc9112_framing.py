"""RFC 9112 sections 6 and 7: where content ends, Transfer-Encoding, the chunked coding. Smuggling is tried here.

What these sections ask of somebody else than the engine, and where it is tested:

| section | who | rule | tested in |
|---|---|---|---|
| 6 | proxy | a message is sent on with framing of our own making | |
| | | | integration/proxy/test_messages.py: `test_chunked_content_and_trailers_both_ways` |
| | | | integration/proxy/test_messages.py: `test_an_origin_that_ends_its_content_by_closing` |
| 6.1 | sender | Transfer-Encoding of the peer is not copied | |
| | | | unit/http/test_hop_by_hop.py: `test_rfc9110_7_6_1_removes_what_is_for_one_connection` |
| 6.3 | sender | content matches its Content-Length | here: `test_rfc9112_6_3_a_sender_keeps_its_promise` |
| 6.3 | server | an answer to HEAD has no content, of an origin or of our own | |
| | | | integration/proxy/test_messages.py: `test_responses_without_content` |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_6_3_an_answer_of_our_own_to_head_has_no_content` |
| | | | integration/limits/test_bad_input.py: `test_a_refused_head_request_has_no_content` |
| 7.1.2 | recipient | trailers are not merged into the head | here: `test_rfc9112_7_1_chunks_are_read` |
| 7.4 | client | TE is nominated by Connection; "chunked" is never in it | |
| | | | unit/http/test_hop_by_hop.py: `test_rfc9110_10_1_4_te_trailers_is_kept_and_nominated` |
| 8 | proxy | an incomplete response does not end like a whole one | |
| | | | unit/connection/test_downstream.py: `test_an_answer_cut_short_never_ends_like_a_whole_one` |
| | | | integration/proxy/test_origin_faults.py: `test_an_origin_that_dies_in_content_shows_as_truncation` |
| | | | integration/proxy/test_origin_faults.py: `test_an_http10_client_sees_truncation_as_a_reset` |

That a server speaks HTTP/1.1, which a client has to know before it sends chunks (6.1), is what configuring it as an
endpoint says. A cache that would record an incomplete response as such (8) is not there yet.

Where we are stricter: lists in Content-Length ("5, 5") are refused (6.3 allows to replace them), Transfer-Encoding
beside Content-Length is refused in responses too (6.3 MAY), and so is every coding but chunked, also where a
response could be read until the connection ends (6.3 rule 4).
"""

import pytest

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h1.machine import CHUNKED, DONE, IDLE, SWITCHED
from headgate.errors import LocalProtocolError

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def content(events):
    return b"".join(event.data for event in events if isinstance(event, Data))


# -- 6.1 Transfer-Encoding


@pytest.mark.parametrize(
    "first",
    [TE + b"Content-Length: 5\r\n", b"Content-Length: 5\r\n" + TE, b"Content-Length: 0\r\nX: y\r\n" + TE],
)
def test_rfc9112_6_3_te_and_cl_is_refused(refused, first):
    assert refused("server", POST + first + b"\r\n0\r\n\r\n") == (400, "te-and-cl")
    assert refused("client", OK + first + b"\r\n0\r\n\r\n") == (502, "te-and-cl")


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [
        (b"chunked, chunked", 400, "bad-transfer-encoding"),
        (b"identity", 400, "bad-transfer-encoding"),
        (b"chunked, identity", 400, "bad-transfer-encoding"),
        (b"identity, chunked", 501, "unknown-coding"),
        (b"xchunked", 400, "bad-transfer-encoding"),
        (b"chunkedx", 400, "bad-transfer-encoding"),
        (b"chunked, gzip", 400, "bad-transfer-encoding"),
        (b"gzip", 400, "bad-transfer-encoding"),
        (b"gzip, chunked", 501, "unknown-coding"),
        (b"chunked, gzip, chunked", 400, "bad-transfer-encoding"),
        (b"gzip;q=1, chunked", 501, "unknown-coding"),
        (b"chunked;q=1", 400, "bad-transfer-encoding"),
        (b'"chunked"', 400, "bad-transfer-encoding"),
        (b"chunked chunked", 400, "bad-transfer-encoding"),
        (b"chunk\ted", 400, "bad-transfer-encoding"),
        (b"\x0bchunked", 400, "bad-octet"),
        (b"chunked\x0b", 400, "bad-octet"),
        (b"chunked\x0c", 400, "bad-octet"),
        (b"\0chunked", 400, "bad-octet"),
        (b"chunked\r", 400, "bad-octet"),
        (b"\nchunked", 400, "bad-octet"),
        (b"\xa0chunked", 400, "bad-transfer-encoding"),
        (b"", 400, "bad-transfer-encoding"),
        (b",", 400, "bad-transfer-encoding"),
    ],
)
def test_rfc9112_6_1_only_chunked_alone_is_read(refused, value, code, reason):
    data = b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n"
    assert refused("server", POST + data) == (code, reason)
    assert refused("client", OK + data) == (502, reason if reason == "bad-octet" else "unknown-coding")


@pytest.mark.parametrize(
    "value", [b"chunked", b"Chunked", b"CHUNKED", b"\tchunked \t", b"chunked,", b", chunked"]
)
@pytest.mark.parametrize("role", ["server", "client"])
def test_rfc9112_7_coding_names_are_case_insensitive(read, role, value):
    head = POST if role == "server" else OK
    engine, events = read(role, head + b"Transfer-Encoding:" + value + b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")
    assert engine.receiving == DONE
    assert content(events) == b"x"


@pytest.mark.parametrize("role", ["server", "client"])
def test_rfc9112_6_1_chunked_twice_on_two_lines_is_refused(refused, role):
    assert refused(role, (POST if role == "server" else OK) + TE + TE + b"\r\n0\r\n\r\n")[0] in (400, 502)


def test_rfc9112_6_1_te_in_http10_is_faulty_framing(refused):
    assert refused("server", b"POST / HTTP/1.0\r\nHost: a\r\n" + TE + b"\r\n0\r\n\r\n") == (
        400,
        "te-in-http10",
    )
    assert refused("client", b"HTTP/1.0 200 OK\r\n" + TE + b"\r\n0\r\n\r\n") == (502, "te-in-http10")


def test_rfc9112_6_1_a_server_sends_no_te_to_http10(read, fields):
    engine, _ = read("server", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    engine.send(Response(200, b"OK", 11, fields(), UNKNOWN_LENGTH))
    engine.send(Data(b"x"))
    engine.send(EndOfMessage())
    assert engine.take_output() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx"
    assert engine.must_close


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [UNKNOWN_LENGTH, 5])
def test_rfc9112_6_1_a_sender_frames_no_content_in_204_and_304(read, fields, status, body):
    engine, _ = read("server", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        engine.send(Response(status, b"", 11, fields(), body))
    assert engine.take_output() == b""
    assert engine.sending == IDLE


def test_rfc9112_6_1_a_sender_puts_no_te_in_interim_responses(read, fields):
    engine, _ = read("server", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send(Response(103, b"Early Hints", 11, fields((b"Link", b"</a>")), UNKNOWN_LENGTH))
    assert engine.take_output() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize("status", [200, 204, 299])
def test_rfc9112_6_1_a_2xx_to_connect_has_no_framing(read, fields, status):
    engine, _ = read("server", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nrest")
    engine.send(Response(status, b"Fine", 11, fields()))
    head = engine.take_output()
    assert b"Content-Length" not in head
    assert b"Transfer-Encoding" not in head
    engine.switch()
    assert engine.take_rest() == b"rest"


def test_rfc9110_8_6_a_refused_connect_has_a_length(read, fields):
    engine, _ = read("server", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    engine.send(Response(403, b"Forbidden", 11, fields()))
    assert b"Content-Length: 0\r\n" in engine.take_output()


# -- 6.2 Content-Length


def test_rfc9112_6_2_a_sender_puts_no_length_beside_chunked(read, fields):
    engine, _ = read("server", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send(Response(200, b"OK", 11, fields((b"Content-Length", b"5")), UNKNOWN_LENGTH))
    assert engine.take_output() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_rfc9112_6_2_a_client_puts_no_length_beside_chunked(engine_of, fields):
    engine = engine_of("client")
    engine.receive(OK + b"Content-Length: 0\r\n\r\n")
    engine.next_event()
    engine.reuse()
    engine.send(Request(b"POST", b"/", 11, fields((b"Content-Length", b"5")), UNKNOWN_LENGTH))
    assert engine.take_output() == b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_rfc9110_8_6_a_204_has_no_length(read, fields):
    engine, _ = read("server", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send(Response(204, b"No Content", 11, fields((b"Content-Length", b"0"))))
    assert engine.take_output() == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("status", [b"204 No Content", b"103 Early Hints"])
def test_rfc9110_8_6_a_length_in_1xx_or_204_is_not_passed_on(read, status):
    _, events = read("client", b"HTTP/1.1 " + status + b"\r\nContent-Length: 7\r\nX: y\r\n\r\n")
    assert events[0].fields.items() == [(b"x", b"y")]
    assert events[0].body == 0


# -- 6.3 message body length


@pytest.mark.parametrize("status", [b"100", b"103", b"204", b"304"])
def test_rfc9112_6_3_rule_1_1xx_204_304_have_no_content(read, status):
    data = b"HTTP/1.1 " + status + b" X\r\nContent-Length: 5\r\n\r\n"
    engine, events = read("client", data + (OK + b"Content-Length: 0\r\n\r\n" if status < b"200" else b""))
    assert [event.body for event in events] == [0] * len(events)
    assert engine.receiving == DONE
    assert engine.buffered == 0


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", TE, b""])
def test_rfc9112_6_3_rule_1_an_answer_to_head_has_no_content(read, framing):
    engine, events = read("client", OK + framing + b"\r\n", method=b"HEAD")
    assert [event.body for event in events] == [0]
    assert engine.reusable


@pytest.mark.parametrize(
    "framing",
    [
        b"",
        b"Content-Length: 5\r\n",
        TE,
        TE + b"Content-Length: 5\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
    ],
)
def test_rfc9112_6_3_rule_2_a_client_ignores_framing_in_2xx_to_connect(read, framing):
    engine, events = read("client", OK + framing + b"\r\ntunnel", method=b"CONNECT")
    assert [event.body for event in events] == [0]
    assert engine.receiving == SWITCHED
    assert engine.take_rest() == b"tunnel"


def test_rfc9112_6_3_rule_2_another_answer_to_connect_is_framed_as_any(read):
    engine, events = read("client", b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", method=b"CONNECT")
    assert content(events) == b"no"
    assert engine.reusable


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"+5",
        b"-5",
        b"5 5",
        b"5,5",
        b"5, 5",
        b"5,",
        b"0x5",
        b"5;",
        b"5.0",
        b"1e1",
        b"\xb2",
        b"\xd9\xa5",
        b'"5"',
        b"five",
        b"5 a",
        b"9" * 19,
        b"1" + b"0" * 18,
        b"5\x0b",
        b"5_0",
    ],
)
def test_rfc9112_6_3_rule_5_an_invalid_length_is_refused(refused, value):
    data = b"Content-Length: " + value + b"\r\n\r\nhello"
    assert refused("server", POST + data)[0] == 400
    assert refused("client", OK + data)[0] == 502


@pytest.mark.parametrize("second", [b"5", b"6", b"0", b"05"])
def test_rfc9112_6_3_rule_5_two_lengths_are_refused(refused, second):
    data = b"Content-Length: 5\r\ncontent-length: " + second + b"\r\n\r\nhello"
    assert refused("server", POST + data) == (400, "duplicate-field")
    assert refused("client", OK + data) == (502, "duplicate-field")


@pytest.mark.parametrize(("value", "length"), [(b"5", 5), (b"005", 5), (b" 5\t", 5), (b"9" * 18, 10**18 - 1)])
def test_rfc9112_6_3_rule_6_a_valid_length(read, value, length):
    for role, head in (("server", POST), ("client", OK)):
        _, events = read(role, head + b"Content-Length:" + value + b"\r\n\r\nhello")
        assert events[0].body == length
        assert content(events) == b"hello"


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\n\r\nhell",
        TE + b"\r\n5\r\nhell",
        TE + b"\r\n5\r\nhello\r\n",
        TE + b"\r\n0\r\n",
        TE + b"\r\n0\r\nX: y\r\n",
    ],
)
def test_rfc9112_8_content_that_ends_early_is_incomplete(refused, role, framing):
    code = 400 if role == "server" else 502
    assert refused(role, (POST if role == "server" else OK) + framing, eof=True) == (code, "truncated")


@pytest.mark.parametrize("head", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r"])
def test_rfc9112_8_a_request_head_that_ends_early_is_incomplete(refused, head):
    assert refused("server", head, eof=True) == (400, "truncated")


def test_rfc9112_8_a_response_head_that_ends_early_is_incomplete(refused):
    assert refused("client", OK + b"Content-Length: 0\r\n", eof=True) == (502, "truncated")
    assert refused("client", b"", eof=True) == (502, "closed")
    assert refused("client", b"HTTP/1.1 100 Continue\r\n\r\n", eof=True) == (502, "closed")


def test_rfc9112_6_3_rule_7_a_request_without_framing_has_no_content(read):
    engine, events = read("server", POST + b"\r\n")
    assert [event.body for event in events] == [0]
    assert engine.receiving == DONE


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_rfc9112_6_3_rule_8_a_response_without_framing_lasts_until_the_end(read, version):
    engine, events = read("client", version + b" 200 OK\r\nConnection: keep-alive\r\n\r\nabc", eof=True)
    assert events[0].body == UNKNOWN_LENGTH
    assert content(events) == b"abc"
    assert isinstance(events[-1], EndOfMessage)
    assert engine.must_close


# -- 7.1 the chunked coding


@pytest.mark.parametrize("role", ["server", "client"])
def test_rfc9112_7_1_chunks_are_read(read, role):
    body = b"5\r\nhello\r\n00000A\r\n 123456789\r\n1;ext\r\n!\r\n000\r\nX: y\r\nZ:\r\n\r\nnext"
    engine, events = read(role, (POST if role == "server" else OK) + TE + b"\r\n" + body)
    assert content(events) == b"hello 123456789!"
    assert events[-1].trailers.items() == [(b"x", b"y"), (b"z", b"")]
    assert "x" not in events[0].fields.names
    assert engine.take_rest() == b"next"


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b" 1\r\nx\r\n",
        b"\t1\r\nx\r\n",
        b"1 \r\nx\r\n",
        b"1 1\r\nx\r\n",
        b"1_0\r\n",
        b"1.\r\n",
        b"1,1\r\n",
        b"\xb2\r\n",
        b"1\nx\n0\n\n",
        b"1\rx\r\n",
        b"1\r\r\nx\r\n",
        b"1\n\r\nx\r\n",
        b"1;a\nb\r\nx\r\n",
        b"1;a\rb\r\nx\r\n",
        b"1;\0\r\nx\r\n",
        b"1;\x0b\r\nx\r\n",
        b"1=a\r\nx\r\n",
        b"1\x0b;a\r\nx\r\n",
        b";a\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\n",
        b"1\r\nx\r0\r\n",
        b"1\r\nx0\r\n\r\n",
        b"2\r\nx\r\n0\r\n\r\n",
        b"f" * 16 + b"\r\n",
        b"0" * 15 + b"1\r\nx\r\n",
        b"1\r\nx\r\n0\r\nX : y\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX: a\r\n b\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("role", ["server", "client"])
def test_rfc9112_7_1_malformed_chunks_are_refused(refused, role, body):
    head = (POST if role == "server" else OK) + TE + b"\r\n"
    assert refused(role, head + body)[0] == (400 if role == "server" else 502)


def test_rfc9112_7_1_a_size_that_overflows_is_refused(refused):
    head = POST + TE + b"\r\n"
    for digits in (b"8" + b"0" * 15, b"1" + b"0" * 16, b"f" * 17, b"f" * 400):
        assert refused("server", head + digits + b"\r\n") == (400, "bad-chunk")


def test_rfc9112_7_1_the_largest_size_is_read(read):
    engine, events = read("server", POST + TE + b"\r\n" + b"f" * 15 + b"\r\nabc")
    assert content(events) == b"abc"
    assert engine.receiving == CHUNKED


@pytest.mark.parametrize(
    "extension", [b";a", b";a=b", b' ; a = "b;c" ', b"\t;", b";;;", b";\xe4", b";a=b;c=d"]
)
def test_rfc9112_7_1_1_unknown_extensions_are_ignored(read, extension):
    engine, events = read(
        "server", POST + TE + b"\r\n1" + extension + b"\r\nx\r\n0" + extension + b"\r\n\r\n"
    )
    assert content(events) == b"x"
    assert engine.receiving == DONE


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding", b"Host"])
@pytest.mark.parametrize("role", ["server", "client"])
def test_rfc9110_6_5_1_trailers_frame_and_route_nothing(refused, role, name):
    data = (POST if role == "server" else OK) + TE + b"\r\n0\r\n" + name + b": 1\r\n\r\n"
    assert refused(role, data) == (400 if role == "server" else 502, "bad-trailer")


def test_rfc9112_7_1_a_sender_writes_chunks(read, fields):
    engine, _ = read("server", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send(Response(200, b"OK", 11, fields(), UNKNOWN_LENGTH))
    engine.send(Data(b"hello"))
    engine.send(Data(b""))  # would be the last chunk
    engine.send(Data(b"x" * 26))
    engine.send(EndOfMessage(fields((b"X", b"y"))))
    assert (
        engine.take_output().split(b"\r\n\r\n", 1)[1]
        == b"5\r\nhello\r\n1a\r\n" + b"x" * 26 + b"\r\n0\r\nX: y\r\n\r\n"
    )


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"1\r\nx\r\n0\r\nX: y\r\n\r\n"])
def test_rfc9112_7_1_what_follows_the_last_chunk_is_the_next_message(read, body):
    engine, _ = read("server", POST + TE + b"\r\n" + body + b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n")
    assert engine.receiving == DONE
    assert engine.take_rest() == b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n"


def test_rfc9112_6_3_a_sender_keeps_its_promise(read, fields):
    engine, _ = read("server", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send(Response(200, b"OK", 11, fields(), 3))
    with pytest.raises(LocalProtocolError):
        engine.send(Data(b"four"))
    engine.send(Data(b"tw"))
    with pytest.raises(LocalProtocolError):
        engine.send(EndOfMessage())
    engine.send(Data(b"o"))
    engine.send(EndOfMessage())
    assert engine.exchange_over
    assert engine.take_output() == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
