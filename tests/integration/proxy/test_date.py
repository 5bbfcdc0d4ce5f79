"""RFC 9110 section 6.6.1 through a real gate, asked with curl: every final response says when it was made."""

import subprocess
import time
from email.utils import parsedate_to_datetime

import pytest
from tests.integration.gate import Gate

from headgate.testing.origin import Origin

LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"
TEXT = """
[[route]]
path = "/silent"
upstream = "silent"
[[route]]
path = "/dated"
upstream = "dated"
[[route]]
path = "/removed"
upstream = "dated"
remove_response_headers = ["Date"]
[[route]]
path = "/gone"
upstream = "gone"
[[route]]
path = "/fixed"
respond = {{ status = 200, body = "ok" }}
[[route]]
path = "/own"
respond = {{ status = 200, headers = {{ date = "{date}" }} }}
[[route]]
path = "/moved"
redirect = {{ to = "/fixed" }}
[upstream.silent]
endpoints = ["{silent}"]
[upstream.dated]
endpoints = ["{dated}"]
[upstream.gone]
endpoints = ["unix:/nonexistent/socket"]
"""


def answering(fields):
    def script(wire):
        while head := wire.read_head():
            wire.read_content(head)
            wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            wire.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % fields)

    return script


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    with Origin(answering(b"")) as silent, Origin(answering(b"dAtE: %b\r\n" % LONG_AGO.encode())) as dated:
        text = TEXT.format(silent=silent.url, dated=dated.url, date=LONG_AGO)
        with Gate(tmp_path_factory.mktemp("gate"), text) as gate:
            yield gate
            assert gate.events("defect") == []


def curl(gate, path, *options):
    """Return the heads that curl got, interim ones too, each a list of lines."""
    url = f"http://127.0.0.1:{gate.http_ports[0]}{path}"
    told = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            "--dump-header",
            "-",
            *options,
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return [head.splitlines() for head in told.stdout.split("\n\n") if head.strip()]


def dates(head):
    return [line.partition(": ")[2] for line in head if line.lower().startswith("date:")]


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/fixed", (), 200),
        ("/fixed", ("--http1.0",), 200),
        ("/fixed", ("--head",), 200),
        ("/moved", (), 308),
        ("/nowhere", (), 404),
        ("/fixed", ("--header", "Expect: tea"), 417),
        ("/fixed%2f", (), 400),
        ("/gone", (), 502),
        ("/silent", (), 200),
        ("/removed", (), 200),
    ],
)
def test_rfc9110_6_6_1_a_response_without_date_gets_the_time_it_is(gate, path, options, status):
    before = int(time.time())
    head = curl(gate, path, *options)[-1]
    assert head[0].split()[1] == str(status)
    (date,) = dates(head)
    assert before <= parsedate_to_datetime(date).timestamp() <= time.time()
    assert date.endswith(" GMT")


@pytest.mark.parametrize("path", ["/dated", "/own"])
def test_rfc9110_6_6_1_a_date_that_is_there_stays(gate, path):
    assert dates(curl(gate, path)[-1]) == [LONG_AGO]


def test_rfc9110_6_6_1_an_interim_response_gets_none(gate):
    interim, final = curl(gate, "/silent")
    assert interim[0].split()[1] == "103"
    assert dates(interim) == []
    assert len(dates(final)) == 1
