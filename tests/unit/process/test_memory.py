"""One warning for each climb over the mark."""

from headgate.process.memory import MemoryWatch


class Events(list):
    def event(self, name, level="info", **fields):
        self.append((name, level, fields))


def test_one_line_for_each_climb():
    events, held = Events(), {}
    watch = MemoryWatch(0.8, 2, events, limit=lambda: 2000, resident=held.__getitem__)
    pids = {0: 100, 1: 101}
    said = []
    for first in (800, 801, 900, 799, 721, 801, 719, 801):
        held.update({100: first, 101: 10})
        events.clear()
        watch.look(pids)
        said.append(len(events))
    assert said == [0, 1, 0, 0, 0, 0, 0, 1]
    name, level, fields = events[0]
    assert (name, level) == ("memory-high", "warning")
    assert (fields["child"], fields["pid"], fields["resident_bytes"]) == ("worker 0", 100, 801)
    assert fields["part_bytes"] == 1000


def test_a_restarted_worker_is_watched_anew():
    events, held = Events(), {100: 900, 200: 900}
    watch = MemoryWatch(0.8, 1, events, limit=lambda: 1000, resident=held.__getitem__)
    watch.look({0: 100})
    watch.look({})
    watch.look({0: 200})
    assert [fields["pid"] for _, _, fields in events] == [100, 200]
