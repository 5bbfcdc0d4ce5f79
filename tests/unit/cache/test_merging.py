"""Updating stored fields (RFC 9111 section 3.2)."""

import pytest

from headgate.cache.merging import merge_fields
from headgate.http.fields import Fields


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def test_fields_of_the_newer_response_take_the_place_of_all_lines_of_their_name():
    stored = fields((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1"))
    newer = fields((b"c", b"2"), (b"a", b"3"), (b"d", b"4"), (b"c", b"5"))
    assert merge_fields(stored, newer).items() == [
        (b"b", b"1"),
        (b"c", b"2"),
        (b"a", b"3"),
        (b"d", b"4"),
        (b"c", b"5"),
    ]
    assert len(stored) == 4


@pytest.mark.parametrize(
    "name", [b"content-length", b"content-encoding", b"content-md5", b"content-range", b"etag"]
)
def test_what_the_octets_depend_on_stays(name):
    assert merge_fields(fields((name, b"1")), fields((name, b"2"))).items() == [(name, b"1")]
    assert merge_fields(fields(), fields((name, b"2"))).items() == []


@pytest.mark.parametrize(
    "name", [b"content-type", b"content-location", b"set-cookie", b"expires", b"content-foo", b"vary"]
)
def test_everything_else_is_replaced(name):
    assert merge_fields(fields((name, b"1")), fields((name, b"2"))).items() == [(name, b"2")]
