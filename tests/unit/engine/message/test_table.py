from headgate.engine.message.lines import Line
from headgate.engine.message.table import DynamicTable


def table(capacity, *values):
    made = DynamicTable()
    made.set_capacity(capacity)
    for value in values:
        assert made.insert(Line(b"x", value))
    return made


def test_absolute_indexes_stay():
    made = table(3 * 34, b"0", b"1", b"2", b"3")
    assert made.get(0) is None
    assert [made.get(index).value for index in (1, 2, 3)] == [b"1", b"2", b"3"]
    assert made.get(4) is None
    assert (made.inserted, made.dropped, made.size) == (4, 1, 3 * 34)


def test_an_entry_larger_than_the_table_is_refused_and_evicts_nothing():
    made = table(40, b"1")
    assert made.insert(Line(b"x", b"1234567"))
    assert made.insert(Line(b"x", b"12345678")) is False
    assert (made.inserted, made.size) == (2, 40)


def test_rfc9204_3_2_2_a_smaller_capacity_evicts():
    made = table(100, b"0", b"1")
    made.set_capacity(67)
    assert (made.dropped, made.size) == (1, 34)
    made.set_capacity(0)
    assert (made.dropped, made.size, made.inserted) == (2, 0, 2)
    assert repr(made) == "<DynamicTable 2..2 0/0>"


def test_rfc7541_2_3_3_the_newest_comes_first():
    made = table(3 * 34, b"0", b"1", b"2", b"3")
    assert [made.newest(back).value for back in (0, 1, 2)] == [b"3", b"2", b"1"]
    assert made.newest(3) is None
    made.clear()
    assert made.newest(0) is None
    assert repr(made) == "<DynamicTable 4..4 0/102>"
