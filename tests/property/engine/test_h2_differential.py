"""The HTTP/2 engine against the h2 package: the same frames give the same events, or the same error code.

Both read frame by frame. What is compared after each: every message (control data, fields, content, trailers, end),
streams that were reset with which code, and whether the connection ended with which code. The first difference must
be explained by a row of `EXPLAINED`; one that is not fails. Behind a difference nothing is compared, because one of
the two has stopped there. That h2 ends the connection where we end the stream, with the same code, is no difference:
section 5.4.1 of RFC 9113 lets an endpoint choose.
"""

import os
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.exceptions
import pytest
from fuzz.h2 import ANSWERS, CONTROLS, PIECES, REQUESTS, block, frames_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import H2ConnectionError
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import GoingAway, RequestRefused, StreamFailed
from headgate.http.fields import Fields
from headgate.testing import h2_raw as raw
from headgate.testing.h2_raw import data, frame, headers, rst_stream, window_update

MANY = settings(
    max_examples=max(400, 2 * settings.default.max_examples),
    derandomize=os.environ.get("HEADGATE_SOAK") != "1",
)
ROLES = ("server", "client")
STREAMS = (1, 3, 5)
NONE = -1
ANSWER, RESET = b"answer", b"reset"
"""Steps that are no octets: the server answers a stream in full, or we give it up."""


class Outcome(NamedTuple):
    """What a side made of all steps so far; `error` is the code that ended the connection, -1 for none."""

    messages: dict
    resets: dict
    error: int
    why: str


class _Side:
    """Puts messages together."""

    def __init__(self):
        self.messages = {}
        self.resets = {}
        self.error = NONE
        self.why = ""

    def of(self, stream):
        return self.messages.setdefault(stream, [])

    def content(self, stream, octets):
        lines = self.of(stream)
        if not octets:
            return
        if lines and lines[-1][0] == "data":
            lines[-1] = ("data", lines[-1][1] + octets)
        else:
            lines.append(("data", octets))

    def reset(self, stream, code):
        self.resets.setdefault(stream, code)
        self.messages.pop(stream, None)  # what had been told of it, or was taken back, is over

    def outcome(self):
        return Outcome(
            {k: list(v) for k, v in self.messages.items() if v}, dict(self.resets), self.error, self.why
        )


def _head(lines):
    """Return a head in one form: control data, cookies in one line at the end, no Host."""
    control = {name: value for name, value in lines if name.startswith(b":")}
    cookies = [value for name, value in lines if name == b"cookie"]
    fields = [
        (name, value)
        for name, value in lines
        if not name.startswith(b":") and name not in (b"cookie", b"host")
    ]
    status = control.get(b":status")
    if status is not None and (status[0:1] == b"1" or status == b"204"):
        fields = [line for line in fields if line[0] != b"content-length"]
    if cookies:
        fields.append((b"cookie", b"; ".join(cookies)))
    return ("head", tuple(sorted(control.items())), tuple(fields))


# -- ours


class Ours(_Side):
    def __init__(self, role):
        super().__init__()
        self.role = role
        self.h2 = H2Connection(role == "client", 0.0, H2Settings(connect_protocol=True))
        self.ended = set()
        for _ in STREAMS if role == "client" else ():
            self.h2.send(Request(b"POST", b"/", 11, Fields([b"host"], [b"Host: a.test"]), UNKNOWN_LENGTH))
        self.h2.take_output(1 << 20)

    def step(self, step):
        self.why = ""
        if isinstance(step, tuple):
            self.do(*step)
        else:
            try:
                self.h2.receive(step, 0.0)
            except H2ConnectionError as error:
                self.error, self.why = error.code, str(error)
        while (event := self.h2.next_event()) is not None:
            self.note(event)
        for one in frames_of(self.h2.take_output(1 << 20)):
            if one[3] == raw.RST_STREAM:
                self.reset(int.from_bytes(one[5:9], "big"), int.from_bytes(one[9:13], "big"))
        return self.outcome()

    def do(self, kind, stream):
        if stream in self.ended or stream not in self.h2.streams or 0 in self.messages:
            return
        if kind == RESET:
            self.ended.add(stream)
            self.h2.abort(stream, 8)
        elif self.role == "server":
            if stream not in self.ended and stream in self.h2.streams:
                self.h2.send(Response(204, b"", 11, Fields([], []), 0, stream))
            self.ended.add(stream)
        elif stream in self.h2.streams and stream not in self.ended:
            self.ended.add(stream)
            self.h2.send(EndOfMessage(None, stream))

    def note(self, event):
        stream = getattr(event, "stream", 0)
        if isinstance(event, Request):
            lines = [(b":method", event.method), (b":authority", event.host), *event.fields.items()]
            if event.method != b"CONNECT" or event.upgrade:
                lines += [(b":path", event.target)]
            if event.upgrade:
                lines.append((b":protocol", event.upgrade))
            self.of(stream).append(_head(lines))
        elif isinstance(event, Response):
            self.of(stream).append(_head([(b":status", b"%d" % event.status), *event.fields.items()]))
        elif isinstance(event, Data):
            self.content(stream, event.data)
            self.h2.consumed(stream, len(event.data))
        elif isinstance(event, EndOfMessage):
            self.of(stream).append(
                ("end", tuple(event.trailers.items()) if event.trailers is not None else ())
            )
        elif isinstance(event, StreamFailed):
            self.reset(stream, event.code)
            self.why = event.detail
        elif isinstance(event, RequestRefused):
            self.of(stream).append(("refused", event.status))
            self.why = event.reason
        elif isinstance(event, GoingAway):
            self.messages[0] = [("goaway",)]
        if isinstance(event, Request | Response) and event.body == 0 and getattr(event, "status", 200) >= 200:
            self.of(stream).append(("end", ()))


# -- the h2 package


class Theirs(_Side):
    def __init__(self, role):
        super().__init__()
        self.role = role
        self.ended = set()
        config = h2.config.H2Configuration(
            client_side=role == "client", header_encoding=None, normalize_inbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 30)
        if role == "server":
            self.h2.update_settings({8: 1, 3: 100, 4: 64 * 1024, 6: 64 * 1024})
        else:
            self.h2.update_settings({2: 0, 4: 64 * 1024, 6: 64 * 1024})
            for stream in STREAMS:
                asked = [(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")]
                self.h2.send_headers(stream, asked)
        self.h2.data_to_send()

    def step(self, step):
        self.why = ""
        if isinstance(step, tuple):
            self.do(*step)
            events = []
        else:
            events = self.read(step)
        for event in events:
            self.note(event)
        for one in frames_of(self.h2.data_to_send()):
            if one[3] == raw.RST_STREAM:
                self.reset(int.from_bytes(one[5:9], "big"), int.from_bytes(one[9:13], "big"))
            elif one[3] == raw.GOAWAY:
                self.error = int.from_bytes(one[13:17], "big")
        return self.outcome()

    def read(self, octets):
        try:
            return self.h2.receive_data(octets)
        except h2.exceptions.ProtocolError as error:
            self.error, self.why = int(error.error_code), f"{type(error).__name__} {error}"
        except (
            hyperframe.exceptions.HyperframeError,
            UnicodeDecodeError,
            AssertionError,
            ValueError,
        ) as error:
            self.error, self.why = 1, f"{type(error).__name__} {error}"
        return []

    def do(self, kind, stream):
        if stream not in self.h2.streams or stream in self.ended or self.h2.streams[stream].closed:
            return
        if 0 in self.messages:
            return  # behind a GOAWAY h2 does nothing more
        try:
            if kind == RESET:
                self.h2.reset_stream(stream, 8)
            elif self.role == "server":
                self.h2.send_headers(stream, [(":status", "204")], end_stream=True)
            else:
                self.h2.end_stream(stream)
        except h2.exceptions.ProtocolError:
            pass  # the answer is reset, or was: the other side says so
        self.ended.add(stream)

    def note(self, event):
        stream = getattr(event, "stream_id", 0)
        heads = (
            h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.InformationalResponseReceived
        )
        if isinstance(event, heads):
            lines = [(bytes(name), bytes(value)) for name, value in event.headers]
            if self.role == "server" and not any(name == b":authority" for name, _ in lines):
                lines += [(b":authority", value) for name, value in lines if name == b"host"]
            self.of(stream).append(_head([line for line in lines if line[0] != b":scheme"]))
        elif isinstance(event, h2.events.DataReceived):
            self.content(stream, event.data)
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.TrailersReceived):
            self.of(stream).append(
                ("end", tuple((bytes(name), bytes(value)) for name, value in event.headers))
            )
        elif isinstance(event, h2.events.StreamEnded):
            if not self.of(stream) or self.of(stream)[-1][0] != "end":
                self.of(stream).append(("end", ()))
        elif isinstance(event, h2.events.StreamReset):
            self.reset(stream, int(event.error_code))
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.messages[0] = [("goaway",)]


# -- where they disagree, and why


class Case(NamedTuple):
    """A disagreement: the steps up to the one where it shows, and both outcomes."""

    role: str
    steps: list
    ours: Outcome
    theirs: Outcome

    @property
    def last(self):
        return self.steps[-1]

    @property
    def stream(self):
        return (
            int.from_bytes(self.last[5:9], "big") & 0x7FFFFFFF
            if isinstance(self.last, bytes)
            else self.last[1]
        )

    @property
    def kind(self):
        return self.last[3] if isinstance(self.last, bytes) and len(self.last) > 8 else NONE


class Row(NamedTuple):
    """One explained disagreement; `holds(case)` tells whether it is this one."""

    why: str
    holds: object


def ours(*words):
    """Our refusal says one of `words`."""
    return lambda case: any(word in case.ours.why for word in words)


def theirs(*words):
    """Their refusal says one of `words`."""
    return lambda case: any(word in case.theirs.why for word in words)


def of(*kinds):
    """The frame is of one of `kinds`."""
    return lambda case: case.kind in kinds


def mine(code):
    """We refuse with `code`, the stream or the connection."""
    return lambda case: code in (case.ours.error, case.ours.resets.get(case.stream))


def generic(case):
    """They refuse the connection with PROTOCOL_ERROR, which section 5.4 allows in place of every other code."""
    return case.theirs.error == 1


def every(*conditions):
    return lambda case: all(condition(case) for condition in conditions)


def unread(case):
    """We go on as if nothing had been, and they refuse."""
    return case.ours.error == NONE and case.theirs.error != NONE


def ignored(case):
    """They go on, and we refuse."""
    return case.theirs.error == NONE


def begun(case):
    return not case.last[4] & raw.END_HEADERS


def reserved(case):
    return len(case.last) == 13 and case.last[9] & 0x80


def empty(case):
    """The frame is padded, and all of it is padding."""
    start = 14 if case.kind == raw.HEADERS and case.last[4] & raw.PRIORITY_FLAG else 9
    return case.last[4] & raw.PADDED and len(case.last) - start - 1 <= case.last[9] <= len(case.last) - 10


def early(case):
    """The message is the same, but ours has ended with its head."""
    mine, other = case.ours.messages.get(case.stream, []), case.theirs.messages.get(case.stream, [])
    return case.ours[1:3] == case.theirs[1:3] and mine == [*other, ("end", ())] and other[-1][0] == "head"


def kept(case):
    return case.role == "client" and case.ours.messages.get(case.stream, [("",)])[-1][0] == "end"


BLOCKS = of(raw.HEADERS, raw.CONTINUATION)
EXPLAINED = (
    # -- other codes
    Row("what cannot be decoded is COMPRESSION_ERROR (4.3); theirs is generic", every(generic, mine(9))),
    Row(
        "a frame behind the end of its stream is STREAM_CLOSED (5.1); theirs is generic",
        every(generic, mine(5)),
    ),
    Row("a wrong length is FRAME_SIZE_ERROR (4.2); theirs is generic", every(generic, mine(6))),
    Row(
        "two faults in one frame: it stands inside a field block, and is too short (5.4: any one may be told)",
        every(ours("in the middle of a field block"), theirs("FrameDataMissing", "InvalidFrame")),
    ),
    Row(
        "a promise is refused as such (6.6), before its length is looked at",
        every(ours("PUSH_PROMISE"), of(5)),
    ),
    # -- where we are stricter
    Row("h2 does not know RFC 9218", every(ignored, of(raw.PRIORITY_UPDATE), mine(1))),
    Row(
        "so it does not know which lengths are wrong either", every(ignored, of(raw.PRIORITY_UPDATE), mine(6))
    ),
    Row("there is no 101 in HTTP/2 (8.6)", every(ignored, ours("101"))),
    Row("a limit of ours: lines of a section", ours("head-too-large", "field lines")),
    Row("it takes RST_STREAM of an idle stream (6.4 forbids)", every(ignored, ours("RST_STREAM of stream"))),
    Row(
        "what comes behind the peer's own RST_STREAM is a connection error (5.1 MAY); h2 resets again",
        every(ignored, ours("which has ended"), mine(5)),
    ),
    Row(":status has three digits", every(ignored, ours(":status is no status code", "without :status"))),
    Row("names are tokens (8.2.1)", every(ignored, ours("no token"))),
    Row("values hold no control octets (RFC 9110 5.5)", every(ignored, ours("no field value may hold"))),
    Row(
        "control data has a grammar, and h2 leaves that to others (10.3)",
        every(ignored, ours("method is no token", "bad-scheme", "an authority that is", ":path is no path")),
    ),
    Row(
        "h2 does not count where the head ends the stream, nor in tunnels (8.1.1)",
        every(ignored, ours("before Content-Length"), BLOCKS),
    ),
    Row(
        "a GOAWAY may not name a later stream than the one before (6.8)", every(ignored, ours("GOAWAY with"))
    ),
    Row(
        "a stream that was left out was never open (5.1.1): nothing but PRIORITY is for it",
        ours("was left out"),
    ),
    Row("two table size updates say all (RFC 7541 4.2)", ours("table size updates")),
    Row("CONTINUATION of nothing (6.10)", ours("CONTINUATION of nothing")),
    Row(
        "a number that may not be is seen in the first frame of a block",
        every(ignored, ours("HEADERS of stream"), begun),
    ),
    # -- where they are
    Row("behind a GOAWAY h2 reads nothing more", theirs("in state ConnectionState.CLOSED")),
    Row(
        "the reserved bit of an increment is ignored (6.9)",
        every(theirs("non-compliant"), of(raw.WINDOW_UPDATE), reserved),
    ),
    Row("hyperframe refuses padding that leaves nothing", every(unread, theirs("invalid padding"), empty)),
    Row("frames of RFC 7838 are unknown, so they may be anything (5.5)", every(unread, of(0x0A))),
    Row(
        "what comes behind our own RST_STREAM is thrown away (5.1); h2 holds it to the states of a message",
        every(unread, lambda case: case.ours.resets.get(case.stream) == 8),
    ),
    # -- read in two ways
    Row("a message that has no content is whole with its head, whenever its stream ends", early),
    Row(
        "streams behind GOAWAY have failed, and we tell it", every(of(raw.GOAWAY), ours("has not looked at"))
    ),
    Row(
        "a whole answer is kept, whatever code its stream is reset with (8.1)",
        every(of(raw.RST_STREAM), kept),
    ),
)


def disagreement(role, steps):
    """Return the `Case`, or None when both say the same of all steps."""
    one, two = Ours(role), Theirs(role)
    for at, step in enumerate(steps):
        mine, theirs = one.step(step), two.step(step)
        if mine[:3] == theirs[:3]:
            if mine.error != NONE:
                return None
            continue
        if theirs.error != NONE and mine.error == NONE:
            stream = int.from_bytes(step[5:9], "big") & 0x7FFFFFFF if isinstance(step, bytes) else 0
            if mine.resets.get(stream) == theirs.error:
                return None  # the stream here, the connection there
        if theirs.error == mine.error != NONE:
            return None
        return Case(role, steps[: at + 1], mine, theirs)
    return None


def explanation(case):
    return next((row for row in EXPLAINED if row.holds(case)), None)


def check(role, steps):
    case = disagreement(role, [*START[role], *steps])
    if case is not None and explanation(case) is None:
        shown = case.last.hex() if isinstance(case.last, bytes) else case.last
        pytest.fail(f"{role}: {shown}\n ours   {case.ours}\n theirs {case.theirs}\n {case.steps}")


SETTLED = raw.settings_ack()
START = {"server": (raw.PREFACE + raw.settings(), SETTLED), "client": (raw.settings(), SETTLED)}

# -- frames that are right

NAME = st.text("!#$%&'*+-.^_`|~09az", min_size=1, max_size=8).map(lambda text: b"x-" + text.encode())
VALUE = st.lists(st.sampled_from([0x21, 0x2C, 0x3A, 0x41, 0x7A, 0x80, 0xFF, 0x20, 0x09]), max_size=8).map(
    lambda octets: bytes(octets).strip(b" \t")
)
LINES = st.lists(st.tuples(NAME, VALUE), max_size=3)
METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"M-SEARCH"])
PATH = st.sampled_from([b"/", b"/a?b=c", b"/%2f//"])
CONTENT = st.binary(max_size=30)
HARMLESS = st.sampled_from(
    [
        raw.ping(b"12345678"),
        raw.settings((4, 100_000)),
        raw.settings((3, 50), (0xFFF, 1)),
        window_update(0, 1000),
        frame(0xBE, 0x55, 0, b"whatever"),
        raw.priority(99),
    ]
)


@st.composite
def sections(draw, stream, lines, *, end):
    """Return the frames of a section: cut anywhere, padded, with a priority."""
    whole = block(*lines)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=2)))
    edges = [0, *places, len(whole)]
    first = whole[: edges[1]]
    flags = raw.END_STREAM * end | raw.END_HEADERS * (len(edges) == 2)
    if draw(st.booleans()):
        flags |= raw.PRIORITY_FLAG
        first = (200).to_bytes(4, "big") + b"\x10" + first
    if len(first) > 5 and draw(st.booleans()):  # see EXPLAINED: padding that leaves nothing
        flags |= raw.PADDED
        pad = draw(st.integers(0, 9))
        first = bytes((pad,)) + first + bytes(pad)
    made = frame(raw.HEADERS, flags, stream, first)
    for at in range(1, len(edges) - 1):
        made += raw.continuation(stream, whole[edges[at] : edges[at + 1]], last=at == len(edges) - 2)
    return made


@st.composite
def exchanges(draw, role, stream):
    """Return the steps of one stream, all of them right."""
    pieces = draw(st.lists(CONTENT, max_size=3))
    lines = draw(LINES)
    if role == "server":
        control = [
            (b":method", draw(METHOD)),
            (b":scheme", b"https"),
            (b":path", draw(PATH)),
            (b":authority", b"a.test"),
        ]
        first = [*draw(st.permutations(control)), *lines]
    else:
        first = [(b":status", draw(st.sampled_from([b"200", b"404", b"599"]))), *lines]
    if any(pieces) and draw(st.booleans()):
        first.append((b"content-length", b"%d" % sum(map(len, pieces))))
    how = draw(st.sampled_from(["head", "data", "empty", "trailers", "reset"]))
    steps = []
    if role == "client" and draw(st.booleans()):
        steps.append(draw(sections(stream, [(b":status", b"103"), *draw(LINES)], end=False)))
    if how == "head":
        first = [line for line in first if line[0] != b"content-length"]
        return [*steps, draw(sections(stream, first, end=True))]
    steps.append(draw(sections(stream, first, end=False)))
    for at, piece in enumerate(pieces):
        last = how == "data" and at == len(pieces) - 1
        steps.append(data(stream, piece, end=last, padding=draw(st.integers(-1, 5)) if piece else -1))
    if how == "trailers":
        steps.append(draw(sections(stream, draw(LINES), end=True)))
    elif how == "reset":
        steps.append(rst_stream(stream, draw(st.integers(0, 13))))
    elif how == "empty" or not pieces:
        steps.append(data(stream, b"", end=True))
    return steps


@st.composite
def right(draw):
    """Return (role, steps): some streams side by side, their frames in any order, all of them right."""
    role = draw(st.sampled_from(ROLES))
    lanes = [draw(exchanges(role, stream)) for stream in STREAMS[: draw(st.integers(1, 3))]]
    steps = []
    begun = 0
    while any(lanes):
        ready = [at for at, lane in enumerate(lanes) if lane and (role == "client" or at <= begun)]
        at = draw(st.sampled_from(ready))
        begun = max(begun, at + 1)
        steps.append(lanes[at].pop(0))
        if draw(st.integers(0, 5)) == 0:
            steps.append(draw(HARMLESS))
    return role, steps


@MANY
@given(right())
def test_right_frames_are_read_the_same(case):
    role, steps = case
    assert disagreement(role, [*START[role], *steps]) is None
    side = Ours(role)
    for step in [*START[role], *steps]:
        outcome = side.step(step)
    assert outcome.error == NONE
    assert all(isinstance(code, int) and code < 14 for code in outcome.resets.values())


# -- and frames that are not


@st.composite
def wrong(draw):
    """Return (role, steps): frames of the fuzz target's corpus in any order, some of them changed."""
    role = draw(st.sampled_from(ROLES))
    corpus = st.sampled_from(REQUESTS if role == "server" else ANSWERS).map(frames_of)
    control = st.sampled_from(CONTROLS).map(frames_of)
    chosen = draw(st.lists(st.one_of(corpus, corpus, control), min_size=1, max_size=5))
    frames = [one for several in chosen for one in several]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(frames) - 1))
        one = frames[at]
        kind = draw(st.sampled_from(["twice", "last", "flag", "stream", "type", "octet", "piece", "cut"]))
        if kind == "twice":
            frames.insert(draw(st.integers(0, len(frames))), one)
        elif kind == "last":
            frames.append(frames.pop(at))
        elif kind == "flag":
            one = one[:4] + bytes((one[4] ^ 1 << draw(st.integers(0, 7)),)) + one[5:]
        elif kind == "stream":
            one = one[:8] + bytes((draw(st.sampled_from([0, 1, 2, 3, 5, 7, 9])),)) + one[9:]
        elif kind == "type":
            one = one[:3] + bytes((draw(st.integers(0, 10)),)) + one[4:]
        else:
            payload = one[9:]
            place = draw(st.integers(0, len(payload)))
            if kind == "octet":
                payload = payload[:place] + bytes((draw(st.integers(0, 255)),)) + payload[place + 1 :]
            elif kind == "piece":
                payload = payload[:place] + draw(st.sampled_from(PIECES)) + payload[place:]
            else:
                payload = payload[:place] + payload[place + draw(st.integers(1, 5)) :]
            one = len(payload).to_bytes(3, "big") + one[3:9] + payload
        if kind not in ("twice", "last"):
            frames[at] = one
    steps = list(frames)
    for _ in range(draw(st.integers(0, 2))):
        action = (draw(st.sampled_from([ANSWER, RESET])), draw(st.sampled_from(STREAMS)))
        steps.insert(draw(st.integers(0, len(steps))), action)
    return role, steps


@MANY
@given(wrong())
def test_wrong_frames_are_read_the_same_or_the_difference_is_explained(case):
    check(*case)


@pytest.mark.parametrize("role", ROLES)
def test_the_corpus(role):
    for message in (*(REQUESTS if role == "server" else ANSWERS), *CONTROLS):
        check(role, frames_of(message))


def test_an_unexplained_disagreement_fails(monkeypatch):
    monkeypatch.setitem(globals(), "EXPLAINED", ())
    with pytest.raises(pytest.fail.Exception, match="theirs"):
        check("server", [headers(1, b"\x80")])
