"""How the conformance tests ask an engine: read some octets, or see them refused."""

import pytest

from headgate.engine.events import Event, Request
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.machine import FAILED
from headgate.engine.h1.server import ServerEngine
from headgate.errors import RemoteProtocolError
from headgate.http.fields import Fields


def _fields(*pairs):
    fields = Fields([], [])
    for name, value in pairs:
        fields.add(name.lower(), value, name)
    return fields


def _engine(role, method=b"GET", upgrade=b""):
    if role == "server":
        return ServerEngine()
    engine = ClientEngine()
    request = Request(method, b"a:1" if method == b"CONNECT" else b"/", 11, _fields((b"Host", b"a")))
    request.upgrade = upgrade
    engine.send(request)
    engine.take_output()
    return engine


def _events(engine):
    events: list[Event] = []
    while (event := engine.next_event()) is not None:
        events.append(event)
    return events


@pytest.fixture
def fields():
    """Make a field section of (name, value) pairs."""
    return _fields


@pytest.fixture
def engine_of():
    """Make an engine; a client's has sent a request already."""
    return _engine


@pytest.fixture
def read():
    """Read octets in a role; return (engine, events)."""

    def _read(role, data, *, method=b"GET", upgrade=b"", eof=False):
        engine = _engine(role, method, upgrade)
        engine.receive(data)
        events = _events(engine)
        if eof:
            engine.receive_eof()
            events += _events(engine)
        return engine, events

    return _read


@pytest.fixture
def refused():
    """Read octets that must be refused; return (status, reason). The engine must be FAILED and closing."""

    def _refused(role, data, *, method=b"GET", eof=False):
        engine = _engine(role, method)
        engine.receive(data)
        if eof:
            _events(engine)
            engine.receive_eof()
        with pytest.raises(RemoteProtocolError) as caught:
            _events(engine)
        assert engine.receiving == FAILED
        assert engine.must_close
        assert not engine.exchange_over
        assert engine.next_event() is None, "nothing behind a refusal is read"
        return caught.value.code, caught.value.reason

    return _refused
