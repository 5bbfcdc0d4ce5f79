"""The machines of the two directions: the table as it is read, and how each of its rows comes about."""

import pytest

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request, Response
from headgate.engine.h1 import machine
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.machine import TABLE, Input, State, step
from headgate.engine.h1.server import ServerEngine
from headgate.errors import LocalProtocolError, RemoteProtocolError
from headgate.http.fields import Fields

PRINTED = """\
            INTERIM HEAD_EMPTY HEAD_LENGTH HEAD_CHUNKED HEAD_UNTIL_CLOSE HEAD_SWITCH DATA        END  REUSE CLOSE  FAIL
IDLE        IDLE    DONE       LENGTH      CHUNKED      UNTIL_CLOSE      SWITCHED    -           -    -     CLOSED FAILED
LENGTH      -       -          -           -            -                -           LENGTH      DONE -     CLOSED FAILED
CHUNKED     -       -          -           -            -                -           CHUNKED     DONE -     CLOSED FAILED
UNTIL_CLOSE -       -          -           -            -                -           UNTIL_CLOSE DONE -     CLOSED FAILED
DONE        -       -          -           -            -                SWITCHED    -           -    IDLE  CLOSED FAILED
SWITCHED    -       -          -           -            -                -           -           -    -     CLOSED FAILED
CLOSED      -       -          -           -            -                -           -           -    -     CLOSED FAILED
FAILED      -       -          -           -            -                -           -           -    -     CLOSED FAILED
"""  # noqa: E501

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def printed(table):
    """Lay the table out: a row for each state, a column for each input."""
    cells = [["", *(given.name for given in Input)]]
    for state in State:
        row = [
            following.name if (following := table.get((state, given))) is not None else "-" for given in Input
        ]
        cells.append([state.name, *row])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = (" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "".join(line.rstrip() + "\n" for line in lines)


def test_the_table_as_it_is_read():
    assert printed(TABLE) == PRINTED


def test_the_flat_table_is_the_same():
    for state in State:
        for given in Input:
            wanted = TABLE.get((state, given))
            if wanted is None:
                with pytest.raises(LocalProtocolError, match=f"^{given.name} in state {state.name}$"):
                    step(state, given)
            else:
                assert step(state, given) == wanted


@pytest.mark.parametrize("kind", [State, Input])
def test_the_plain_numbers_are_those_of_the_enum(kind):
    for member in kind:
        name = member.name
        assert getattr(machine, name) == member, name


# -- every row, reached through an engine


def fields():
    return Fields([], [])


def server(data=GET):
    engine = ServerEngine()
    engine.receive(data)
    engine.next_event()
    return engine


def client(data=b"", method=b"GET"):
    engine = ClientEngine()
    request = Request(method, b"/", 11, fields())
    request.upgrade = b"x"
    engine.send(request)
    engine.receive(data)
    if data:
        engine.next_event()
    return engine


def sending(engine, *events):
    """Send all events; the last one is the step."""
    for event in events[:-1]:
        engine.send(event)
    before = engine.sending
    engine.send(events[-1])
    return before, engine.sending


def receiving(engine, data=b"", eof=False):
    """Receive something, and take events until the state is another one or nothing is left."""
    before = engine.receiving
    engine.receive(data)
    if eof:
        engine.receive_eof()
    try:
        while engine.next_event() is not None and engine.receiving == before:
            pass
    except RemoteProtocolError:
        pass
    return before, engine.receiving


def reuse():
    engine = server()
    engine.send(answer())
    before = engine.sending, engine.receiving
    engine.reuse()
    assert before == (State.DONE, State.DONE)
    assert engine.receiving == State.IDLE
    return before[0], engine.sending


def switch():
    engine = server()
    before = engine.receiving
    engine.switch()
    return before, engine.receiving


def answer(body=0, status=200):
    return Response(status, b"", 11, fields(), body)


TE = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
HTTP10 = b"GET / HTTP/1.0\r\n\r\n"

REACHED = {
    ("IDLE", "INTERIM"): lambda: sending(server(), answer(status=103)),
    ("IDLE", "HEAD_EMPTY"): lambda: receiving(server(b""), GET),
    ("IDLE", "HEAD_LENGTH"): lambda: receiving(server(b""), POST + b"Content-Length: 1\r\n\r\n"),
    ("IDLE", "HEAD_CHUNKED"): lambda: receiving(client(), OK + TE),
    ("IDLE", "HEAD_UNTIL_CLOSE"): lambda: receiving(client(), OK + b"\r\n"),
    ("IDLE", "HEAD_SWITCH"): lambda: receiving(client(), b"HTTP/1.1 101 X\r\n\r\n"),
    ("IDLE", "CLOSE"): lambda: receiving(server(b""), eof=True),
    ("IDLE", "FAIL"): lambda: receiving(server(b""), b"\0"),
    ("LENGTH", "DATA"): lambda: sending(server(), answer(2), Data(b"a")),
    ("LENGTH", "END"): lambda: receiving(server(POST + b"Content-Length: 1\r\n\r\n"), b"a"),
    ("LENGTH", "FAIL"): lambda: receiving(server(POST + b"Content-Length: 1\r\n\r\n"), eof=True),
    ("CHUNKED", "DATA"): lambda: sending(server(), answer(UNKNOWN_LENGTH), Data(b"a")),
    ("CHUNKED", "END"): lambda: sending(server(), answer(UNKNOWN_LENGTH), EndOfMessage()),
    ("CHUNKED", "FAIL"): lambda: receiving(server(POST + TE), b"x"),
    ("UNTIL_CLOSE", "DATA"): lambda: sending(server(HTTP10), answer(UNKNOWN_LENGTH), Data(b"a")),
    ("UNTIL_CLOSE", "END"): lambda: receiving(client(OK + b"\r\n"), eof=True),
    ("DONE", "REUSE"): reuse,
    ("DONE", "HEAD_SWITCH"): switch,
}

UNREACHED = {
    # `close()` sets CLOSED by itself, since it must not raise; the rows say that it may be called at any time.
    **{(state.name, "CLOSE"): "close()" for state in State if state is not State.IDLE},
    # A peer can break nothing there: every octet is content, nobody's yet, or not HTTP any more.
    **{(name, "FAIL"): "total" for name in ("UNTIL_CLOSE", "DONE", "SWITCHED", "CLOSED")},
    # A client whose connection ends before the answer fails in `_eof_before_head` and once more in `next_event`.
    ("FAILED", "FAIL"): "again",
}


def test_every_row_is_reached_or_explained():
    rows = {(state.name, given.name) for state, given in TABLE}
    assert rows == REACHED.keys() | UNREACHED.keys()
    assert not REACHED.keys() & UNREACHED.keys()


@pytest.mark.parametrize(
    ("row", "reach"), REACHED.items(), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_a_row_is_reached(row, reach):
    state, given = State[row[0]], Input[row[1]]
    assert reach() == (state, TABLE[state, given])


def test_closing_is_always_possible():
    for engine in (server(b""), server(), server(POST + TE), client(), client(OK + b"\r\n")):
        engine.close()
        assert (engine.receiving, engine.sending) == (State.CLOSED, State.CLOSED)
        assert engine.must_close
        assert engine.next_event() is None
        with pytest.raises(LocalProtocolError):
            engine.reuse()


def test_closing_keeps_the_word_of_failed_and_switched():
    engine = server(b"")
    receiving(engine, b"\0")
    engine.close()
    assert engine.receiving == State.FAILED
    engine = client(b"HTTP/1.1 101 X\r\n\r\n")
    engine.close()
    assert engine.receiving == State.SWITCHED


def test_a_connection_prints_its_states():
    assert repr(server()) == "<ServerEngine receiving=DONE sending=IDLE>"
    assert repr(client()) == "<ClientEngine receiving=IDLE sending=DONE>"
