"""Header edits: what is set and removed, and what must never get into a message."""

import pytest

from headgate.http.fields import DATE, HOST, Fields
from headgate.pipeline.middleware.headers import MAX_SEPARATORS, REFUSED, FieldEdits, format_hsts


def section(*lines):
    return Fields([line.partition(b":")[0].lower() for line in lines], list(lines))


def applied(edits, *lines, secure=False):
    fields = section(*lines)
    edits.apply(fields, secure)
    assert [line.partition(b":")[0].lower() for line in fields.lines] == fields.names
    return fields.lines


def test_nothing_to_do_is_empty_and_touches_nothing():
    edits = FieldEdits()
    assert edits.empty
    fields = section(b"A: 1")
    names, lines = fields.names, fields.lines
    edits.apply(fields, True)
    assert fields.names is names
    assert fields.lines is lines


def test_set_replaces_every_line_of_that_name():
    edits = FieldEdits({"X-Frame-Options": "DENY", "New": "1"})
    assert not edits.empty
    assert applied(edits, b"x-frame-options: a", b"Other: 1", b"X-Frame-Options: b") == [
        b"Other: 1",
        b"X-Frame-Options: DENY",
        b"New: 1",
    ]


def test_remove():
    assert applied(FieldEdits(remove=["server", "X-A"]), b"Server: x", b"A: 1", b"x-a: 1", b"X-A: 2") == [
        b"A: 1"
    ]


def test_a_name_in_both_lists_is_set():
    assert applied(FieldEdits({"a": "2"}, ["A"]), b"A: 1") == [b"a: 2"]


@pytest.mark.parametrize(
    "edits", [FieldEdits({"X-User-Id": "1"}, request=True), FieldEdits(remove=["X-User-Id"], request=True)]
)
def test_what_a_cgi_origin_reads_as_an_edited_request_field_goes_with_it(edits):
    """RFC 3875 section 4.1.18: X-User-Id and X_User_Id are both HTTP_X_USER_ID."""
    kept = [b"X-User: 1", b"X_User: 2", b"X-UserId: 3", b"X-User-Id-: 4"]
    sent = [b"X_User_Id: 6", b"x-user_id: 6", b"X_USER-ID: 6", b"X-User-Id: 6"]
    assert [line for line in applied(edits, *sent, *kept) if line != b"X-User-Id: 1"] == kept


def test_a_request_field_named_with_underscores():
    """Removed, it alone goes: its twin with hyphens may be the one to keep. Set, its twin would speak beside it."""
    sent = [b"X-A-B: 1", b"X_A_B: 2", b"X_A-B: 3"]
    assert applied(FieldEdits(remove=["X_A_B"], request=True), *sent) == [b"X-A-B: 1"]
    assert applied(FieldEdits({"X_A_B": "ours"}, request=True), *sent) == [b"X_A_B: ours"]
    assert applied(FieldEdits({"X-A": "1", "X_A": "2"}, request=True), b"x-a: 0") == [b"X-A: 1", b"X_A: 2"]


def test_no_spelling_takes_the_framing_along():
    edits = FieldEdits({"Content_Length": "5"}, request=True)
    assert applied(edits, b"Content-Length: 2") == [b"Content-Length: 2", b"Content_Length: 5"]


def test_response_edits_mean_the_very_name():
    assert applied(FieldEdits(remove=["X-A"]), b"X-A: 1", b"X_A: 1") == [b"X_A: 1"]


def test_a_name_at_the_limit_of_separators_and_one_more():
    name = "a" + "-a" * MAX_SEPARATORS
    assert applied(FieldEdits(remove=[name], request=True), name.replace("-", "_").encode() + b": 1") == []
    for text in (name + "-a", name + "_a"):
        with pytest.raises(ValueError, match=f"more than {MAX_SEPARATORS} hyphens"):
            FieldEdits(remove=[text], request=True)
        assert not FieldEdits(remove=[text]).empty


def test_trailers_lose_what_is_edited():
    """RFC 9110 section 6.5.1: who merges a trailer section into the head would undo the edit."""
    edits = FieldEdits({"X-User": "1"}, ["x-secret"], request=True)
    trailers = section(b"X-Sum: 1", b"x-user: 2", b"X_User: 3", b"X-Secret: 4", b"X_Secret: 5")
    edits.strip_trailers(trailers)
    assert trailers.lines == [b"X-Sum: 1"]
    assert trailers.names == [b"x-sum"]


def test_edits_do_not_share_their_lists_with_messages():
    edits = FieldEdits({"a": "2"})
    fields = section()
    edits.apply(fields)
    fields.add(b"b", b"1")
    assert applied(edits) == [b"a: 2"]


def test_host_is_replaced_where_it_stands():
    edits = FieldEdits({"Host": "origin.internal:8080"}, request=True)
    assert applied(edits, b"A: 1", b"host: x", b"B: 2") == [b"A: 1", b"Host: origin.internal:8080", b"B: 2"]
    fields = section(b"A: 1")
    edits.apply(fields)
    assert fields.lines == [b"Host: origin.internal:8080", b"A: 1"]
    assert fields.flags & HOST


@pytest.mark.parametrize("host", ["", "a b", "u@h", "a/b", "a:0"])
def test_rfc9110_7_2_a_host_that_is_none_is_refused(host):
    with pytest.raises(ValueError, match="Host cannot be"):
        FieldEdits({"Host": host}, request=True)


@pytest.mark.parametrize("name", sorted(name.decode().title() for name in REFUSED))
def test_framing_and_connection_fields_cannot_be_edited(name):
    with pytest.raises(ValueError, match=f"{name} cannot be edited"):
        FieldEdits({name: "1"})
    with pytest.raises(ValueError, match=f"{name} cannot be edited"):
        FieldEdits(remove=[name], request=True)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä", "a\0"])
def test_names_are_tokens(name):
    with pytest.raises(ValueError, match="no field name"):
        FieldEdits({name: "1"})
    with pytest.raises(ValueError, match="no field name"):
        FieldEdits(remove=[name])


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "a\r", "a\0", "\x7f", "\x1b[0m"])
def test_values_hold_no_control_octet(value):
    with pytest.raises(ValueError, match="control character"):
        FieldEdits({"a": value})


@pytest.mark.parametrize("value", [" a", "a\t"])
def test_values_have_no_white_space_at_their_ends(value):
    with pytest.raises(ValueError, match="white space"):
        FieldEdits({"a": value})


def test_values_may_be_empty_have_tabs_and_be_utf8():
    assert applied(FieldEdits({"a": "", "b": "x\ty", "c": "é"})) == [b"a: ", b"b: x\ty", b"c: \xc3\xa9"]


def test_one_name_in_two_spellings_is_an_error():
    with pytest.raises(ValueError, match="set twice"):
        FieldEdits({"A": "1", "a": "2"})


def test_rfc6797_7_2_hsts_goes_out_over_tls_only():
    edits = FieldEdits(hsts=format_hsts(60))
    assert not edits.empty
    assert applied(edits, b"A: 1") == [b"A: 1"]
    assert applied(edits, b"strict-transport-security: max-age=0", b"A: 1", secure=True) == [
        b"A: 1",
        b"Strict-Transport-Security: max-age=60",
    ]


def test_rfc6797_6_1_hsts_values():
    assert format_hsts(31536000, True, True) == "max-age=31536000; includeSubDomains; preload"
    assert format_hsts(0) == "max-age=0"
    for value in ("includeSubDomains", "max-age", "max-age=x", "xmax-age=1"):
        with pytest.raises(ValueError, match="max-age"):
            FieldEdits(hsts=value)
    with pytest.raises(ValueError, match="control"):
        FieldEdits(hsts="max-age=1; \r\na: b")
    assert not FieldEdits(hsts="includeSubDomains; max-age=1").empty


def test_repr():
    assert (
        repr(FieldEdits({"A": "1"}, ["b", "a"], "max-age=1"))
        == "<FieldEdits A: 1, Strict-Transport-Security: max-age=1, -b>"
    )
    assert repr(FieldEdits({"a-b": "1"}, ["c-d"], request=True)) == "<FieldEdits a-b: 1, -c-d>"


def test_a_date_that_is_removed_is_not_taken_for_one_that_is_there():
    """Who sends the response adds Date where that bit is not set (RFC 9110 section 6.6.1)."""
    removed, set_, other = (
        Fields([b"date", b"a"], [b"Date: Sun, 06 Nov 1994 08:49:37 GMT", b"A: 1"]) for _ in range(3)
    )
    FieldEdits(remove=["Date"]).apply(removed)
    FieldEdits({"Date": "Mon, 07 Nov 1994 08:49:37 GMT"}).apply(set_)
    FieldEdits(remove=["A"]).apply(other)
    assert [bool(fields.flags & DATE) for fields in (removed, set_, other)] == [False, True, True]
    assert set_.get_all(b"date") == [b"Mon, 07 Nov 1994 08:49:37 GMT"]
