import pytest

from headgate.engine.message import lines
from headgate.engine.message.lines import Line
from headgate.http.fields import FORWARDED


def test_a_plain_line():
    line = Line(b"accept", b"*/*")
    assert (line.kind, line.fault, line.line, line.size) == (lines.PLAIN, "", b"accept: */*", 41)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b":method", lines.METHOD),
        (b":scheme", lines.SCHEME),
        (b":authority", lines.AUTHORITY),
        (b":path", lines.PATH),
        (b":protocol", lines.PROTOCOL),
        (b":status", lines.STATUS),
        (b"host", lines.HOST),
        (b"content-length", lines.LENGTH),
        (b"cookie", lines.COOKIE),
        (b"te", lines.TE),
        (b"expect", lines.EXPECT),
        (b"priority", lines.PRIORITY),
    ],
)
def test_lines_that_mean_something(name, kind):
    assert Line(name, b"1").kind == kind


@pytest.mark.parametrize(
    "name", [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"]
)
def test_rfc9114_4_2_connection_specific_fields(name):
    assert Line(name, b"x").kind == lines.WRONG
    assert "HTTP/1.1" in Line(name, b"x").fault


@pytest.mark.parametrize(
    "name",
    [
        b"Accept",
        b"ACCEPT",
        b"accepT",
        b"a b",
        b"a:b",
        b"",
        b"a\r\nb",
        b"a\0",
        b"caf\xe9",
        b"a(b)",
        b":methoD",
        b":x",
        b":",
    ],
)
def test_rfc9114_4_2_and_10_3_names_that_are_malformed(name):
    line = Line(name, b"x")
    assert line.kind == lines.WRONG
    assert line.fault


@pytest.mark.parametrize(
    "value",
    [b"a\rb", b"a\nb", b"a\0b", b"\r\n", b"a\x7f", b"\x01", b" a", b"a ", b"\ta", b"a\t", b" ", b"a\x1bb"],
)
def test_rfc9114_10_3_values_that_are_malformed(value):
    for name in (b"x", b":path", b"content-length", b"cookie"):
        assert Line(name, value).kind == lines.WRONG


@pytest.mark.parametrize("value", [b"", b"a", b"a b", b"a\tb", b"\xff\x80", b"!~", b"a  b"])
def test_values_that_are_fine(value):
    assert Line(b"x", value).fault == ""


@pytest.mark.parametrize(
    ("value", "number"),
    [(b"0", 0), (b"17", 17), (b"9" * 18, 10**18 - 1), (b"9" * 19, -1), (b"+1", -1), (b"", -1), (b"1,1", -1)],
)
def test_the_number_of_a_content_length(value, number):
    assert Line(b"content-length", value).number == number


@pytest.mark.parametrize(("value", "number"), [(b"u=1", 2), (b"", 6), (b"?", -1)])
def test_the_number_of_a_priority(value, number):
    assert Line(b"priority", value).number == number


def test_kinds_of_http_fields_come_along():
    assert Line(b"x-forwarded-for", b"::1").flags == FORWARDED


def test_a_secret_is_not_shown():
    assert "hunter2" not in repr(Line(b"authorization", b"hunter2"))
    assert "*/*" in repr(Line(b"accept", b"*/*"))
