"""Batches: one size, one order, one address."""

import pytest
from tests.unit.engine.quic.peers import CLIENT, DELAY, SERVER, Link, Talk, new_client

from headgate.engine.quic.acks import ECT_0
from headgate.engine.quic.path import MAX_BATCH, MAX_BATCH_OCTETS, Batch
from headgate.engine.quic.settings import DATAGRAM, MAX_DATAGRAM, ConnectionSettings


def batches(side, now):
    found = []
    while (batch := side.take_batch(now)) is not None:
        found.append(batch)
    return found


def test_a_batch_is_cut_where_its_datagrams_end():
    batch = Batch(b"aaabbbcc", 3, SERVER, b"", 0)
    assert batch.datagrams() == [b"aaa", b"bbb", b"cc"]
    assert "8 octets by 3 to 192.0.2.2 port 443" in repr(batch)


def upload(size):
    link = Link(new_client()).shake()
    link.work = {link.client: Talk(b"x" * size)}
    link.run(lambda: link.client.recovery.controller.window > 60 * DATAGRAM)
    return link


def test_datagrams_of_a_batch_have_one_size_but_the_last():
    link = upload(1_000_000)
    link.now += 10 * DELAY
    link.client.on_deadline(link.now)
    found = batches(link.client, link.now)
    assert max(len(batch.datagrams()) for batch in found) > 5
    for batch in found:
        *whole, last = batch.datagrams()
        assert {len(datagram) for datagram in whole} <= {MAX_DATAGRAM}
        assert len(last) <= batch.segment == (MAX_DATAGRAM if whole else len(last))
        assert len(whole) < MAX_BATCH
        assert (batch.peer, batch.local, batch.ecn) == (SERVER, b"", ECT_0)


@pytest.mark.parametrize("size", [3, DATAGRAM - 1])
def test_a_batch_is_taken_in_datagram_by_datagram(size):
    link = Link(new_client()).shake()
    server = link.server
    server.dropped.clear()
    server.receive_batch(b"\x40" * (2 * size + 1), size, CLIENT, b"", 0, link.now)
    assert sum(server.dropped.values()) == 3


@pytest.mark.parametrize("datagram", [1200, 1452, 9000])
def test_a_batch_is_no_more_than_one_call_takes(datagram):
    link = Link(new_client(settings=ConnectionSettings(max_datagram=datagram))).shake()
    theirs = Talk(opens=False)
    link.work = {link.client: Talk(bytes(3_000_000)), link.server: theirs}
    sizes = []
    carry = link._carry
    link._carry = lambda to_server, one, batch: (sizes.append(len(batch.data)), carry(to_server, one, batch))
    link.run(lambda: theirs.finished)
    most = min(MAX_BATCH, MAX_BATCH_OCTETS // datagram)
    assert max(sizes) <= most * datagram <= MAX_BATCH_OCTETS
    assert max(sizes) > 10 * 1200
