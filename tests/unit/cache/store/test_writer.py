"""The writer: batches, orders, workers that die, disks that fail."""

import os
import shutil
import socket
import struct

import pytest
from tests.unit.cache.store.responses import key_of, listening, response

from headgate.cache.purges import TAG
from headgate.cache.store import messages, writer
from headgate.cache.store.bodies import INCOMING, Upload
from headgate.cache.store.format import CorruptError, encode, variant_id
from headgate.cache.store.index import Index
from headgate.cache.store.kept import BESIDE, MAX_KEPT
from headgate.cache.store.writer import BATCH_AGE, PAUSE, URGENT_AGE, Writer

BUDGET = 4 << 20


class Rig:
    """A writer that is stepped by hand, and one worker."""

    def __init__(self, disk, boot_id="this-boot"):
        self.root = disk / "cache"
        self.now = 100.0
        self.warnings = []
        path = disk / "writer.sock"
        path.unlink(missing_ok=True)
        self.listener = listening(path)
        self.writer = Writer(
            str(self.root),
            BUDGET,
            self.listener,
            lambda word, detail: self.warnings.append((word, detail)),
            lambda: self.now,
            boot_id,
        )
        self.worker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.worker.settimeout(2.0)
        self.worker.connect(str(path))
        self.step()

    def step(self, times=1):
        for _ in range(times):
            self.writer.step(0.0)

    def send(self, *packets):
        for packet in packets:
            self.worker.send(packet)
            self.step()

    def sync(self):
        """Return octets and objects once everything sent is in the index."""
        self.worker.send(messages.sync(7))
        self.step()
        answer = self.worker.recv(100)
        while answer[:1] == b"W":
            answer = self.worker.recv(100)
        assert answer[:9] == b"S" + struct.pack("<Q", 7)
        return struct.unpack("<QQ", answer[9:])

    def close(self):
        if self.listener.fileno() >= 0:
            self.writer.close()
        self.worker.close()
        self.listener.close()


@pytest.fixture
def rigs(disk):
    """Return what makes rigs, one after the other, in one place."""
    made = []

    def make(boot_id="this-boot"):
        made.append(Rig(disk, boot_id))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(rigs):
    return rigs()


def put(number, size=100, **more):
    return messages.put(encode(response(key_of(number), bytes(size), **more), bytes(size)))


def test_a_batch_is_written_when_it_is_old_enough(rig):
    rig.send(put(1), put(2))
    assert rig.writer.index.state.objects == 0
    rig.now += BATCH_AGE
    rig.step()
    assert (rig.writer.index.state.objects, rig.writer.batches) == (2, 1)


@pytest.mark.parametrize("urgent", [messages.remove(b"key", 1.0), messages.purge(TAG, b"tag", False, 1)])
def test_invalidations_and_purges_do_not_wait_for_a_batch(rig, urgent):
    rig.send(put(1), urgent)
    assert rig.writer.batches == 0
    rig.now += URGENT_AGE
    rig.step()
    assert rig.writer.batches == 1
    rig.send(put(2))
    rig.now += URGENT_AGE
    rig.step()
    assert rig.writer.batches == 1  # the next one may wait again


def test_a_batch_is_written_when_it_is_large_enough(rig, monkeypatch):
    monkeypatch.setattr(writer, "BATCH_PACKETS", 3)
    rig.send(put(1), put(2))
    assert rig.writer.batches == 0
    rig.send(put(3))
    assert (rig.writer.index.state.objects, rig.writer.batches) == (3, 1)


def test_who_asks_waits_for_all_before(rig):
    rig.send(put(1), put(2))
    octets, objects = rig.sync()
    assert objects == 2
    assert octets > 200


def test_order_is_kept(rig):
    rig.send(put(1), put(2), messages.remove(key_of(1), 0.0), put(3), messages.remove(key_of(2), 0.0), put(2))
    assert rig.sync()[1] == 2
    rig.send(
        messages.purge(TAG, b"news", False, 5),
        put(4, tags=[b"news"], generation=4),
        put(5, tags=[b"news"], generation=5),
    )
    assert rig.sync()[1] == 3


def test_what_was_read_is_noted(rig):
    rig.send(put(1, 60_000), messages.touch([variant_id(response(key_of(1)))]))
    assert rig.sync()[1] == 1
    rig.writer.index.put_all([put(number, 60_000)[1:] for number in range(100, 170)], 0.0)
    with rig.writer.index._env.begin(db=rig.writer.index._objects) as txn:
        assert txn.get(variant_id(response(key_of(1)))) is not None


@pytest.mark.parametrize(
    "packet", [b"?", b"P", b"R", b"G", b"T", b"Rshort", b"Gshort", b"S", b"P" + bytes(1000)]
)
def test_packets_that_make_no_sense(rig, packet):
    rig.send(packet, put(1))
    rig.worker.send(messages.sync(7))
    rig.step()
    assert rig.writer.index.state.objects == 1
    assert rig.warnings == []


def test_a_worker_that_dies_leaves_nothing(rig):
    mine, other = (Upload(str(rig.root), f"{pid}.aa") for pid in (os.getpid(), os.getpid() + 1))
    mine.close()
    other.close()
    rig.worker.close()
    rig.step()
    assert os.listdir(rig.root / INCOMING) == [other.name]


def test_what_was_unfinished_at_the_start_is_gone(rigs):
    first = rigs()
    Upload(str(first.root), "1.aa").close()
    first.close()
    second = rigs()
    assert os.listdir(second.root / INCOMING) == []
    second.close()


def test_strays_are_looked_for_a_directory_at_a_time(rigs):
    first = rigs()
    first.close()
    stray = first.root / "files" / "ff" / "1.ff"
    stray.write_bytes(b"")
    second = rigs()
    assert stray.exists()
    second.step(256)
    assert not stray.exists()
    second.close()


def test_purges_are_swept_by_and_by(rig, monkeypatch):
    monkeypatch.setattr(writer, "_SWEEP", 2)
    rig.send(*(put(number) for number in range(5)), messages.purge(0, b"", False, 1))
    rig.sync()
    rig.step(3)
    assert rig.writer.index.state.objects == 0


def test_two_writers_of_one_root(rig, disk):
    with listening(disk / "second.sock") as listener:
        warnings = []
        second = Writer(str(rig.root), BUDGET, listener, lambda *words: warnings.append(words))
        second.step(0.0)
        assert second.index is None
        assert warnings[0][0] == "cache-disk-unusable"
        second.close()


class FailingIndex:
    """An index whose disk fails."""

    def __init__(self, index, error):
        self.index, self.error = index, error
        self.state = index.state

    def put_all(self, records, now):
        raise self.error

    def close(self):
        self.index.close()

    def __getattr__(self, name):
        return getattr(self.index, name)


def test_a_disk_that_fails_is_left_alone_for_a_while(rig):
    rig.writer.index = FailingIndex(rig.writer.index, OSError(5, "Input/output error"))
    rig.send(put(1))
    assert rig.sync() == (0, 0)
    assert len(rig.warnings) == 1
    word, detail = rig.warnings[0]
    assert word == "cache-disk-unusable"
    assert "Input/output error" in detail
    assert str(rig.root) in detail
    rig.send(put(2))
    assert (rig.writer.index, rig.writer.dropped) == (None, 2)
    rig.now += PAUSE
    rig.send(put(3))
    assert rig.sync()[1] == 1
    assert len(rig.warnings) == 1


def test_a_full_disk_makes_the_budget_smaller(rig):
    rig.send(*(put(number, 60_000) for number in range(30)))
    octets = rig.sync()[0]
    rig.writer.index = FailingIndex(rig.writer.index, OSError(28, "No space left on device"))
    rig.send(put(100))
    rig.sync()
    rig.now += PAUSE
    rig.step()
    assert rig.writer.index.budget == octets * 9 // 10
    rig.send(put(101))
    assert rig.sync()[0] <= octets * 9 // 10


def test_an_index_that_cannot_be_made_is_a_warning(rigs, disk):
    (disk / "cache").write_bytes(b"a file stands in the way")
    rig = rigs()
    assert rig.writer.index is None
    assert [word for word, _ in rig.warnings] == ["cache-disk-unusable"]
    rig.send(put(1))
    assert rig.writer.dropped == 1
    rig.close()


@pytest.mark.parametrize("harm", ["cut", "empty", "noise"])
def test_a_damaged_index_is_begun_anew(rigs, harm):
    first = rigs()
    first.send(*(put(number, 5000) for number in range(50)))
    first.sync()
    first.close()
    path = first.root / "index" / "data.mdb"
    if harm == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif harm == "empty":
        os.truncate(path, 5000)
    else:
        path.write_bytes(os.urandom(path.stat().st_size))
    second = rigs()
    assert [word for word, _ in second.warnings] == ["cache-disk-damaged"]
    second.send(put(1))
    assert second.sync()[1] == 1
    second.close()


@pytest.mark.slow
def test_after_the_machine_went_down_the_index_is_walked_through(rigs):
    """Noise over pages in the middle is what a walk finds, in a child that may crash of it."""
    first = rigs()
    first.send(*(put(number, 5000) for number in range(50)))
    first.sync()
    first.writer.index.close()
    first.writer.index = None  # it was never closed: the note of its boot stands
    first.close()
    path = first.root / "index" / "data.mdb"
    sound = path.read_bytes()
    again = rigs("this-boot")
    assert (again.warnings, again.writer.index.state.objects) == ([], 50)
    again.writer.index.close()
    again.writer.index = None
    again.close()
    whole = rigs("next-boot")
    assert (whole.warnings, whole.writer.index.state.objects) == ([], 50)
    whole.writer.index.close()
    whole.writer.index = None
    whole.close()
    torn = bytearray(path.read_bytes())
    assert len(torn) >= len(sound)
    for page in range(2, len(torn) // 4096):
        torn[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(torn)
    damaged = rigs("boot-after-next")
    assert [word for word, _ in damaged.warnings] == ["cache-disk-damaged"]
    assert damaged.writer.index.state.objects == 0
    damaged.close()


def test_closing_writes_what_was_read(rigs):
    rig = rigs()
    rig.send(put(1))
    rig.close()
    index = Index(str(rig.root), BUDGET)
    assert index.state.objects == 1
    index.close()


def test_it_runs_until_it_is_told(rigs):
    rig = rigs()
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        rig.writer.run(ours.fileno())
    assert rig.writer.index is None


def test_another_listener_takes_over_and_nobody_who_has_come_is_turned_away(rig, disk):
    rig.send(messages.put(encode(response(key_of(1)), b"content")))
    late = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    late.settimeout(2.0)
    late.connect(str(disk / "writer.sock"))
    late.send(messages.put(encode(response(key_of(2)), b"content")))
    os.unlink(disk / "writer.sock")
    rig.listener = listening(disk / "writer.sock")
    rig.writer.listen(rig.listener)
    again = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    again.connect(str(disk / "writer.sock"))
    again.send(messages.put(encode(response(key_of(3)), b"content")))
    rig.step(5)
    assert rig.sync()[1] == 3
    late.close()
    again.close()


def failed(rig):
    """Have the disk fail with the next record."""
    rig.writer.index = FailingIndex(rig.writer.index, OSError(5, "Input/output error"))
    rig.send(put(1000))


def test_what_is_invalidated_and_purged_while_the_disk_is_away_is_so_when_it_is_back(rig):
    rig.send(put(1), put(2, tags=[b"t"]), put(3))
    assert rig.sync()[1] == 3
    failed(rig)
    rig.send(messages.remove(key_of(1), 0.0))  # in the batch that fails
    assert rig.sync() == (0, 0)
    rig.send(messages.purge(TAG, b"t", False, 7), put(4))
    assert rig.writer.index is None
    rig.now += PAUSE
    rig.send(put(5))
    rig.now += BATCH_AGE
    rig.step(3)
    assert rig.sync()[1] == 2, "what was neither: 3 and 5"
    assert rig.writer.index.purges.generation == 7
    assert [word for word, _ in rig.warnings] == ["cache-disk-unusable"]


def test_one_octet_more_than_is_kept_while_the_disk_is_away_and_the_index_begins_anew(rig):
    rig.send(put(1), put(2))
    assert rig.sync()[1] == 2
    failed(rig)
    rig.sync()
    packet = messages.remove(key_of(2), 0.0)
    for _ in range(MAX_KEPT // (len(packet) + BESIDE)):
        rig.writer._keep(packet)
    assert not rig.writer._kept.is_too_much
    rig.writer._keep(packet)
    rig.now += PAUSE
    rig.step(2)
    assert rig.sync() == (0, 0)
    assert [word for word, _ in rig.warnings] == ["cache-disk-unusable", "cache-disk-damaged"]
    rig.send(put(3))
    assert rig.sync()[1] == 1


def test_a_writer_that_ends_while_the_disk_is_away_writes_first_what_it_kept(rig):
    rig.send(put(1), put(2))
    rig.sync()
    failed(rig)
    rig.sync()
    rig.send(messages.remove(key_of(1), 0.0))
    rig.writer.close()
    index = Index(str(rig.root), BUDGET)
    assert index.state.objects == 1
    index.close()


def test_where_it_cannot_it_leaves_no_index(rig, monkeypatch):
    rig.send(put(1))
    rig.sync()
    failed(rig)
    rig.sync()
    rig.send(messages.remove(key_of(1), 0.0))

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.layout, "make_directories", full)
    rig.writer.close()
    assert os.listdir(rig.root / "index") == []
    words = [word for word, _ in rig.warnings]
    assert "cache-disk-damaged" in words
    assert "cache-disk-outdated" not in words


def test_what_is_invalidated_in_a_damaged_index_that_cannot_be_removed_is_kept(rig):
    rig.send(put(1))
    assert rig.sync()[1] == 1
    rig.writer.index = FailingIndex(rig.writer.index, CorruptError("a page is not what it should be"))
    data, away = rig.root / "index" / "data.mdb", rig.root / "data.mdb"
    os.link(data, away)  # what a disk has still that refuses to remove it
    for name in os.listdir(data.parent):
        os.unlink(data.parent / name)
    (data.parent / "stays").mkdir()
    rig.send(put(2), messages.remove(key_of(1), 0.0))
    rig.sync()
    assert rig.writer.index is None
    (data.parent / "stays").rmdir()
    os.rename(away, data)
    rig.now += PAUSE
    rig.step(2)
    assert rig.sync()[1] == 0
    assert [word for word, _ in rig.warnings] == ["cache-disk-damaged", "cache-disk-unusable"]


def test_an_index_that_is_removed_while_it_is_open_begins_anew(rig):
    rig.send(put(1))
    assert rig.sync()[1] == 1
    shutil.rmtree(rig.root)
    rig.now += 1.0
    rig.step(2)
    assert [(word, "its index was removed" in detail) for word, detail in rig.warnings] == [
        ("cache-disk-damaged", True)
    ]
    rig.send(put(2))
    assert rig.sync()[1] == 1
    assert os.path.exists(rig.root / "index" / "data.mdb")


def test_workers_hear_whether_what_they_say_is_written(rig, disk):
    failed(rig)
    rig.worker.send(messages.sync(7))
    rig.step()
    assert rig.worker.recv(64) == messages.written(False), (
        "before the answer, which says no more than that it came"
    )
    assert rig.worker.recv(64)[:1] == b"S"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as late:
        late.settimeout(2.0)
        late.connect(str(disk / "writer.sock"))
        rig.step()
        assert late.recv(64) == messages.written(False)
        rig.now += PAUSE
        rig.step()
        assert late.recv(64) == messages.written(True)
        assert rig.worker.recv(64) == messages.written(True)
    rig.step()
