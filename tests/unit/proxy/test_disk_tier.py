"""The disk behind the memory of one worker: what is written, found and said again. The disk is a stub."""

import errno
import resource
import zlib

import pytest

from headgate.cache.entry import SOFT_PURGED, MemoryBody, StoredResponse
from headgate.cache.fill import Fill
from headgate.cache.memory import MemoryStore
from headgate.cache.pieces import (
    body_at,
)
from headgate.cache.purges import EVERYTHING, GONE, HOST, KEEP, URL, Purges
from headgate.cache.store.admission import Admission
from headgate.cache.store.bodies import CheckedBody, OpenFiles, Upload
from headgate.cache.store.format import FileContent
from headgate.counters import (
    CACHE_DISK_CUT_SHORT,
    CACHE_DISK_DROPPED,
    CACHE_DISK_FOLDED_PURGES,
    CACHE_DISK_FOLDED_REMOVALS,
    CACHE_DISK_GIVEN_UP,
    CACHE_DISK_PAUSED,
    TABLE,
)
from headgate.http.fields import Fields
from headgate.proxy import disk_tier as module
from headgate.proxy.caching import Cache
from headgate.proxy.disk_tier import DiskTier


class Disk:
    """Remembers what it is told; `hears` is whether a writer takes it."""

    def __init__(self):
        self.root = "disk"
        self.budget, self.octets, self.connections = 800, 0, 0
        self.hits = self.misses = self.sent = self.dropped = self.corrupt = 0
        self.is_up = self.hears = True
        self.is_slow = False
        self.is_written = True
        self.asked_at = self.written_until = -1.0
        self.link = self
        self.admission = Admission(1024)
        self.purges = Purges()
        self.responses, self.removed, self.purged, self.stored = {}, [], [], []
        self.failures = []

    def get(self, key):
        return self.responses.get(key, [])

    def has(self, key):
        return key in self.responses

    def fail(self, error):
        self.failures.append(error.errno)

    def spoiled(self, key, what):
        self.corrupt += 1
        self.removed.append((key, 0.0))

    def store(self, variant, content=None, file=None):
        self.stored.append((variant.key, variant.generation))
        return self.hears

    def remove(self, key, moment):
        self.removed.append((key, moment))
        return self.hears

    def purge(self, kind, pattern, is_soft, generation):
        self.purges.add(kind, pattern, is_soft, generation)

    def tell_purge(self, kind, pattern, is_soft, generation):
        self.purged.append((kind, pattern))
        return self.hears

    def touch(self, identifier):
        pass

    def tick(self):
        pass

    def ask(self, now):
        self.asked_at = now

    def answer(self):
        """All is written that was told before the last question."""
        self.written_until = self.asked_at


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def memory():
    return MemoryStore(1 << 20)


@pytest.fixture
def tier(disk, memory):
    return DiskTier(disk, memory, [0] * len(TABLE))


def key_of(number):
    return b"http://example.org/%d" % number


def response(key, at=100.0):
    fields = Fields([b"x-key"], [b"x-key: " + key.split(b"\n", 1)[0]])
    stored = StoredResponse(key, 200, b"OK", fields, MemoryBody([b"content"]))
    stored.request_time = at
    stored.length = 7
    stored.is_complete = True
    return stored


def test_what_is_found_goes_into_memory(tier, disk, memory):
    memory.purge(HOST, b"other.example")  # numbers of memory and disk need not be the same
    disk.responses[key_of(1)] = [response(key_of(1))]
    entry = tier.find(key_of(1))
    assert [variant.key for variant in entry.variants] == [key_of(1)]
    assert memory.get(key_of(1)) is entry
    assert tier.find(key_of(2)) is None


def test_to_know_that_something_is_there_nothing_of_its_file_is_read(tier, disk, memory, tmp_path):
    stored = response(key_of(1))
    (tmp_path / "file").write_bytes(b"another")
    stored.body = CheckedBody(str(tmp_path / "file"), FileContent(b"file", 7, [0]), OpenFiles())
    disk.responses[key_of(1)] = [stored]
    assert tier.find(key_of(1), for_use=False).variants == (stored,)
    assert (len(memory), disk.corrupt) == (0, 0)
    assert tier.find(key_of(1)) is None
    assert disk.corrupt == 1


def test_files_of_a_slow_disk_are_not_read_and_not_forgotten(tier, disk, memory, tmp_path):
    stored = response(key_of(1))
    (tmp_path / "file").write_bytes(b"content")
    body = CheckedBody(str(tmp_path / "file"), FileContent(b"file", 7, [zlib.crc32(b"content")]), OpenFiles())
    stored.body = body
    assert memory.put(stored)
    disk.is_slow = True
    assert not tier.is_there(stored, body)
    disk.is_slow = False
    assert tier.is_there(stored, body)
    assert memory.get(key_of(1)).variants == (stored,)


@pytest.fixture
def no_descriptors():
    """Once it is called no file can be opened any more; what is open stays."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_a_descriptor_nothing_is_taken_for_damaged_or_gone(
    tier, disk, memory, tmp_path, no_descriptors
):
    """The disk is left alone for a while, as where it fails: what is on it is as good as before."""
    (tmp_path / "file").write_bytes(b"content")
    content = FileContent(b"file", 7, [zlib.crc32(b"content")])
    known, other = response(key_of(1)), response(key_of(2))
    known.body = CheckedBody(str(tmp_path / "file"), content, OpenFiles())
    other.body = CheckedBody(str(tmp_path / "file"), content, OpenFiles())
    assert memory.put(known)
    disk.responses[key_of(2)] = [other]
    no_descriptors()
    assert not tier.is_there(known, known.body)
    assert tier.find(key_of(2)) is None
    assert disk.failures == [errno.EMFILE] * 2
    assert (disk.corrupt, disk.removed) == (0, [])
    assert memory.get(key_of(1)).variants == (known,)


def test_a_file_that_is_gone_or_damaged_is_no_failure_of_the_disk(tier, disk, tmp_path):
    content = FileContent(b"file", 7, [zlib.crc32(b"content")])
    (tmp_path / "file").write_bytes(b"damaged")
    for number, name in enumerate(("file", "nowhere")):
        stored = response(key_of(number))
        stored.body = CheckedBody(str(tmp_path / name), content, OpenFiles())
        disk.responses[key_of(number)] = [stored]
        assert tier.find(key_of(number)) is None
    assert (disk.corrupt, disk.failures) == (2, [])
    assert [key for key, _ in disk.removed] == [key_of(0), key_of(1)]


def test_a_free_disk_takes_everything_and_a_full_one_what_is_asked_for_twice(tier, disk):
    disk.octets = 700
    tier.store(response(key_of(1)))
    assert [key for key, _ in disk.stored] == [key_of(1)]
    disk.octets = 701
    tier.store(response(key_of(2)))
    tier.find(key_of(2))
    tier.store(response(key_of(2)))
    assert len(disk.stored) == 1
    tier.find(key_of(2))
    tier.store(response(key_of(2)))
    assert [key for key, _ in disk.stored] == [key_of(1), key_of(2)]


def test_what_is_on_a_full_disk_is_replaced(tier, disk):
    disk.octets = 800
    disk.responses[key_of(1)] = [response(key_of(1))]
    tier.store(response(key_of(1)))
    assert len(disk.stored) == 1


def test_it_is_written_with_the_number_of_the_disks_last_purge(tier, disk, memory):
    disk.purge(HOST, b"other.example", False, 7)
    stored = response(key_of(1))
    tier.store(stored)
    assert disk.stored == [(key_of(1), 7)]
    assert stored.generation == 0


def test_parts_and_what_is_not_complete_are_not_written_but_for_slices(tier, disk):
    part, half = response(key_of(1)), response(key_of(2))
    part.ranges = [(0, 3)]
    half.is_complete = False
    tier.store(part)
    tier.store(half)
    assert disk.stored == []
    slice_ = response(key_of(1) + b"\nslice:1")
    slice_.ranges = [(7, 14)]
    slice_.body = body_at(7, MemoryBody([b"content"]))
    tier.store(slice_)
    assert [key for key, _ in disk.stored] == [slice_.key]


def test_what_was_purged_or_invalidated_while_it_came_is_not_written(tier, disk, memory):
    memory.purge(URL, key_of(1))
    tier.store(response(key_of(1)))
    memory.invalidate(key_of(2), 101.0)
    tier.store(response(key_of(2)))
    tier.remove(key_of(3), 0.0, 101.0)
    tier.store(response(key_of(3)))
    tier.store(response(key_of(3) + b"\npart"))
    assert disk.stored == []
    tier.store(response(key_of(3), at=102.0))
    assert len(disk.stored) == 1


def test_what_was_purged_softly_while_it_came_is_written_as_such(tier, disk, memory):
    """Its record has a later number than the purge, so the purge itself does not meet it any more."""
    stored = response(key_of(1))
    memory.purge(URL, key_of(1), True)
    tier.store(stored)
    assert len(disk.stored) == 1
    assert stored.flags & SOFT_PURGED


def test_a_key_that_is_being_removed_from_the_disk_stays_known_as_not_storable(tier, memory):
    cache = Cache(memory, [0] * len(TABLE), shows=True, disk=tier)
    cache.invalidate(key_of(1), 100.0)
    memory.mark_uncacheable(key_of(1), 160.0)
    entry = cache.find(key_of(1))
    assert entry is not None
    assert entry.uncacheable_until == 160.0


def test_what_was_invalidated_is_not_found_until_the_writer_has_it(tier, disk):
    disk.responses[key_of(1)] = [response(key_of(1))]
    disk.hears = False
    tier.remove(key_of(1), 0.0, 101.0)
    tier.sweep(100.0)
    assert tier.find(key_of(1)) is None
    disk.hears = True
    disk.answer()
    tier.sweep(101.0)
    tier.sweep(140.0)
    assert tier.find(key_of(1)) is None
    disk.answer()
    tier.sweep(140.5)
    assert tier.find(key_of(1)) is not None
    assert disk.removed == [(key_of(1), 101.0)] * 3


def test_another_writer_is_told_again(tier, disk):
    tier.remove(key_of(1), 0.0, 101.0)
    tier.purge(HOST, b"example.org", False, 1, 0.0)
    tier.sweep(1.0)
    assert (len(disk.removed), len(disk.purged)) == (1, 1)
    disk.connections += 1
    tier.sweep(2.0)
    assert (len(disk.removed), len(disk.purged)) == (2, 2)
    disk.answer()
    tier.sweep(8.0)
    disk.connections += 1
    tier.sweep(9.0)
    assert (len(disk.removed), len(disk.purged)) == (2, 2)


def test_one_invalidation_too_many_distrusts_all_that_is_older(tier, disk, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMOVING", 2)
    disk.responses = {key_of(n): [response(key_of(n), at=100.0 + n)] for n in range(1, 7)}
    for number in (1, 2):
        tier.remove(key_of(number), 0.0, 103.5)
    assert tier.find(key_of(3)) is not None
    tier.remove(key_of(5), 0.0, 104.5)
    assert tier.find(key_of(4)) is None
    assert tier.find(key_of(5)) is None
    assert tier.find(key_of(6)) is not None
    assert tier._values[CACHE_DISK_FOLDED_REMOVALS] == 1


def test_one_purge_too_many_for_the_writer_purges_everything(tier, disk, monkeypatch):
    monkeypatch.setattr(module, "MAX_PURGING", 2)
    disk.hears = False  # the writer is dead
    counted = tier._values
    for number in (1, 2):
        tier.purge(URL, key_of(number), True, number, 0.0)
    tier.sweep(1.0)
    assert (len(tier._purging), counted[CACHE_DISK_FOLDED_PURGES]) == (2, 0)
    assert disk.purges.judge(key_of(9), (), 0) == KEEP
    tier.purge(URL, key_of(3), False, 3, 2.0)
    assert (len(tier._purging), counted[CACHE_DISK_FOLDED_PURGES]) == (1, 1)
    assert disk.purges.judge(key_of(9), (), 0) == GONE
    assert disk.purges.judge(key_of(9), (), 3) == KEEP  # stored after it
    disk.hears, disk.purged = True, []
    disk.connections += 1
    tier.sweep(3.0)
    assert disk.purged == [(EVERYTHING, b"")]


def test_one_upload_too_many(tier, disk, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MAX_UPLOADS", 2)
    (tmp_path / "incoming").mkdir()
    names = iter("abcd")
    disk.upload = lambda: Upload(str(tmp_path), f"1.{next(names)}")
    disk.begin = lambda: 0.0
    disk.judge_speed = lambda begun: None
    fills = [Fill(10) for _ in range(3)]
    for number, fill in enumerate(fills):
        assert tier.takes(key_of(number)) is (number < 2)
        tier.begin(fill, response(key_of(number)), 20)
    assert [fill.upload is not None for fill in fills] == [True, True, False]
    tier.append(fills[0], b"x" * 21)  # more than the disk takes
    assert tier.takes(key_of(3))
    tier.drop(fills[1])
    tier.begin(fills[2], response(key_of(2)), 20)
    assert fills[2].upload is not None
    for fill in fills:
        tier.let_go(fill)
    assert (tier._uploads, tier._given_up) == ({}, {})


@pytest.fixture
def uploading(disk, tmp_path):
    """The same disk, which takes files too."""
    (tmp_path / "incoming").mkdir()
    disk.root = str(tmp_path)
    disk.files = OpenFiles()
    disk.begun = []

    def upload():
        disk.begun.append(Upload(str(tmp_path), f"1.{len(disk.begun)}"))
        return disk.begun[-1]

    disk.upload = upload
    disk.begin = lambda: 0.0
    disk.judge_speed = lambda begun: None
    yield disk
    disk.files.close_all()


def spooling(tier, number):
    """Content of ten octets on its way, nothing of which is in memory."""
    fill = Fill(1)
    tier.begin(fill, response(key_of(number)), 1000)
    if fill.upload is not None:
        tier.append(fill, b"%d" % number * 10)
    return fill


def test_one_upload_more_takes_the_place_of_the_one_that_is_still_for_longest(uploading, memory):
    now = 0.0
    values = [0] * len(TABLE)
    tier = DiskTier(uploading, memory, values, lambda: now)
    fills = [spooling(tier, number % 10) for number in range(module.MAX_UPLOADS)]
    now = module.STILL - 0.1
    assert not tier.takes(key_of(8))
    assert spooling(tier, 8).upload is None
    tier.append(fills[0], b"goes on")
    now = module.STILL
    assert tier.takes(key_of(8))
    one_more = spooling(tier, 8)
    assert (one_more.upload is not None, values[CACHE_DISK_GIVEN_UP]) == (True, 1)
    assert [number for number, fill in enumerate(fills) if fill.upload is None] == [1]
    # Whoever reads that reads on, and it is not kept.
    assert fills[1].read(0, 99) == b"1" * 10
    fills[1].append(b"more")
    assert (fills[1].read(10, 99), fills[1].keeps) == (b"more", False)
    for fill in [*fills, one_more]:
        tier.let_go(fill)
    assert (tier._uploads, tier._given_up) == ({}, {})


def test_one_file_more_that_was_given_up_closes_the_oldest(uploading, tier):
    fills = []
    for number in range(module.MAX_GIVEN_UP + 1):
        fills.append(spooling(tier, number % 10))
        tier.drop(fills[-1])
        assert tier._values[CACHE_DISK_CUT_SHORT] == (number == module.MAX_GIVEN_UP)
    with pytest.raises(OSError, match="closed"):
        fills[0].read(0, 9)
    assert fills[1].read(0, 9) == b"1" * 9
    for fill in fills:
        tier.let_go(fill)
    assert tier._given_up == {}


def joined(size, number=1):
    stored = response(key_of(number))
    stored.body = MemoryBody([b"x" * (size // 2), b"y" * (size - size // 2)])
    stored.length = size
    return stored


@pytest.mark.parametrize(("size", "is_moved"), [(module.MAX_MOVED, True), (module.MAX_MOVED + 1, False)])
def test_what_is_moved_to_the_disk_at_the_limit_and_one_more(uploading, size, is_moved):
    memory = MemoryStore(128 << 20)
    tier = DiskTier(uploading, memory, [0] * len(TABLE))
    stored = joined(size)
    assert memory.put(stored)
    assert tier.move(stored) is is_moved
    assert isinstance(stored.body, CheckedBody) is is_moved
    assert [key for key, _ in uploading.stored] == [stored.key] * is_moved
    assert (memory.octets < 100_000) is is_moved
    assert tier._uploads == {}
    for upload in uploading.begun:
        with open(upload.path, "rb") as file:
            assert file.read() == b"x" * (size // 2) + b"y" * (size - size // 2)


def test_what_a_slow_reader_holds_is_not_moved(uploading, tier, memory):
    stored = joined(100_000)
    assert memory.put(stored)
    memory.lend(stored, 0)
    assert not tier.move(stored)
    memory.loans.give_back(stored)
    assert tier.move(stored)


def test_what_the_writer_does_not_take_is_not_moved(uploading, tier, memory):
    stored = joined(100_000)
    assert memory.put(stored)
    uploading.hears = False
    assert not tier.move(stored)
    assert isinstance(stored.body, MemoryBody)
    assert (tier._uploads, memory.get(stored.key).variants) == ({}, (stored,))


def test_the_counters_say_how_the_disk_is(tier, disk):
    disk.dropped, disk.is_up = 3, False
    tier.sweep(0.0)
    assert (tier._values[CACHE_DISK_DROPPED], tier._values[CACHE_DISK_PAUSED]) == (3, 1)
