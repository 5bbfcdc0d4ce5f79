from headgate.engine.h2.hpack_table import EncoderTable, Literal


def literal(line, size=40):
    return Literal(line, b"", b"", size)


def table(capacity, *lines):
    made = EncoderTable(capacity)
    for line in lines:
        made.insert(literal(line))
    return made


def test_the_newest_entry_has_the_first_index_behind_the_static_table():
    made = table(120, b"a", b"b", b"c")
    assert [made.index(line) for line in (b"c", b"b", b"a", b"d")] == [62, 63, 64, 0]
    assert repr(made) == "<EncoderTable 3 of 3 120/120>"


def test_rfc7541_4_4_the_oldest_entries_make_room():
    made = table(120, b"a", b"b", b"c")
    made.insert(literal(b"d", 41))
    assert [made.index(line) for line in (b"d", b"c", b"b", b"a")] == [62, 63, 0, 0]
    assert (made.size, made.inserted) == (81, 4)


def test_rfc7541_4_3_a_smaller_capacity_evicts():
    made = table(120, b"a", b"b", b"c")
    made.set_capacity(79)
    assert [made.index(line) for line in (b"c", b"b", b"a")] == [62, 0, 0]
    made.set_capacity(0)
    assert (made.size, made.index(b"c")) == (0, 0)
    assert repr(literal(b"secret")) == "<Literal size=40>"
