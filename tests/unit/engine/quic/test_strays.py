"""Forged packets from addresses that a connection does not use."""

from tests.unit.engine.quic.peers import CLIENT, Link, Talk, brief_client

from headgate.engine.quic.strays import MAX_STRAYS, STRAY_SECONDS, Strays


def test_strays_at_the_limit_and_one_more():
    strays = Strays()
    for _ in range(MAX_STRAYS):
        strays.count(5.0)
    assert strays.until == 0.0
    strays.count(5.0)
    assert strays.until == 5.0 + STRAY_SECONDS
    assert repr(strays) == "<Strays 0, ignored until 15.000>"


def test_strays_are_counted_by_windows():
    strays = Strays()
    for now in (1.0, 1.0 + STRAY_SECONDS, 1.0 + 2 * STRAY_SECONDS):
        for _ in range(MAX_STRAYS):
            strays.count(now)
    assert strays.until == 0.0


def test_forged_packets_from_elsewhere_are_ignored_after_a_while_and_the_path_in_use_never():
    link = Link(brief_client()).shake()
    server = link.server
    forged = b"\x40" + server.source + bytes(40)
    batch = forged * 50
    elsewhere = ("203.0.113.9", 4000)
    for peer in (CLIENT, elsewhere):
        for _ in range(MAX_STRAYS // 50 + 1):
            server.receive_batch(batch, len(forged), peer, b"", 0, link.now)
    assert server.dropped["forged"] == 2 * (MAX_STRAYS + 50)
    before = server.dropped["forged"]
    server.receive_batch(batch, len(forged), ("198.51.100.7", 1), b"", 0, link.now)
    assert server.dropped["forged"] == before
    assert server.dropped["strays"] == 1
    link.work[server] = listener = Talk(opens=False)
    link.work[link.client] = Talk(b"still here")
    link.run(lambda: listener.finished)
    # A NAT that forgets the client now costs it those seconds, and no more.
    link.rest(STRAY_SECONDS)
    link.rebind()
    link.work[link.client] = Talk(b"moved")
    link.run(lambda: len(listener.finished) == 2)
    assert link.is_open()
