"""RFC 9112 sections 2 to 5: message format, request line, status line, field lines.

What these sections ask of somebody else than the engine, and where it is tested:

| section | who | rule | tested in |
|---|---|---|---|
| 2.2 | user agent | no extra CRLF around a request | here: `test_rfc9112_2_2_no_extra_crlf_around_a_request` |
| 3.2 | server | Host with an invalid value: 400 | unit/http/test_target.py: `test_authorities_refused` |
| | | | integration/limits/test_bad_input.py: `test_malformed_requests_are_answered_and_closed` |
| 3.2 | client | Host is sent, and equals the authority | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_3_2_host_is_sent_and_equals_the_authority` |
| 3.2 | client | no authority: an empty Host | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_3_2_a_request_without_an_authority_has_an_empty_host` |
| 3.2.1 | client | an empty path is sent as "/" | unit/http/test_target.py: `test_rfc9112_3_2_forms` |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_3_2_the_form_that_an_origin_gets` |
| 3.2.2 | server | absolute-form is accepted | unit/http/test_target.py: `test_rfc9112_3_2_forms` |
| 3.2.2 | proxy | its authority replaces Host | |
| | | | integration/proxy/test_rewriting.py: `test_absolute_form_overrides_host` |
| | | | unit/proxy/test_dispatch.py: `test_a_host_of_another_listener_is_421_and_no_origin_hears_of_it` |
| 3.2.3 | client | CONNECT has an authority-form target | unit/http/test_target.py: `test_rfc9112_3_2_refused` |
| 3.2.4 | server | "*" only with OPTIONS | unit/http/test_target.py: `test_rfc9112_3_2_refused` |
| 3.2.4 | proxy | OPTIONS without a path becomes "*" | |
| | | | unit/http/test_target.py: `test_rfc9112_3_2_4_options_without_a_path_becomes_asterisk` |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_3_2_the_form_that_an_origin_gets` |
| 3.3 | server | the target URI is put together from scheme, authority and path | |
| | | | unit/http/test_target.py: `test_rfc9112_3_2_forms` |
| | | | integration/proxy/test_rewriting.py: `test_https_adds_hsts_and_says_https` |

Where we are stricter than the text allows or asks, on purpose: a bare LF ends no line (2.2 MAY), white space before a
colon in a response is refused with 502 instead of removed (5.1), so is obs-fold (5.2 allows that to a gateway).
"""

import pytest

from headgate.engine.events import Closed, Request, Response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


def test_rfc9112_2_1_a_head_is_start_line_fields_empty_line(read):
    _, events = read("server", b"GET /p HTTP/1.1\r\nHost: a\r\nX-Y:  z \t\r\n\r\n")
    (request,) = events
    assert isinstance(request, Request)
    assert (request.method, request.target, request.version) == (b"GET", b"/p", 11)
    assert request.fields.items() == [(b"host", b"a"), (b"x-y", b"z")]


def test_rfc9112_2_2_octets_beyond_ascii_are_octets(read):
    _, events = read("server", GET + b"X: \xe4\xff\xc3\r\n\r\n")
    assert events[0].fields.get(b"x") == b"\xe4\xff\xc3"


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("octet", [bytes([n]) for n in (*range(9), *range(10, 32), 127)])
def test_rfc9112_2_2_bare_cr_lf_nul_and_controls_are_refused_in_values(refused, role, octet):
    head = GET if role == "server" else OK
    assert refused(role, head + b"X: a" + octet + b"b\r\n\r\n") == (
        400 if role == "server" else 502,
        "bad-octet",
    )


@pytest.mark.parametrize(
    "octet", [bytes([n]) for n in (*range(33), 127, 128, 255)] + list(map(bytes, zip(b'"(),/;<=>?@[\\]{}')))
)
def test_rfc9112_5_a_field_name_is_a_token(refused, octet):
    assert refused("server", GET + b"X" + octet + b"Y: a\r\n\r\n")[0] == 400


def test_rfc9112_2_2_a_lone_lf_ends_no_line(refused):
    assert refused("server", b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n") == (400, "bad-request-line")
    assert refused("server", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n") == (400, "bad-octet")
    assert refused("client", b"HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n")[0] == 502


def test_rfc9112_2_2_empty_lines_before_a_request_line_are_ignored(read):
    _, events = read("server", b"\r\n\r\n" + GET + b"\r\n")
    assert isinstance(events[0], Request)


def test_rfc9112_2_2_only_empty_lines_are_no_request(read):
    _, events = read("server", b"\r\n\r\n", eof=True)
    assert isinstance(events[0], Closed)


@pytest.mark.parametrize("white", [b" ", b"\t", b" \t"])
@pytest.mark.parametrize("role", ["server", "client"])
def test_rfc9112_2_2_white_space_behind_the_start_line_is_refused(refused, role, white):
    start = b"GET / HTTP/1.1\r\n" if role == "server" else b"HTTP/1.1 200 OK\r\n"
    assert refused(role, start + white + b"Host: a\r\n\r\n") == (400 if role == "server" else 502, "obs-fold")


def test_rfc9112_2_2_no_extra_crlf_around_a_request(engine_of, fields):
    engine = engine_of("client")
    engine.receive(OK + b"\r\n")
    assert isinstance(engine.next_event(), Response)
    engine.reuse()
    engine.send(Request(b"GET", b"/2", 11, fields((b"Host", b"a"))))
    assert engine.take_output() == b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00", b"\x80\x00", b"\0", b" GET / HTTP/1.1\r\n", b"\tGET", b"\nGET"]
)
def test_rfc9112_2_2_what_is_not_http_is_refused_at_its_first_octet(refused, data):
    assert refused("server", data) == (400, "bad-request-line")


def test_rfc9112_2_2_what_is_not_http_is_refused_by_a_client_too(refused):
    assert refused("client", b"SSH-2.0-x") == (502, "bad-status-line")


@pytest.mark.parametrize(("version", "expected"), [(b"1.1", 11), (b"1.0", 10), (b"1.2", 11), (b"1.9", 11)])
def test_rfc9112_2_3_versions_that_are_spoken(read, version, expected):
    _, events = read("server", b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n")
    assert events[0].version == expected
    _, events = read("client", b"HTTP/" + version + b" 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert events[0].version == expected


@pytest.mark.parametrize("version", [b"2.0", b"0.9", b"3.1"])
def test_rfc9112_2_3_another_major_version_is_505(refused, version):
    assert refused("server", b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n") == (505, "http-version")
    assert refused("client", b"HTTP/" + version + b" 200 OK\r\n\r\n") == (502, "bad-status-line")


@pytest.mark.parametrize(
    "version",
    [
        b"http/1.1",
        b"HTTP/1",
        b"HTTP/1.",
        b"HTTP/1.10",
        b"HTTP/11",
        b"HTTP/1.x",
        b"HTTP/01.1",
        b"HTTP 1.1",
        b"HTTP/1.1 ",
        b"HTTP/+1.1",
        b"HTTPS/1.1",
        b"HTTP/\xb2.1",
        b"XTTP/1.1",
        b"",
    ],
)
def test_rfc9112_2_3_a_malformed_version_is_400(refused, version):
    assert refused("server", b"GET / " + version + b"\r\nHost: a\r\n\r\n") == (400, "bad-request-line")
    assert refused("client", version + b" 200 OK\r\n\r\n") == (502, "bad-status-line")


def test_rfc9112_2_3_the_connection_preface_of_http2_is_505(refused):
    assert refused("server", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == (505, "http-version")


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / a HTTP/1.1",
        b"GET /",
        b"GET",
        b"GET HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET\x0b/ HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /\0 HTTP/1.1",
        b"GET /\xe4 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET /\n HTTP/1.1",
        b"G{T / HTTP/1.1",
        b"GE:T / HTTP/1.1",
        b"(GET) / HTTP/1.1",
    ],
)
def test_rfc9112_3_a_malformed_request_line_is_400(refused, line):
    assert refused("server", line + b"\r\nHost: a\r\n\r\n") == (400, "bad-request-line")


def test_rfc9112_3_1_methods_are_case_sensitive_tokens(read):
    _, events = read("server", b"get / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert events[0].method == b"get"
    _, events = read("server", b"!#$%&'*+-.^_`|~9aZ / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert events[0].method == b"!#$%&'*+-.^_`|~9aZ"


def test_rfc9112_3_2_no_host_is_400(refused):
    assert refused("server", b"GET / HTTP/1.1\r\n\r\n") == (400, "no-host")
    assert refused("server", b"GET / HTTP/1.1\r\nHosts: a\r\n\r\n") == (400, "no-host")
    assert refused("server", b"GET http://a/ HTTP/1.1\r\n\r\n") == (400, "no-host")


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_rfc9112_3_2_two_hosts_are_400(refused, version):
    head = b"GET / " + version + b"\r\n"
    assert refused("server", head + b"Host: a\r\nHost: b\r\n\r\n") == (400, "duplicate-field")
    assert refused("server", head + b"Host: a\r\nhOST: a\r\n\r\n") == (400, "duplicate-field")
    assert refused("server", head + b"Host: a\r\nX: y\r\nHost:\r\n\r\n") == (400, "duplicate-field")


def test_rfc9112_3_2_http10_needs_no_host(read):
    _, events = read("server", b"GET / HTTP/1.0\r\n\r\n")
    assert events[0].host == b""


def test_rfc9112_3_2_an_empty_host_is_a_host(read):
    _, events = read("server", b"GET / HTTP/1.1\r\nHost:\r\n\r\n")
    assert isinstance(events[0], Request)


@pytest.mark.parametrize("target", [b"/a/b?c=d", b"http://a.test/x", b"a.test:443", b"*", b'/%20;|^"[]{}'])
def test_rfc9112_3_2_every_form_of_a_target_passes_the_engine(read, target):
    _, events = read("server", b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert events[0].target == target


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"200 OK", b"OK"), (b"200 ", b""), (b"200", b""), (b"299 a  b\t\xe4", b"a  b\t\xe4")],
)
def test_rfc9112_4_the_reason_is_whatever_it_is(read, line, reason):
    _, events = read("client", b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n")
    assert events[0].reason == reason


@pytest.mark.parametrize(
    "line",
    [
        b"20 OK",
        b"2000 OK",
        b"099 X",
        b"600 X",
        b"2xx OK",
        b" 200 OK",
        b"-20 OK",
        b"200\tOK",
        b"200OK",
        b"200 \0",
        b"200 a\rb",
        b"200 a\nb",
        b"",
    ],
)
def test_rfc9112_4_a_malformed_status_line_is_refused(refused, line):
    assert refused("client", b"HTTP/1.1 " + line + b"\r\n\r\n") == (502, "bad-status-line")


@pytest.mark.parametrize("reason", [b"", b"Fine"])
def test_rfc9112_4_the_space_before_an_absent_reason_is_sent(read, fields, reason):
    engine, _ = read("server", GET + b"\r\n")
    engine.send(Response(299, reason, 11, fields()))
    assert engine.take_output().startswith(b"HTTP/1.1 299 " + reason + b"\r\n")


@pytest.mark.parametrize("white", [b" ", b"\t", b"  ", b"\x0b", b"\x0c", b"\xa0"])
@pytest.mark.parametrize("name", [b"Host", b"Transfer-Encoding", b"Content-Length", b"X"])
def test_rfc9112_5_1_white_space_before_the_colon_is_400(refused, name, white):
    assert refused("server", GET + name + white + b": 1\r\n\r\n") == (400, "bad-field")
    assert refused("client", OK + name + white + b": 1\r\n\r\n") == (502, "bad-field")


def test_rfc9112_5_1_white_space_around_a_value_is_not_part_of_it(read):
    _, events = read("server", GET + b"A:b\r\nC: \t d \t\r\nE:\r\nF: \t\r\nG: a b\r\n\r\n")
    assert events[0].fields.items()[1:] == [
        (b"a", b"b"),
        (b"c", b"d"),
        (b"e", b""),
        (b"f", b""),
        (b"g", b"a b"),
    ]


@pytest.mark.parametrize("line", [b": a", b":", b"a", b"=a", b"\xe4: a", b"a b: c", b'"a": b', b"a\0: b"])
def test_rfc9112_5_a_line_without_a_name_is_400(refused, line):
    assert refused("server", GET + line + b"\r\n\r\n") == (400, "bad-field")


@pytest.mark.parametrize("fold", [b" b", b"\tb", b" ", b"\t: b", b" Host: b"])
def test_rfc9112_5_2_obs_fold_is_refused(refused, fold):
    assert refused("server", GET + b"X: a\r\n" + fold + b"\r\n\r\n") == (400, "obs-fold")
    assert refused("client", OK + b"X: a\r\n" + fold + b"\r\n\r\n") == (502, "obs-fold")
