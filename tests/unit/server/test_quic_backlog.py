"""What was read and waits: turns, shares, and what comes beyond them."""

from headgate.server.quic_backlog import (
    LEAST_WEIGHT,
    MAX_BACKLOG,
    MAX_SHARED,
    QUEUE_WEIGHT,
    SMALL,
    TURN,
    TURN_OF_STRANGERS,
    Backlog,
    Waiting,
)

PEER = ("192.0.2.1", 4433)


def waiting(data, segment):
    return Waiting(data, segment, PEER, b"", 0)


def put(backlog, key, item):
    """Put what there is room for; tell whether there was."""
    has_room = backlog.has_room(key, len(item.data), item.segment)
    if has_room:
        backlog.put(key, item)
    return has_room


def taken(backlog):
    found = []
    while backlog.take() is not None:
        found.append(backlog.data)
    return found


def test_who_is_alone_is_served_in_the_batches_that_came():
    backlog = Backlog()
    batch = bytes(60 * 1000)
    assert put(backlog, "a", waiting(batch, 1000))
    item = backlog.take()
    assert backlog.data is batch
    assert (item.segment, item.peer, item.local, item.ecn) == (1000, PEER, b"", 0)
    assert len(backlog) == backlog.weight == 0
    assert backlog.take() is None


def test_all_have_their_turn():
    backlog = Backlog()
    backlog.put("a", waiting(b"a" * 40 * 300, 300))
    backlog.put(None, waiting(b"n" * 5 * 300, 300))
    backlog.put("b", waiting(b"b" * 300, 300))
    turns = [(data[:1], len(data) // 300) for data in taken(backlog)]
    assert turns == [
        (b"a", TURN),
        (b"n", TURN_OF_STRANGERS),
        (b"b", 1),
        (b"a", TURN),
        (b"n", TURN_OF_STRANGERS),
        (b"a", 40 - 2 * TURN),
        (b"n", 1),
    ]
    assert backlog.weight == 0


def test_nothing_is_lost_and_each_keeps_its_order():
    backlog = Backlog()
    for at in range(200):
        backlog.put(at % 3, waiting(at.to_bytes(2, "big") * 150, 300))
    found = [int.from_bytes(data[:2], "big") for data in taken(backlog)]
    assert sorted(found) == list(range(200))
    assert all(mine == sorted(mine) for mine in ([at for at in found if at % 3 == key] for key in range(3)))


def test_a_share_at_the_limit_and_one_more():
    backlog = Backlog()
    most = MAX_BACKLOG // 2 // 1000
    assert all(put(backlog, "a", waiting(bytes(1000), 1000)) for _ in range(most))
    assert not put(backlog, "a", waiting(bytes(1000), 1000))
    assert put(backlog, "b", waiting(bytes(1000), 1000))
    taken(backlog)
    assert put(backlog, "a", waiting(bytes(1000), 1000))


def test_small_datagrams_weigh_what_it_costs_to_keep_them():
    backlog = Backlog()
    backlog.put("a", waiting(bytes(64 * 10), 10))
    assert backlog.weight == 64 * LEAST_WEIGHT + QUEUE_WEIGHT


def test_all_together_hold_no_more_than_there_is():
    backlog = Backlog()
    for at in range(20_000):
        put(backlog, at % 50, waiting(bytes(1200), 1200))
    assert backlog.weight <= MAX_BACKLOG


def test_a_batch_of_each_of_many_connections_is_no_more_than_there_is():
    """And one who sends little is heard all the same, until that is too much as well."""
    backlog = Backlog()
    batch = bytes(64_000)
    held = sum(put(backlog, key, waiting(batch, 1000)) for key in range(2000))
    assert held == MAX_SHARED // (64_000 + QUEUE_WEIGHT)
    first = sum(put(backlog, key, waiting(bytes(SMALL), 1500)) for key in range(10_000, 20_000))
    assert first >= 250
    assert MAX_BACKLOG - SMALL - QUEUE_WEIGHT < backlog.weight <= MAX_BACKLOG
    assert not put(backlog, 10_000, waiting(bytes(SMALL), 1500))  # a second one
    taken(backlog)
    assert backlog.weight == len(backlog) == 0


def test_what_was_served_is_let_go_of():
    backlog = Backlog()
    for _ in range(3):
        backlog.put("a", waiting(bytes(60_000), 1000))
        backlog.put("b", waiting(bytes(1000), 1000))
    while backlog.take() is not None:
        waits = sum(len(item.data) for queue in backlog._queues.values() for item in queue.items)
        assert backlog.weight == waits + QUEUE_WEIGHT * len(backlog)
