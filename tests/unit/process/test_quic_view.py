"""The keeper adds up what the workers counted, and shows what those that live saw last."""

from headgate.counters import QUIC_DROPPED_FIRST, QUIC_DROPS, QUIC_OPEN, CounterPage, Counters
from headgate.process.quic_sample import SamplePage
from headgate.process.quic_view import QuicView


def test_totals_are_summed_and_dead_workers_show_nothing(tmp_path):
    pages, samples = {}, []
    for slot in range(2):
        counters = Counters(CounterPage())
        counters.values[QUIC_OPEN] = 3
        counters.values[QUIC_DROPPED_FIRST + QUIC_DROPS.index("bad-initial")] = 5
        counters.publish()
        pages[f"worker {slot}"] = counters.page
        samples.append(SamplePage())
        samples[-1].store([{"worker": slot}])
    switched = []
    view = QuicView(samples, switched.append, tmp_path)
    found = view.describe(pages, {1: 4711})
    assert found["connections"] == 6
    assert found["dropped"] == {"bad-initial": 10}
    assert found["worst"] == [{"worker": 1}]
    view.switch(True)
    assert switched == [True]
