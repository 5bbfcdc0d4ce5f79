"""The process that writes the cache on disk: a `Writer` that obeys the supervisor.

It holds no private key and reads no peer but the workers. Without it the workers go on: what is on the disk is read,
and nothing is added. It ends when it is told to drain, or when the supervisor is gone; in both cases it writes what
it has first.
"""

from __future__ import annotations

from typing import Final

from headgate.cache.store.writer import Writer
from headgate.clock import SystemClock
from headgate.counters import (
    CACHE_DISK_EVICTED,
    CACHE_DISK_OBJECTS,
    CACHE_DISK_OCTETS,
    CACHE_DISK_UNWRITTEN,
    MEMORY_BYTES,
    OPEN_FILES,
    STARTED_AT,
    WORKER_GENERATION,
    Counters,
)
from headgate.process.channel import MAX_FROM_SUPERVISOR, Channel, Kind, encode_frame
from headgate.process.start import CacheWriterStart
from headgate.telemetry.event_log import EventLog
from headgate.telemetry.process_stats import open_files, resident_bytes

# How often the counters are written, in seconds.
_PUBLISH: Final = 1.0


def cache_writer_main(start: CacheWriterStart) -> int:
    """Be the writer: the whole life of its process."""
    events = EventLog(process="cache writer")

    def warn(word: str, detail: str) -> None:
        events.event(word, "warning", detail=detail)

    clock = SystemClock()
    counters = Counters(start.page)
    counters.values[WORKER_GENERATION] = start.generation
    counters.values[STARTED_AT] = int(clock.wall())
    writer = Writer(start.root, start.budget, start.door.listener, warn)
    channel = Channel(start.control, MAX_FROM_SUPERVISOR)
    start.control.setblocking(False)
    channel.send(encode_frame(Kind.READY, {"snapshot": 0}))
    writer.watch(start.control)
    publish_at = 0.0
    while not _is_told_to_end(channel, writer.turn()):
        if clock.now() >= publish_at:
            publish_at = clock.now() + _PUBLISH
            if start.door.look(clock.now(), events.event):
                writer.listen(start.door.listener)
            _publish(writer, counters)
            events.sweep()
    writer.close()
    _publish(writer, counters)
    channel.close()
    events.close()
    return 0


def _is_told_to_end(channel: Channel, is_readable: bool) -> bool:
    if not is_readable:
        return False
    messages = channel.receive()
    return channel.eof or any(message.kind is Kind.DRAIN for message in messages)


def _publish(writer: Writer, counters: Counters) -> None:
    values = counters.values
    index = writer.index
    values[CACHE_DISK_OCTETS] = index.state.octets if index is not None else 0
    values[CACHE_DISK_OBJECTS] = index.state.objects if index is not None else 0
    if index is not None:
        values[CACHE_DISK_EVICTED] = index.evictions
    values[CACHE_DISK_UNWRITTEN] = writer.dropped
    values[MEMORY_BYTES] = resident_bytes()
    values[OPEN_FILES] = open_files()
    counters.publish()
