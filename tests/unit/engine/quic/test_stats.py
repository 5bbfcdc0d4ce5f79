"""What can be said of a connection at one moment."""

import pytest
from tests.unit.engine.quic.peers import CLIENT, DELAY, Link, new_client
from tests.unit.engine.quic.test_migration import exchange, settled

from headgate.engine.quic.connection_ids import MAX_OWN_IDS
from headgate.engine.quic.packet import VERSION_1
from headgate.engine.quic.settings import MAX_DATAGRAM
from headgate.engine.quic.stats import UNKNOWN


def test_before_anything_came():
    stats = new_client().stats()
    assert (stats.smoothed_rtt, stats.minimum_rtt, stats.packets_received) == (UNKNOWN, UNKNOWN, 0)
    assert (stats.state, stats.version, stats.ecn) == ("open", VERSION_1, "testing")


def test_after_a_while():
    link = settled()
    link.run(exchange(link))
    link.rebind()
    link.run(exchange(link))
    ours, theirs = link.client.stats(), link.server.stats()
    for stats in (ours, theirs):
        assert stats.minimum_rtt == pytest.approx(2 * DELAY)
        assert stats.smoothed_rtt > 0
        assert stats.packets_sent > 100 < stats.packets_received
        assert (stats.ecn, stats.own_ids, stats.peer_ids) == ("testing", MAX_OWN_IDS, MAX_OWN_IDS) or (
            stats.ecn == "capable"
        )
    assert (ours.migrations, theirs.migrations) == (0, 1)
    (active,) = [path for path in theirs.paths if path.is_active]
    assert (active.peer, active.state, active.datagram) == (link.addresses[b""], "validated", MAX_DATAGRAM)
    assert [path.peer for path in theirs.paths if not path.is_active] == [CLIENT]


def test_why_there_are_no_marks():
    link = Link(new_client(), marks=lambda to_server, ecn: 0).shake()
    link.run(exchange(link))
    assert link.client.stats().ecn == "failed: no-counts"
