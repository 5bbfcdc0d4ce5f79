from hpack.table import HeaderTable

from headgate.engine.h2.hpack_static import FIRST_DYNAMIC, STATIC, STATIC_LINES, STATIC_NAMES, STATIC_TABLE


def test_rfc7541_appendix_a():
    """The same table as the peer's, whose authors copied it from the appendix as well."""
    assert STATIC_TABLE == HeaderTable.STATIC_TABLE
    assert len(STATIC_TABLE) == FIRST_DYNAMIC - 1


def test_lines_are_ready_and_counted_from_1():
    assert [(line.name, line.value) for line in STATIC[1:]] == list(STATIC_TABLE)
    assert (STATIC[1].name, STATIC[61].name) == (b":authority", b"www-authenticate")


def test_the_first_line_of_a_name_stands_for_it():
    assert STATIC_NAMES[b":status"] == 8
    assert STATIC_LINES[b":status", b"500"] == 14
    assert STATIC_NAMES[b":path"] == STATIC_LINES[b":path", b"/"] == 4
