"""A playbook of HTTP/2: an engine in one role, and its peer written by hand (`h2_wire`).

    play = opened("server")               # stream 1 is open in both directions
    play.refuses(STREAM_CLOSED, data(3))  # a connection error with this code, told by GOAWAY
    play.resets(1, PROTOCOL_ERROR, ...)   # a stream error: RST_STREAM, and all else goes on

`put` gives frames and returns the events they made, `sent` returns the frames the engine writes.
"""

import pytest
from tests.conformance.h2_wire import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GET,
    GOAWAY,
    HEADERS,
    OK,
    POST,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    decoder,
    headers,
    parse,
    settings,
)

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import H2ConnectionError
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import RequestRefused, StreamFailed
from headgate.http.fields import Fields

ROLES = ("server", "client")
FIRST = {"server": GET, "client": OK}
both = pytest.mark.parametrize("role", ROLES)
MUCH = 1 << 30


def fields(*pairs):
    """Make a field section."""
    made = Fields([], [])
    for name, value in pairs:
        made.add(name.lower(), value, name)
    return made


def pull(engine):
    """Take all events."""
    found = []
    while (event := engine.next_event()) is not None:
        found.append(event)
    return found


class Play:
    """One engine; `now` is its clock, `table` its H2Settings, `said` the settings of the peer."""

    def __init__(self, role, *said, now=0.0, scheme=b"https", **table):
        self.role = role
        self.now = now
        self.engine = H2Connection(role == "client", now, H2Settings(**table), scheme)
        self.said = settings(*said)
        self.decoder = decoder()
        self.heads = []  # (stream, lines) of what `sent` returned last

    @property
    def start(self):
        """What the peer begins with."""
        return (PREFACE if self.role == "server" else b"") + self.said

    def begin(self):
        """Exchange prefaces and acknowledge them."""
        self.put(self.start, settings(flags=ACK))
        self.sent()
        return self

    def put(self, *octets):
        """Give octets in one piece; return the events."""
        self.engine.receive(b"".join(octets), self.now)
        return pull(self.engine)

    def write(self):
        """Return all octets the engine has to write."""
        pieces = []
        while self.engine.has_output():
            piece = self.engine.take_output(1 << 20)
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    def sent(self, *kinds):
        """Return the frames the engine writes, all or those of some types."""
        frames = parse(self.write().removeprefix(PREFACE))
        self.heads, block = [], b""
        for found in frames:
            if found.type in (HEADERS, CONTINUATION):
                block += found.payload
                if found.flags & END_HEADERS:
                    self.heads.append((found.stream, self.decoder.decode(block, raw=True)))
                    block = b""
        return [found for found in frames if not kinds or found.type in kinds]

    def sections(self):
        """Return (stream, lines) of all sections that the engine writes."""
        self.sent()
        return self.heads

    def ask(self, *pairs, method=b"GET", target=b"/", body=0):
        """As a client: send a request; return its stream."""
        request = Request(method, target, 11, fields((b"Host", b"a.test"), *pairs), body)
        self.engine.send(request)
        return request.stream

    def answer(self, stream, status=200, body=0, *pairs):
        """As a server: send the head of a response."""
        self.engine.send(Response(status, b"", 11, fields(*pairs), body, stream))

    def write_content(self, stream, content, *, end=True, trailers=None):
        if content:
            self.engine.send(Data(content, stream))
        if end:
            self.engine.send(EndOfMessage(trailers, stream))

    # -- faults

    def refuses(self, codes, *octets):
        """The connection ends with one of `codes`, told by a GOAWAY; nothing is read any more."""
        codes = codes if isinstance(codes, tuple) else (codes,)
        with pytest.raises(H2ConnectionError) as caught:
            self.put(*octets)
        assert caught.value.code in codes, caught.value
        assert self.engine.failed
        assert not any(isinstance(event, Request | Response) for event in pull(self.engine))
        told = self.sent()
        assert told[-1].type == GOAWAY, told
        assert told[-1].code == caught.value.code
        self.engine.receive(headers(2**20 + 1, *GET, end=True), self.now)
        assert pull(self.engine) == []
        assert self.sent() == []
        return told[-1]

    def resets(self, stream, codes, *octets):
        """One stream ends with one of `codes`; the connection goes on. Return the events."""
        codes = codes if isinstance(codes, tuple) else (codes,)
        events = self.put(*octets)
        told = self.sent(RST_STREAM, GOAWAY)
        assert [(found.type, found.stream) for found in told] == [(RST_STREAM, stream)]
        assert told[0].code in codes
        self.still_works()
        return events

    def breaks(self, stream, codes, *octets):
        """The stream or the whole connection ends with one of `codes`: the RFC lets one choose."""
        try:
            self.put(*octets)
        except H2ConnectionError as error:
            told = error.code
        else:
            (found,) = self.sent(RST_STREAM, GOAWAY)
            assert (found.type, found.stream) == (RST_STREAM, stream)
            told = found.code
        assert told in codes

    def malforms(self, stream, *octets):
        """A message is malformed (section 8.1.1): PROTOCOL_ERROR on its stream, and nobody sees it whole."""
        events = self.resets(stream, 1, *octets)
        assert not any(isinstance(event, EndOfMessage | RequestRefused) for event in events), events
        assert not any(isinstance(event, Request | Response) and event.body == 0 for event in events), events
        return events

    def takes(self, *octets):
        """Nothing is wrong with that. Return the events."""
        events = self.put(*octets)
        assert not any(isinstance(event, StreamFailed | RequestRefused) for event in events), events
        assert not self.engine.failed
        assert self.sent(RST_STREAM, GOAWAY) == []
        return events

    def still_works(self):
        """A further exchange is served."""
        if self.role == "client":
            stream = self.ask()
            self.sent()
            events = self.put(headers(stream, *OK, end=True))
            assert [type(event) for event in events] == [Response]
        else:
            stream = 2001
            while stream <= getattr(self, "worked", 0):
                stream += 2
            self.worked = stream
            events = self.put(headers(stream, *GET, end=True))
            assert [type(event) for event in events] == [Request]
            self.answer(stream, 204)
        assert [found.type for found in self.sent() if found.type not in (WINDOW_UPDATE, SETTINGS)] in (
            [],
            [HEADERS],
        )


def started(role, *said, **table):
    """Both prefaces are exchanged."""
    return Play(role, *said, **table).begin()


def opened(role, *said, method=b"POST", **table):
    """Stream 1 is open in both directions: a request whose content has not ended, and no answer yet."""
    play = started(role, *said, **table)
    if role == "client":
        assert play.ask(method=method, body=UNKNOWN_LENGTH) == 1
    else:
        lines = ((b":method", method), *POST[1:])
        assert [type(event) for event in play.put(headers(1, *lines))] == [Request]
    play.sent()
    return play


def half_closed(role, **table):
    """Stream 1 is half-closed (remote): the peer has said all, we have not."""
    play = started(role, **table)
    if role == "client":
        play.ask(method=b"POST", body=UNKNOWN_LENGTH)
        play.put(headers(1, *OK, end=True))
    else:
        play.put(headers(1, *GET, end=True))
    play.sent()
    return play


def message(role, method=b"GET"):
    """The peer may begin its message on stream 1; as a client we have asked."""
    play = started(role)
    if role == "client":
        play.ask(method=method)
        play.sent()
    return play


def request(*lines, end=True):
    """What a server makes of a head with these lines."""
    (event,) = started("server").takes(headers(1, *lines, end=end))
    assert isinstance(event, Request)
    return event


def content(events):
    return b"".join(event.data for event in events if isinstance(event, Data))
