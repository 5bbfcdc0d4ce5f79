"""What only routes have: paths, expressions, redirect targets."""

import pytest
from gate_text import config_of, edited, told

ROUTE = 'path = "/api/"'
ACTION = 'upstream = "api"'


def problem(*changes):
    (line,) = told(edited(*changes))
    return line.split(": ", 2)[2]


@pytest.mark.parametrize("path", ["/", "/api", "/a//b", "/a%2Fb", "/a%20b", "/~x/@:!$&'()*+,;=", "/%C3%A9"])
def test_paths(path):
    assert config_of(edited((ROUTE, f'path = "{path}"'))).route[0].path == path


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("api", 'got "api"; did you mean "/api"?'),
        ("", 'got ""; did you mean "/"?'),
        ("/a b", "write other characters percent-encoded in UTF-8 (é is %C3%A9)"),
        ("/é", "write other characters percent-encoded in UTF-8 (é is %C3%A9)"),
        ("/a?b", "requests are matched on their path alone"),
        ("/a#b", "requests are matched on their path alone"),
        ("/a/../b", 'write "/b"'),
        ("/a/./b", 'write "/a/b"'),
        ("/%7Ea", 'write "/~a"'),
        ("/%2e%2E/a", 'got "/%2e%2E/a"'),
        ("/%c3%a9", 'write "/%C3%A9"'),
        ("/a%", 'got "/a%"'),
        ("/%00", 'got "/%00"'),
    ],
)
@pytest.mark.parametrize("key", ["path", "path_exact"])
def test_paths_that_no_request_could_match(key, path, end):
    assert problem((ROUTE, f"{key} = '{path}'")).endswith(end)


def test_expressions_are_those_of_re2():
    assert config_of(edited((ROUTE, "path_regex = '/[0-9]{4}(/.*)?'"))).route[0].path_regex
    line = problem((ROUTE, "path_regex = '/a(?=b)'"))
    assert line.startswith("expected a regular expression of RE2 (invalid perl operator: (?=)")
    assert line.endswith("look-around and back-references do not exist in it")
    assert "missing ]" in problem((ROUTE, "path_regex = '/[a'"))


@pytest.mark.parametrize(
    "to", ["https://a.com{path}", "http://{host}/x", "/new{path}", "{scheme}://b.com/", "/"]
)
def test_redirect_targets(to):
    assert config_of(edited((ACTION, f'redirect = {{ to = "{to}" }}'))).route[0].redirect.to == to


@pytest.mark.parametrize(
    "to",
    [
        "{path}",
        "/{path}",
        "//evil.example",
        "a.com",
        "https://",
        "https://a b",
        "{x}://a",
        "",
        "https://a\\r",
    ],
)
def test_redirect_targets_that_are_refused(to):
    assert problem((ACTION, f"redirect = {{ to = '{to}' }}")).startswith("expected ")


@pytest.mark.parametrize("status", [300, 304, 399, 200, '"301"', "true"])
def test_redirect_status(status):
    assert "one of 301, 302, 303, 307, 308" in problem(
        (ACTION, f'redirect = {{ to = "/", status = {status} }}')
    )


def test_only_a_table_redirects():
    assert problem((ACTION, 'redirect = "/"')) == 'expected a table, got "/"'
