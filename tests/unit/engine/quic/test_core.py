"""How connections end (RFC 9000 section 10)."""

import pytest
from tests.unit.engine.quic.peers import (
    Link,
    brief_client,
    flushed,
    initial,
    initial_keys,
    new_client,
    new_server,
    receive,
)

from headgate.engine.quic.closing import State
from headgate.engine.quic.errors import (
    APPLICATION_ERROR,
)
from headgate.engine.quic.rtt import NEVER


@pytest.mark.parametrize("by_client", [True, False])
def test_rfc9000_10_2_closing_and_draining(by_client):
    link = Link(new_client()).shake()
    one, other = (link.client, link.server) if by_client else (link.server, link.client)
    one.close(0x0105, "enough", link.now)
    (datagram,) = flushed(one, link.now)
    receive(other, datagram, link.now)
    assert (one.state, other.state) == (State.CLOSING, State.DRAINING)
    assert (other.end.code, other.end.reason, other.end.is_application) == (0x0105, "enough", True)
    assert (one.end.is_ours, other.end.is_ours) == (True, False)
    assert flushed(other, link.now) == []
    answered = []
    for count in range(1, 17):
        receive(one, b"\x40" * 40, link.now)
        if flushed(one, link.now) == [datagram]:
            answered.append(count)
    assert answered == [1, 2, 4, 8, 16]
    for side in (one, other):
        due = side.deadline()
        assert link.now < due < link.now + 2.0
        side.on_deadline(due)
        assert side.state is State.CLOSED
        assert side.deadline() == NEVER
        receive(side, datagram, due)
        assert flushed(side, due) == []


def test_rfc9000_10_2_3_a_reason_of_the_application_is_not_shown_in_the_handshake():
    client = brief_client()
    (first,) = flushed(client, 0.0)
    server = new_server(first)
    client.close(0x0105, "enough", 0.0)
    (datagram,) = flushed(client, 0.0)
    assert len(datagram) == 1200
    receive(server, datagram, 0.0)
    assert (server.end.code, server.end.reason, server.end.is_application) == (APPLICATION_ERROR, "", False)


def test_rfc9000_8_1_a_close_is_not_repeated_beyond_three_times_as_much():
    (first,) = flushed(brief_client(), 0.0)
    server = new_server(first)
    receive(server, initial(initial_keys(first), first, b"\x1e"), 0.0)
    assert server.state is State.CLOSING
    sent = flushed(server, 0.0)
    received = len(first)
    for _ in range(2000):
        receive(server, b"\x40", 0.0)
        received += 1
        sent += flushed(server, 0.0)
    assert 1 < len(sent) <= 12
    assert sum(map(len, sent)) <= 3 * received
