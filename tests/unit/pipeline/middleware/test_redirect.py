"""Redirects: the Location that the operator meant, and no other host, whatever the client sends."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.http.target import BadTarget, parse_authority, parse_target
from headgate.pipeline.middleware.redirect import HttpsRedirect, Redirect


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("https://www.example.com{path}", b"https://www.example.com/a?b=c"),
        ("https://{host}{path}", b"https://example.com/a?b=c"),
        ("https://{host}:8443{path}", b"https://example.com:8443/a?b=c"),
        ("{scheme}://{host}/new{path}", b"http://example.com:8080/new/a?b=c"),
        ("{scheme}://{host}:81{path}", b"http://example.com:81/a?b=c"),
        ("{scheme}://www.example.org/", b"http://www.example.org/"),
        ("https://www.{host}/x?from={path}", b"https://www.example.com/x?from=/a?b=c"),
        ("/new", b"/new"),
        ("/new{path}", b"/new/a?b=c"),
        ("/", b"/"),
    ],
)
def test_templates(to, expected):
    redirect = Redirect(to, 302)
    assert redirect.location(b"http", b"Example.com:8080", b"/a?b=c") == expected
    reply = redirect.reply(b"http", b"Example.com:8080", b"/a?b=c")
    assert reply.status == 302
    assert reply.fields.get(b"location") == expected
    assert expected in reply.body


@pytest.mark.parametrize(
    "to",
    [
        "",
        "new",
        "{path}",
        "/{path}",
        "//evil.example",
        "/{host}",
        "///x",
        "https://{path}",
        "https://a{path}b{path}c d",
        "https://example.com@evil",
        "https://example.com{path}\r\nSet-Cookie: a",
        "https://example.com/\\",
        "/a{query}",
        "ftp://example.com/",
        "javascript:alert(1)",
        "https://",
        "{host}/x",
        "https://example.com/ä",
    ],
)
def test_templates_refused(to):
    with pytest.raises(ValueError, match=r"neither|stands|percent-encoded|behind"):
        Redirect(to)


@pytest.mark.parametrize("status", [200, 300, 304, 305, 400])
def test_only_redirects_redirect(status):
    with pytest.raises(ValueError, match="is no redirect"):
        Redirect("/x", status)


def test_the_default_keeps_the_method():
    assert Redirect("/x").status == 308


def test_a_placeholder_in_the_path_is_not_filled_in():
    assert (
        Redirect("https://a.test{path}").location(b"http", b"h", b"/{host}") == b"https://a.test/%7Bhost%7D"
    )


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (b"//evil.example", b"//evil.example"),
        (b"/\\evil", b"/%5Cevil"),
        (b"*", b"/"),
        (b"@evil.example", b"/"),
        (b".evil.example", b"/"),
        (b"", b"/"),
        (b"/a\r\nSet-Cookie: b", b"/a%0D%0ASet-Cookie:%20b"),
        (b'/"<>', b"/%22%3C%3E"),
        (b"/\xff", b"/%FF"),
    ],
)
def test_the_path_cannot_change_host_or_line(path, sent):
    assert Redirect("https://a.test{path}").location(b"http", b"h", path) == b"https://a.test" + sent
    assert HttpsRedirect().location(b"h", path) == b"https://h" + sent


def test_a_template_with_host_needs_one():
    for authority in (b"", b"a b", b"evil\r\n", b"u@h"):
        reply = Redirect("https://{host}{path}").reply(b"http", authority, b"/")
        assert reply.status == 400
        assert reply.fields.get(b"location") is None
    assert Redirect("/x").reply(b"http", b"", b"/").status == 308


@pytest.mark.parametrize(
    ("port", "authority", "expected"),
    [
        (443, b"example.com", b"https://example.com/a?b"),
        (443, b"example.com:80", b"https://example.com/a?b"),
        (8443, b"EXAMPLE.com:8080", b"https://example.com:8443/a?b"),
        (443, b"[::1]:80", b"https://[::1]/a?b"),
    ],
)
def test_http_to_https_keeps_host_path_and_query(port, authority, expected):
    reply = HttpsRedirect(port).reply(authority, b"/a?b")
    assert reply.status == 308
    assert reply.fields.get(b"location") == expected


def test_http_to_https_without_a_host_is_400():
    for authority in (b"", b"evil.example/", b"a@b"):
        assert HttpsRedirect().reply(authority, b"/").status == 400


@given(st.binary(max_size=20), st.binary(max_size=30))
def test_no_request_leads_to_another_host_or_line(authority, path):
    try:
        host = parse_authority(authority)[0]
        origin = parse_target(b"GET", b"/" + path).origin
    except BadTarget:
        return
    for location, expected in (
        (HttpsRedirect(8443).location(authority, origin), host + b":8443"),
        (Redirect("https://fixed.test{path}").location(b"http", authority, origin), b"fixed.test"),
        (Redirect("/x{path}").location(b"http", authority, origin), b""),
    ):
        assert urlsplit(location).netloc == expected
        assert all(0x21 <= octet <= 0x7E for octet in location)


def test_repr():
    assert repr(Redirect("/x", 301)) == "<Redirect 301 /x>"
    assert repr(HttpsRedirect()) == "<HttpsRedirect to port 443>"
