import pytest

from headgate.engine.message.priority import DEFAULT_PRIORITY, MAX_PRIORITY_OCTETS, parse_priority


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        (b"", DEFAULT_PRIORITY),
        (b"u=0", 0),
        (b"u=7", 14),
        (b"i", 7),
        (b"u=1, i", 3),
        (b"i,u=5", 11),
        (b"u=2,i=?0", 4),
        (b"u=2;x=1, i=?1", 5),
        (b"u=1, u=4", 8),
        (b"u=8", DEFAULT_PRIORITY),
        (b"u=-1", DEFAULT_PRIORITY),
        (b"u=1.0", DEFAULT_PRIORITY),
        (b"u", DEFAULT_PRIORITY),
        (b"u=?1, i=3", DEFAULT_PRIORITY),
        (b'x="u=0, i", u=1', 2),
        (b"x=(1 2), y=:aGk=:, u=1", 2),
        (b"  u=6  ", 12),
    ],
)
def test_rfc9218_4_values(value, priority):
    assert parse_priority(value) == priority


@pytest.mark.parametrize(
    "value", [b"U=1", b"u=1,", b",u=1", b"u=1 i", b"u=", b"=1", b"u=\xff", b'x="', b"u=1,,i"]
)
def test_rfc8941_what_is_no_dictionary_is_ignored_whole(value):
    assert parse_priority(value) == -1


def test_a_value_at_the_limit_and_one_more():
    value = b"u=1;x=" + b"1" * (MAX_PRIORITY_OCTETS - 6)
    assert parse_priority(value) == 2
    assert parse_priority(value + b"1") == -1
