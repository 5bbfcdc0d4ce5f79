"""What an unsafe request invalidates (RFC 9111 section 4.4)."""

import pytest

from headgate.cache import policy as rules
from headgate.cache.invalidation import invalidates, is_safe, origin_forms, same_origin, targets
from headgate.cache.policy import Policy
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def forms(method=b"POST", status=200, *pairs, target=b"/a/b?c"):
    request = Request(method, target, 11, fields())
    response = Response(status, b"", 11, fields(*pairs))
    return origin_forms(request, response, True, b"a.example", target)


@pytest.mark.parametrize(
    "method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH", b"MKCOL", b"get", b"X"]
)
def test_unsafe_and_unknown_methods(method):
    assert not is_safe(method)
    assert forms(method) == [b"/a/b?c"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH"])
def test_safe_methods(method):
    assert is_safe(method)
    assert forms(method) == []


@pytest.mark.parametrize("status", [200, 201, 204, 299, 301, 303, 304, 399])
def test_without_an_error(status):
    assert invalidates(b"POST", status)


@pytest.mark.parametrize("status", [100, 199, 400, 404, 412, 500, 503, 599])
def test_with_an_error(status):
    assert not invalidates(b"POST", status)


def test_location_and_content_location():
    both = ((b"location", b"/new"), (b"content-location", b"sibling?x#frag"))
    assert forms(b"PUT", 201, *both) == [b"/a/b?c", b"/new", b"/a/sibling?x"]
    assert forms(b"PUT", 201, (b"location", b"/a/b?c")) == [b"/a/b?c"]
    assert forms(b"PUT", 500, *both) == []
    assert forms(b"GET", 302, *both) == []


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (b"https://a.example/x", b"/x"),
        (b"HTTPS://A.Example:443/x", b"/x"),
        (b"//a.example/x?y", b"/x?y"),
        (b"https://a.example", b"/"),
        (b"https://a.example?q", b"/?q"),
        (b"/x", b"/x"),
        (b"x", b"/a/x"),
        (b"./x", b"/a/x"),
        (b"../x", b"/x"),
        (b"?q", b"/a/b?q"),
        (b"", b"/a/b?c"),
        (b"#frag", b"/a/b?c"),
        (b"/%7Ex/./y", b"/~x/y"),
        (b"/x%2Fy", b"/x%2Fy"),
    ],
)
def test_references_of_this_origin(reference, expected):
    assert same_origin(reference, True, b"a.example", b"/a/b?c") == expected


@pytest.mark.parametrize(
    "reference",
    [
        b"http://a.example/x",
        b"https://b.example/x",
        b"https://a.example:8443/x",
        b"//b.example/x",
        b"https://user@a.example/x",
        b"https://a.example@b.example/x",
        b"https:///x",
        b"https:x",
        b"mailto:x",
        b"x:y",
        b"/x y",
        b"/x\r\ny",
        b"/\xfc",
        b"../../x",
        b"/%00",
        b"/%",
    ],
)
def test_references_that_name_nothing_here(reference):
    assert same_origin(reference, True, b"a.example", b"/a/b?c") == b""


def test_ports_are_part_of_the_origin():
    assert same_origin(b"//a.example:8080/x", False, b"a.example:8080", b"/") == b"/x"
    assert same_origin(b"//a.example/x", False, b"a.example:8080", b"/") == b""


def test_keys_follow_the_policy():
    policy = Policy()
    policy.query = rules.QUERY_NONE
    request = Request(b"POST", b"/a?b", 11, fields())
    response = Response(200, b"", 11, fields((b"location", b"/a?c"), (b"content-location", b"/d?e")))
    assert targets(request, response, policy, False, b"A.example:80", b"/a?b") == [
        b"http://a.example/a",
        b"http://a.example/d",
    ]
    assert targets(request, response, policy, False, b"a b", b"/a?b") == []
