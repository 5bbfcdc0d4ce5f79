"""The queue of control frames: in order, each once."""

from headgate.engine.quic.control_queue import ControlQueue


def test_each_waits_once_and_keeps_its_place():
    queue = ControlQueue()
    for stream, kind in ((0, 0x10), (4, 0x11), (0, 0x10), ((1 << 62) - 1, 0x05), (4, 0x11)):
        queue.add(stream, kind)
    assert len(queue) == 3
    assert [queue.take() for _ in range(3)] == [(0x10, 0), (0x11, 4), (0x05, (1 << 62) - 1)]
    assert len(queue) == 0
