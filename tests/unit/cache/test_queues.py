"""Who leaves next. What that is good for, test_memory.py has."""

from headgate.cache.entry import KeyEntry
from headgate.cache.queues import USES_COUNTED, Queues


def node_of(name, octets=100):
    node = KeyEntry(name)
    node.octets = octets
    return node


def filled(budget, *names):
    queues = Queues(budget)
    nodes = [node_of(name) for name in names]
    for node in nodes:
        queues.come(node)
    return queues, nodes


def test_the_oldest_that_nobody_asked_for_twice_leaves():
    queues, (first, second, third) = filled(1000, b"a", b"b", b"c")
    first.uses, second.uses = USES_COUNTED, 1
    assert queues.victim(None) is second
    assert first.is_main
    assert not third.is_main
    assert len(queues) == 3  # it is there until it leaves
    queues.leave(second)
    assert (len(queues), repr(queues)) == (2, "<Queues 1 small, 1 main>")


def test_what_is_to_be_kept_never_leaves():
    queues, (first, second) = filled(1000, b"a", b"b")
    assert queues.victim(first) is second
    queues.leave(second)
    assert queues.victim(first) is None
    assert queues.victim(None) is first
    queues.leave(first)
    assert queues.victim(None) is None


def test_who_comes_back_as_a_ghost_is_in_the_main_queue():
    queues, (first, _) = filled(1000, b"a", b"b")
    assert queues.victim(None) is first
    queues.leave(first)
    back = node_of(b"a")
    queues.come(back)
    assert back.is_main


def test_each_use_buys_a_round():
    queues, nodes = filled(1000, b"a", b"b", b"c")
    for node in nodes:
        node.uses = USES_COUNTED
    assert (
        queues.victim(None) is nodes[0]
    )  # two have moved to the main queue, and no use counts that came before
    nodes[0].uses = 1
    assert queues.victim(None) is nodes[1]
    assert nodes[0].uses == 0


def test_the_small_queue_gives_what_the_main_one_cannot():
    kept, other = node_of(b"a", 100), node_of(b"b", 10)
    kept.uses = USES_COUNTED
    queues = Queues(1000)
    queues.come(kept)
    queues.come(other)
    assert queues.victim(kept) is other
    assert kept.is_main
