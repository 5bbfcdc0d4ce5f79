"""The index as its writer has it: what comes, what goes, what is counted, what a crash leaves."""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.cache.store.responses import key_of, response

from headgate.cache.purges import EVERYTHING, HOST, TAG
from headgate.cache.store import layout
from headgate.cache.store.bodies import INCOMING, Upload
from headgate.cache.store.format import CorruptError, decode, encode, variant_id
from headgate.cache.store.index import MAX_VARIANTS, Index
from headgate.cache.store.layout import CHARGED, PLACE, file_path

BUDGET = 4 << 20


@pytest.fixture
def index(disk):
    index = Index(str(disk), BUDGET)
    yield index
    index.close()


def record(number, size=100, **more):
    return encode(response(key_of(number), bytes(size), **more), bytes(size))


def upload(index, number, content, name="1.aa", at=0.0):
    """Return the record of a response whose content lies in `incoming`."""
    begun = Upload(index.root, name)
    begun.write(content)
    begun.close()
    return encode(response(key_of(number), b"", at=at), b"", begun.finish())


def stored(index):
    """Return what is stored, the oldest first, and see that all tables agree."""
    found, octets = [], 0
    with index._env.begin() as txn:
        for place, charged in txn.cursor(index._order):
            charge, identifier = CHARGED.unpack_from(charged)
            value = txn.get(identifier, db=index._objects)
            assert value[: PLACE.size] == place
            variant = decode(value[PLACE.size :])
            assert variant_id(variant.variant) == identifier
            name = charged[CHARGED.size :]
            if name:
                assert variant.file.name == name
                assert txn.get(name, db=index._files) == identifier
                assert os.stat(file_path(index.root, name.decode())).st_size == variant.file.size
            octets += charge
            found.append(variant.variant.key)
        counts = [txn.stat(table)["entries"] for table in (index._objects, index._order)]
    assert counts == [len(found), len(found)]
    assert (index.state.octets, index.state.objects) == (octets, len(found))
    return found


def files(index):
    return sorted(name for _, _, names in os.walk(f"{index.root}/files") for name in names)


def test_what_is_put_is_there_and_after_the_next_start(disk):
    index = Index(str(disk), BUDGET)
    assert index.put_all([record(number) for number in range(10)], 0.0) == 10
    assert stored(index) == [key_of(number) for number in range(10)]
    index.close()
    again = Index(str(disk), BUDGET)
    assert stored(again) == [key_of(number) for number in range(10)]
    again.close()


def test_the_same_variant_replaces(index):
    index.put_all([record(1, 100), record(2), record(1, 3000)], 0.0)
    index.put_all([record(1, 10, vary=[(b"accept", b"a")])], 0.0)
    assert stored(index) == [key_of(2), key_of(1), key_of(1)]


def test_variants_at_the_limit_and_one_more(index):
    def variant(number):
        return record(1, 10, vary=[(b"accept", b"%d" % number)])

    index.put_all([record(2), record(3)], 0.0)
    for number in range(MAX_VARIANTS):
        index.put_all([variant(number)], 0.0)
    index.put_all([variant(0)], 0.0)  # again: the youngest now
    assert (len(stored(index)), index.evictions) == (MAX_VARIANTS + 2, 0)
    index.put_all([variant(MAX_VARIANTS), variant(MAX_VARIANTS + 1)], 0.0)
    assert (len(stored(index)), index.evictions) == (MAX_VARIANTS + 2, 2)
    with index._env.begin(db=index._objects) as txn:
        kept = [decode(value[PLACE.size :]).variant for _, value in txn.cursor()]
    values = {int(each.vary[0][1]) for each in kept if each.vary}
    assert values == {0, *range(3, MAX_VARIANTS + 2)}


def test_the_oldest_leave(index):
    for number in range(100):
        index.put_all([record(number, 60_000)], 0.0)
    found = stored(index)
    assert found == [key_of(number) for number in range(100 - len(found), 100)]
    assert index.evictions == 100 - len(found)
    assert BUDGET * 0.9 < index.state.octets <= BUDGET


def test_what_was_read_lately_stays(index):
    index.put_all([record(number, 60_000) for number in range(5)], 0.0)
    index.touch(variant_id(response(key_of(2))))
    index.put_all([record(number, 60_000) for number in range(100, 170)], 0.0)
    found = stored(index)
    assert key_of(2) in found
    assert key_of(1) not in found
    assert key_of(3) not in found


def test_an_object_beyond_its_share_is_refused(index):
    assert index.put_all([record(1, BUDGET // 8 + 1)], 0.0) == 0
    large = upload(index, 2, bytes(BUDGET // 8 + 1))
    assert index.put_all([large], 0.0) == 0
    assert (index.refused, stored(index), os.listdir(f"{index.root}/{INCOMING}")) == (2, [], [])


def test_a_file_comes_and_goes(index):
    index.put_all([upload(index, 1, b"x" * 100_000)], 0.0)
    assert stored(index) == [key_of(1)]
    assert files(index) == ["1.aa"]
    assert index.state.octets >= 100_000
    assert index.remove_all([(key_of(1), 0.0)], 10.0) == 1
    assert stored(index) == []
    # Workers that have just looked it up have a minute.
    index.unlink_graves(69.0)
    assert files(index) == ["1.aa"]
    index.unlink_graves(70.0)
    assert files(index) == []


def test_a_file_is_replaced(index):
    index.put_all([upload(index, 1, b"x" * 100_000)], 0.0)
    index.put_all([upload(index, 1, b"y" * 90_000, "1.bb")], 0.0)
    assert stored(index) == [key_of(1)]
    index.unlink_graves(60.0)
    assert files(index) == ["1.bb"]


def test_a_file_that_is_not_there_or_shorter(index):
    gone, short = upload(index, 1, b"x" * 1000), upload(index, 2, b"x" * 1000, "1.bb")
    os.unlink(f"{index.root}/{INCOMING}/1.aa")
    os.truncate(f"{index.root}/{INCOMING}/1.bb", 999)
    assert index.put_all([gone, short], 0.0) == 0
    assert (stored(index), files(index)) == ([], [])


def test_a_record_that_is_damaged_harms_no_other(index):
    assert index.put_all([record(1), record(2)[:-1], record(3)], 0.0) == 2
    assert stored(index) == [key_of(1), key_of(3)]
    assert index.refused == 1


def test_a_removed_key_takes_nothing_that_was_asked_for_before(index):
    index.put_all([record(1, vary=[(b"a", b"%d" % number)]) for number in range(3)], 0.0)
    assert index.remove_all([(key_of(1), 20.0), (key_of(9), 0.0)], 0.0) == 3
    index.remove_all([(key_of(1), 10.0)], 0.0)
    assert index.put_all([record(1, at=19.0), record(1, at=20.0), record(2, at=19.0)], 0.0) == 2
    assert stored(index) == [key_of(1), key_of(2)]


def test_purges_outlive_a_start(disk):
    index = Index(str(disk), BUDGET)
    index.put_all([record(1, tags=[b"news"]), record(2)], 0.0)
    assert index.purge(TAG, b"news", False, 7) == 7
    assert index.put_all([record(3, tags=[b"news"], generation=6)], 0.0) == 0
    assert index.put_all([record(4, tags=[b"news"], generation=7)], 0.0) == 1
    index.close()
    again = Index(str(disk), BUDGET)
    assert again.purges.generation == 7
    assert again.sweep(2, 0.0)
    assert not again.sweep(2, 0.0)
    assert stored(again) == [key_of(2), key_of(4)]
    assert len(again.purges) == 1
    again.sweep(2, 60.0)
    assert len(again.purges) == 0
    again.close()
    third = Index(str(disk), BUDGET)
    assert (third.purges.generation, third.purges.floor, len(third.purges)) == (7, 7, 0)
    assert not third.sweep(10, 0.0)
    third.close()


def test_a_purge_of_everything_is_swept_too(index):
    index.put_all([record(number) for number in range(5)], 0.0)
    index.purge(EVERYTHING, b"", False, 1)
    assert not index.sweep(100, 0.0)
    assert stored(index) == []


def test_a_soft_purge_removes_nothing(index):
    index.put_all([record(number) for number in range(5)], 0.0)
    index.purge(HOST, b"example.org", True, 1)
    assert not index.sweep(100, 0.0)
    assert len(stored(index)) == 5


def test_a_batch_is_all_or_nothing(index, monkeypatch):
    index.put_all([record(1)], 0.0)
    first, second = upload(index, 2, b"x" * 1000), upload(index, 3, b"y" * 1000, "1.bb")
    rename = os.rename

    def failing(source, target):
        if source.endswith("1.bb"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        index.put_all([record(4), first, second], 0.0)
    assert stored(index) == [key_of(1)]
    assert files(index) == []


def test_strays_are_found(index):
    index.put_all([upload(index, 1, b"x" * 1000)], 0.0)
    index.put_all([upload(index, 2, b"x" * 1000, "2.aa")], 0.0)
    index.remove_all([(key_of(2), 0.0)], 0.0)
    stray = file_path(index.root, "9.aa")
    with open(stray, "wb"):
        pass
    assert sum(index.unlink_strays(number) for number in range(256)) == 1
    assert files(index) == ["1.aa", "2.aa"]  # one is in its grave


def test_what_a_worker_left(index):
    for name in ("12.aa", "123.aa", "1.aa"):
        Upload(index.root, name).close()
    index.unlink_incoming("12.")
    assert sorted(os.listdir(f"{index.root}/{INCOMING}")) == ["1.aa", "123.aa"]
    index.unlink_incoming()
    assert os.listdir(f"{index.root}/{INCOMING}") == []


def test_another_version_is_said(disk, monkeypatch):
    Index(str(disk), BUDGET).close()
    monkeypatch.setattr(layout, "FORMAT_NOW", b"headgate-cache-99")
    with pytest.raises(CorruptError, match="another version"):
        Index(str(disk), BUDGET)


def test_an_index_that_ends_too_early_is_not_touched(disk):
    """A page beyond the end of the file would be SIGBUS."""
    index = Index(str(disk), BUDGET)
    index.put_all([record(number, 5000) for number in range(20)], 0.0)
    index.close()
    path = disk / "index" / "data.mdb"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CorruptError, match="are in use"):
        Index(str(disk), BUDGET)


class IndexMachine(RuleBasedStateMachine):
    """The index against a list, the oldest first."""

    numbers = st.integers(0, 9)

    @initialize()
    def begin(self):
        self.directory = tempfile.TemporaryDirectory(
            dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        )
        self.index = Index(self.directory.name, BUDGET)
        self.model = []
        self.names = 0

    def _put(self, number):
        if number in self.model:
            self.model.remove(number)
        self.model.append(number)

    @rule(numbers=st.lists(numbers, max_size=4), size=st.sampled_from([0, 1000, 3000, 60_000]))
    def put(self, numbers, size):
        assert self.index.put_all([record(number, size) for number in numbers], 0.0) == len(numbers)
        for number in numbers:
            self._put(number)

    @rule(number=numbers, size=st.sampled_from([1, 70_000, 300_000]))
    def upload(self, number, size):
        self.names += 1
        made = upload(self.index, number, bytes(size), f"1.{self.names:032x}")
        assert self.index.put_all([made], 0.0) == 1
        self._put(number)

    @rule(numbers=st.lists(numbers, unique=True, max_size=3))
    def remove(self, numbers):
        there = [number for number in numbers if number in self.model]
        assert self.index.remove_all([(key_of(number), 0.0) for number in numbers], 0.0) == len(there)
        for number in there:
            self.model.remove(number)

    @rule()
    def restart(self):
        self.index.close()
        self.index = Index(self.directory.name, BUDGET)

    @rule(directory=st.integers(0, 255))
    def strays(self, directory):
        assert self.index.unlink_strays(directory) == 0

    @invariant()
    def agrees(self):
        if hasattr(self, "index"):
            assert stored(self.index) == [key_of(number) for number in self.model]

    def teardown(self):
        if hasattr(self, "index"):
            self.index.close()
            self.directory.cleanup()


IndexMachine.TestCase.settings = settings(
    max_examples=8, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestIndexMachine = pytest.mark.slow(IndexMachine.TestCase)


def test_a_purge_that_several_tell_of_counts_once(index):
    index.purge(HOST, b"example.org", False, 7)
    index.put_all([encode(response(key_of(1), generation=7), b"new")], 0.0)
    assert index.purge(HOST, b"example.org", False, 7) == 7
    while index.sweep(100, 0.0):
        pass
    assert index.state.objects == 1
    assert index.purge(HOST, b"example.org", False, 8) == 8
    while index.sweep(100, 0.0):
        pass
    assert index.state.objects == 0
