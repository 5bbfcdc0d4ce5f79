"""The engine against h11 and llhttp (httptools): the same octets give the same messages, or both refuse.

What is compared: every complete message (start line, fields, content, trailers), in order, and whether the input then
ended cleanly. A disagreement must be explained by a row of `EXPLAINED`; one that is not fails.
A row names the peer, who is the stricter one, the reason, and a test of the octets or of our refusal that is as
narrow as the reason. Messages behind a disagreement are not compared: the stricter parser has stopped there.
"""

import os
import re
from typing import NamedTuple

import h11
import httptools
import pytest
from fuzz.h1 import PIECES, REQUESTS, RESPONSES
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.events import Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.machine import DONE, SWITCHED
from headgate.engine.h1.server import ServerEngine
from headgate.errors import RemoteProtocolError
from headgate.http.fields import Fields

# The same examples in every run: an unexplained disagreement is a finding, not a flake. `make soak` draws many more.
MANY = settings(
    max_examples=max(400, 2 * settings.default.max_examples),
    derandomize=os.environ.get("HEADGATE_SOAK") != "1",
)


class Message(NamedTuple):
    """One message: `start` is (method, target, version) or (status, version)."""

    start: tuple
    fields: tuple
    content: bytes
    trailers: tuple


class Outcome(NamedTuple):
    """What a parser made of the octets; `refusal` is "" when they ended between two messages."""

    messages: tuple
    refusal: str
    over: bool = False  # it reads no further by its own will: the connection closes, or is no longer HTTP


class _Gather:
    """Puts messages together from events."""

    def __init__(self):
        self.messages = []
        self.open = None

    def head(self, start, fields):
        # h11 gives codings in lower case.
        fields = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]
        if len(start) == 2 and (start[0] < 200 or start[0] == 204):
            # Not read by anybody, and taken out by us (RFC 9110 section 8.6).
            fields = [(name, value) for name, value in fields if name != b"content-length"]
        self.open = [start, tuple(fields), b""]

    def data(self, data):
        self.open[2] += data

    def end(self, trailers=()):
        self.messages.append(Message(*self.open, tuple(trailers)))
        self.open = None

    def outcome(self, refusal, over=False):
        if self.open is not None and not refusal:
            refusal = "incomplete"
        return Outcome(tuple(self.messages), refusal, over)


def _version(digits):
    return 10 if digits == b"1.0" else 11


# -- ours


def ours(role, pieces):
    engine = ServerEngine() if role == "server" else ClientEngine()
    gather = _Gather()
    try:
        if role == "client":
            engine.send(_asking())
        for piece in [*pieces, None]:
            if piece is None:
                engine.receive_eof()
            else:
                engine.receive(piece)
            if _ours_pull(role, engine, gather):
                return gather.outcome("", over=True)
    except RemoteProtocolError as error:
        if error.reason == "closed":
            return gather.outcome("")  # a client that waits for the next answer: a clean end, here
        return gather.outcome(error.reason)
    return gather.outcome("")


def _asking():
    request = Request(b"GET", b"/", 11, Fields([], []))
    request.upgrade = b"x"
    return request


def _ours_pull(role, engine, gather):
    while True:
        event = engine.next_event()
        if isinstance(event, Request):
            gather.head((event.method, event.target, event.version), event.fields.items())
        elif isinstance(event, Response):
            gather.head((event.status, event.version), event.fields.items())
            if event.status < 200:
                gather.end()
                if engine.receiving == SWITCHED:
                    return True
                continue
        elif isinstance(event, Data):
            gather.data(event.data)
            continue
        elif isinstance(event, Closed):
            return False
        if isinstance(event, EndOfMessage):
            gather.end(event.trailers.items() if event.trailers is not None else ())
        elif event is not None and event.body == 0:
            gather.end()
        if event is None:
            if engine.receiving != DONE:
                return False
            if _next(role, engine):
                return True


def _next(role, engine):
    """Go on to the next exchange; tell whether there is none."""
    if role == "server":
        status = 405 if engine.request.method == b"CONNECT" else 200  # a tunnel would have no next exchange
        engine.send(Response(status, b"OK", 11, Fields([], [])))
        engine.take_output()
    if engine.must_close:
        return True
    engine.reuse()
    if role == "client":
        engine.send(_asking())
    return False


# -- h11


UPGRADING = [(b"host", b"a"), (b"upgrade", b"x"), (b"connection", b"upgrade")]


def of_h11(role, data):
    connection = h11.Connection(
        h11.SERVER if role == "server" else h11.CLIENT, max_incomplete_event_size=1 << 17
    )
    gather = _Gather()
    try:
        _ask_h11(role, connection)
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                start = (event.method, event.target, _version(event.http_version))
                gather.head(start, event.headers)
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                gather.head((event.status_code, _version(event.http_version)), event.headers)
                if isinstance(event, h11.InformationalResponse):
                    gather.end()
            elif isinstance(event, h11.Data):
                gather.data(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                gather.end(event.headers)
                if role == "server":
                    connection.send(h11.Response(status_code=404, headers=[(b"content-length", b"0")]))
                    connection.send(h11.EndOfMessage())
                if connection.their_state is not h11.DONE or connection.our_state is not h11.DONE:
                    return gather.outcome("", over=True)
                connection.start_next_cycle()
                _ask_h11(role, connection)
            elif isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA:
                return gather.outcome("")
            else:
                return gather.outcome("", over=True)  # PAUSED: an upgrade or CONNECT
    except h11.RemoteProtocolError as error:
        if "can't handle event type ConnectionClosed" in str(error) and gather.open is None:
            return gather.outcome("incomplete" if connection.trailing_data[0] else "")
        return gather.outcome(str(error) or "refused")


def _ask_h11(role, connection):
    if role == "client":
        connection.send(h11.Request(method=b"GET", target=b"/", headers=UPGRADING))
        connection.send(h11.EndOfMessage())


# -- llhttp


class _Calls:
    """The callbacks of httptools."""

    def __init__(self, role):
        self.role = role
        self.gather = _Gather()
        self.parser = None
        self.target = b""
        self.fields = []
        self.trailers = []
        self.heads = self.begun = 0

    def on_message_begin(self):
        self.begun += 1
        self.target, self.fields, self.trailers = b"", [], []

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        (self.trailers if self.heads == self.begun else self.fields).append(
            (name.lower(), (value or b"").strip(b" \t"))
        )

    def on_headers_complete(self):
        self.heads = self.begun
        version = _version(self.parser.get_http_version().encode())
        if self.role == "server":
            start = (self.parser.get_method(), self.target, version)
        else:
            start = (self.parser.get_status_code(), version)
        self.gather.head(start, self.fields)

    def on_body(self, data):
        self.gather.data(data)

    def on_message_complete(self):
        self.gather.end(self.trailers)


def of_llhttp(role, data):
    calls = _Calls(role)
    calls.parser = parser = (
        httptools.HttpRequestParser if role == "server" else httptools.HttpResponseParser
    )(calls)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return calls.gather.outcome("", over=True)
    except httptools.HttpParserError as error:
        over = "Pause on CONNECT/Upgrade" in str(error) or "Data after `Connection: close`" in str(error)
        return calls.gather.outcome("" if over else f"{type(error).__name__} {error}", over)
    if calls.gather.open is not None and role == "client":
        names = [name for name, _ in calls.gather.open[1]]
        if b"content-length" not in names and b"transfer-encoding" not in names:
            calls.gather.end()  # there is no way to tell it that the connection ended
    if calls.begun > len(calls.gather.messages):
        return calls.gather.outcome("incomplete")
    return calls.gather.outcome("")


# -- where they disagree, and why


class Row(NamedTuple):
    """One explained disagreement; `holds(case)` tells whether it is this one."""

    peer: str  # "h11", "llhttp" or "both"
    stricter: str  # "ours", "theirs", or "other" for the same octets read in two ways
    why: str
    holds: object


class Case(NamedTuple):
    """A disagreement: all octets, both outcomes, the number of messages that are the same."""

    role: str
    data: bytes
    ours: Outcome
    theirs: Outcome
    same: int


def refusal(*reasons):
    """Our refusal is one of `reasons`."""
    return lambda case: case.ours.refusal in reasons


def octets(pattern):
    """The octets match `pattern` somewhere."""
    compiled = re.compile(pattern, re.DOTALL | re.IGNORECASE)
    return lambda case: compiled.search(case.data) is not None


def unread(message):
    """The message as far as its head."""
    return Message(message.start, message.fields, b"", ())


def both(one, other):
    return lambda case: one(case) and other(case)


LONE_LF = rb"(?<!\r)\n"
CONTROL = rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)"
LENIENT = rf"{LONE_LF.decode()}|{CONTROL.decode()}".encode()

NO_CONTENT = rb"HTTP/1\.. (?:1..|204)"

EXPLAINED = (
    # -- where we are stricter than h11
    Row(
        "h11",
        "ours",
        "RFC 9112 6.3 lets Transfer-Encoding win over Content-Length; we refuse",
        refusal("te-and-cl"),
    ),
    Row(
        "h11",
        "ours",
        "equal lengths in a list may be taken as one (6.3 rule 5)",
        both(refusal("bad-content-length"), octets(rb"content-length:[^\r\n]*,")),
    ),
    Row(
        "h11",
        "ours",
        "equal lengths on two lines may be taken as one (6.3 rule 5)",
        both(refusal("duplicate-field"), octets(rb"\ncontent-length:.*\ncontent-length:")),
    ),
    Row(
        "h11",
        "ours",
        "Host means nothing in a response; that it stands there twice says that somebody mixed messages up",
        both(refusal("duplicate-field"), octets(rb"^HTTP/.*\nhost:.*\nhost:")),
    ),
    Row(
        "h11",
        "ours",
        "any major version is read as 1.x",
        both(refusal("http-version", "bad-status-line"), octets(rb"HTTP/[^1]\.[0-9]")),
    ),
    Row(
        "h11",
        "ours",
        "a lone LF ends a line (2.2 MAY), and control octets but NUL and white space are content of a value",
        both(
            refusal(
                "bad-octet",
                "bad-status-line",
                "bad-request-line",
                "bad-field",
                "truncated",
                "obs-fold",
                "no-host",
            ),
            octets(LENIENT),
        ),
    ),
    Row("h11", "ours", "obs-fold is unfolded (5.2)", both(refusal("obs-fold"), octets(rb"\r\n[ \t]"))),
    Row(
        "h11",
        "ours",
        "classes of status codes above 5",
        both(refusal("bad-status-line"), octets(rb"HTTP/1\.. [06-9]")),
    ),
    Row(
        "h11",
        "ours",
        "only 1.1 itself needs a Host, not a later 1.x",
        both(refusal("no-host"), octets(rb"HTTP/1\.[2-9]")),
    ),
    Row(
        "h11",
        "ours",
        "a length that is folded onto the next line is unfolded (5.2)",
        both(refusal("bad-content-length"), octets(rb"content-length:[ \t]*\r\n[ \t]")),
    ),
    # -- where we are stricter than llhttp
    Row(
        "llhttp",
        "ours",
        "a lone CR is skipped as an empty line would be",
        both(refusal("truncated"), lambda case: case.data.endswith(b"\r")),
    ),
    Row("llhttp", "ours", "it has no rule about Host", refusal("no-host")),
    Row(
        "llhttp",
        "ours",
        "it has no rule about Host",
        both(refusal("duplicate-field"), octets(rb"\nhost:.*\nhost:")),
    ),
    Row(
        "llhttp",
        "ours",
        "HTTP/0.9: a request line may have no version",
        both(refusal("bad-request-line", "truncated"), octets(rb"(?:^|\n)[A-Z\-]+ +[^ ]*\r?\n")),
    ),
    Row(
        "llhttp",
        "ours",
        "spaces between the parts of a request line",
        both(refusal("bad-request-line"), octets(rb"  ")),
    ),
    Row(
        "llhttp",
        "ours",
        "empty lines before a status line",
        both(refusal("bad-status-line"), octets(rb"(?:^|\n)\r?\n")),
    ),
    Row(
        "llhttp",
        "ours",
        "HTTP/2.0 and 0.9 are versions",
        both(refusal("http-version", "bad-status-line"), octets(rb"HTTP/(?:2\.0|0\.9)")),
    ),
    Row(
        "llhttp",
        "ours",
        "anything may stand in a reason, also with a lone CR or LF behind it",
        both(refusal("bad-status-line"), octets(LENIENT + rb"|\0")),
    ),
    Row(
        "llhttp",
        "ours",
        "control octets are content of a target",
        both(refusal("bad-request-line"), octets(LENIENT + rb"|[\x80-\xff]")),
    ),
    Row(
        "llhttp",
        "ours",
        "a lone CR or LF between two messages is skipped",
        both(refusal("bad-request-line"), lambda case: case.same > 0 and b"\r\n\r\n" in case.data),
    ),
    Row(
        "llhttp",
        "ours",
        "content behind a request for an upgrade is not looked at",
        both(refusal("truncated", "bad-chunk"), lambda case: case.theirs.over and b"pgrade" in case.data),
    ),
    # -- where we are stricter than both
    Row(
        "both",
        "ours",
        "an expectation but 100-continue is 417 (RFC 9110 10.1.1 MAY)",
        refusal("bad-expectation"),
    ),
    Row(
        "both",
        "ours",
        "Transfer-Encoding in HTTP/1.0 is faulty framing (6.1)",
        both(refusal("te-in-http10"), octets(rb"HTTP/1\.0")),
    ),
    Row(
        "both", "ours", "codings but chunked are not read", refusal("unknown-coding", "bad-transfer-encoding")
    ),
    Row("both", "ours", "trailers that frame or route (RFC 9110 6.5.1)", refusal("bad-trailer")),
    Row(
        "both",
        "ours",
        "our limits are lower",
        refusal("method-too-long", "too-many-fields", "too-many-interim"),
    ),
    # -- where they are stricter
    Row("llhttp", "theirs", "a list of known methods", lambda case: "InvalidMethod" in case.theirs.refusal),
    Row(
        "llhttp",
        "theirs",
        "only 0.9, 1.0, 1.1 and 2.0 are versions",
        lambda case: "Invalid HTTP version" in case.theirs.refusal,
    ),
    Row(
        "llhttp",
        "theirs",
        "targets are parsed as URLs; ours are, later, by http.target",
        lambda case: "InvalidURL" in case.theirs.refusal,
    ),
    Row(
        "llhttp",
        "theirs",
        "white space and other octets around chunk extensions, which we skip (7.1.1: BWS)",
        both(lambda case: "chunk" in case.theirs.refusal, octets(rb"[0-9a-f][ \t]*;")),
    ),
    Row(
        "h11",
        "theirs",
        "white space before a chunk extension, which is BWS (7.1.1)",
        both(lambda case: "illegal chunk header" in case.theirs.refusal, octets(rb"[0-9a-f][ \t]+;")),
    ),
    Row(
        "h11",
        "theirs",
        "an empty line where a request may begin is refused; 2.2 asks to ignore one",
        both(lambda case: case.theirs.refusal == "no request line received", octets(rb"(?:^|\n|[^\r])\r?\n")),
    ),
    Row(
        "llhttp",
        "theirs",
        "framing is checked in 1xx and 204, which have no content whatever it says (6.3 rule 1)",
        both(lambda case: "Transfer-Encoding" in case.theirs.refusal, octets(NO_CONTENT)),
    ),
    Row(
        "h11",
        "theirs",
        "codings are checked in 1xx and 204, which have no content whatever they say (6.3 rule 1)",
        both(lambda case: "Only Transfer-Encoding" in case.theirs.refusal, octets(NO_CONTENT)),
    ),
    Row(
        "h11",
        "theirs",
        "empty members of the list of codings are refused; RFC 9110 5.6.1 asks to ignore some",
        both(lambda case: "Only Transfer-Encoding" in case.theirs.refusal, octets(rb"encoding:[^\r]*,")),
    ),
    Row("llhttp", "theirs", "PRI is the preface of HTTP/2 in every version", octets(rb"PRI ")),
    # -- read in two ways
    Row(
        "llhttp",
        "other",
        "a request that asks for an upgrade is handed over with its content unread",
        lambda case: (
            case.theirs.over and unread(case.ours.messages[case.same]) == case.theirs.messages[case.same]
        ),
    ),
)
PEERS = {"h11": of_h11, "llhttp": of_llhttp}


def disagreement(role, data, pieces, peer):
    """Return the `Case`, or None when both say the same."""
    mine, theirs = ours(role, pieces), PEERS[peer](role, data)
    same = 0
    for a, b in zip(mine.messages, theirs.messages, strict=False):
        if a != b:
            return Case(role, data, mine, theirs, same)
        same += 1
    if (mine.over and len(mine.messages) == same) or (theirs.over and len(theirs.messages) == same):
        return None  # one of them is through with this connection
    if bool(mine.refusal) == bool(theirs.refusal) and len(mine.messages) == len(theirs.messages):
        return None
    return Case(role, data, mine, theirs, same)


def stricter(case):
    more_ours, more_theirs = len(case.ours.messages) - case.same, len(case.theirs.messages) - case.same
    if more_ours and more_theirs:
        return "other"
    if case.ours.refusal and not more_ours:
        return "ours"
    return "theirs" if case.theirs.refusal and not more_theirs else "other"


def explanation(peer, case):
    who = stricter(case)
    for row in EXPLAINED:
        if row.peer in (peer, "both") and row.stricter == who and row.holds(case):
            return row
    return None


# -- the tests


def check(role, data, marks=()):
    places = sorted(mark % (len(data) + 1) for mark in marks)
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if b > a]
    for peer in PEERS:
        case = disagreement(role, data, pieces, peer)
        if case is not None and explanation(peer, case) is None:
            pytest.fail(
                f"{peer}, {stricter(case)} stricter: {data!r}\n ours   {case.ours}\n theirs {case.theirs}"
            )


OWS = st.sampled_from([b"", b" ", b"\t", b" \t "])
TOKEN = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8).map(str.encode)
TEXT = st.lists(st.sampled_from([0x21, 0x2C, 0x3A, 0x41, 0x7A, 0x80, 0xFF, 0x20, 0x09]), max_size=8).map(
    bytes
)
LINE = st.builds(
    lambda name, a, value, b: b"X-" + name + b":" + a + value + b + b"\r\n", TOKEN, OWS, TEXT, OWS
)
DECIDING = st.sampled_from(
    [
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 4\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: b\r\n",
        b" folded\r\n",
    ]
)
CHUNKS = st.lists(st.binary(min_size=1, max_size=12), max_size=3).map(
    lambda pieces: b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
)


@st.composite
def messages(draw, start):
    """A message that is right; `start` draws its first line."""
    lines = b"".join(draw(st.lists(LINE, max_size=3)))
    head = draw(start) + b"\r\n" + lines
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "chunked":
        trailers = b"".join(draw(st.lists(LINE, max_size=2)))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + draw(CHUNKS) + b"0\r\n" + trailers + b"\r\n"
    content = draw(st.binary(max_size=12)) if framing == "length" else b""
    return head + b"Content-Length: %d\r\n\r\n" % len(content) + content


METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
TARGET = st.sampled_from([b"/", b"/a?b=c", b"http://a.test/x", b"*"])
REQUEST_LINE = st.builds(
    lambda method, target: method + b" " + target + b" HTTP/1.1\r\nHost: a", METHOD, TARGET
)
STATUS_LINE = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 404 ", b"HTTP/1.1 599 A b", b"HTTP/1.1 301 \xe4"]
)
STARTS = {"server": REQUEST_LINE, "client": STATUS_LINE}
MARKS = st.lists(st.integers(0, 400), max_size=4)
ROLE = st.sampled_from(["server", "client"])


@st.composite
def mutated(draw, role):
    """Messages in a row with a few things done to them."""
    corpus = st.sampled_from(REQUESTS if role == "server" else RESPONSES)
    data = b"".join(draw(st.lists(st.one_of(corpus, messages(STARTS[role])), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "delete", "octet", "line"]))
        if kind == "insert":
            data = data[:at] + draw(st.sampled_from(PIECES)) + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + draw(st.integers(1, 6)) :]
        elif kind == "octet":
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        else:
            at = data.find(b"\r\n", at) + 2
            data = data[:at] + draw(DECIDING) + data[at:]
    return data


@MANY
@given(
    ROLE.flatmap(
        lambda role: st.tuples(st.just(role), st.lists(messages(STARTS[role]), min_size=1, max_size=3))
    ),
    MARKS,
)
def test_right_messages_are_read_the_same_by_all(case, marks):
    role, several = case
    data = b"".join(several)
    mine = ours(role, [data])
    assert mine.refusal == ""
    assert len(mine.messages) == len(several)
    for peer in PEERS.values():
        assert peer(role, data)[:2] == mine[:2]
    check(role, data, marks)


@MANY
@given(ROLE.flatmap(lambda role: st.tuples(st.just(role), mutated(role))), MARKS)
def test_mutated_messages_are_read_the_same_or_the_difference_is_explained(case, marks):
    role, data = case
    check(role, data, marks)


def test_the_corpus():
    for role, corpus in (("server", REQUESTS), ("client", RESPONSES)):
        for data in corpus:
            check(role, data)


def test_an_unexplained_disagreement_fails(monkeypatch):
    monkeypatch.setitem(globals(), "EXPLAINED", ())
    with pytest.raises(pytest.fail.Exception, match="ours stricter"):
        check("server", b"GET / HTTP/1.1\r\n\r\n")


def test_what_they_read_and_we_never_do():
    """Smuggling: in none of these do we read a message that a stricter peer would read otherwise."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    for line in (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
    ):
        assert ours("server", [head + line + b"\r\n\r\n0\r\n\r\n"]).messages == ()
