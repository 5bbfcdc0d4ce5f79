"""The tables behind the router: hosts, whole-segment prefixes, and regular expressions as one automaton."""

import time

import pytest

from headgate.pipeline.matchers import (
    EXACT,
    NOTHING,
    PREFIX,
    REGEX,
    BadPattern,
    HostTable,
    PathTable,
    RegexList,
    read_host,
    read_path,
)


def table(*entries):
    paths = PathTable()
    for number, (kind, pattern) in enumerate(entries):
        assert paths.add(kind, pattern, number) == NOTHING
    return paths


@pytest.mark.parametrize(
    ("prefix", "takes", "leaves"),
    [
        (
            b"/api",
            [b"/api", b"/api/", b"/api/x", b"/api/x/y", b"/api//"],
            [b"/", b"/apix", b"/ap", b"/x/api", b"/Api"],
        ),
        (b"/api/", [b"/api/", b"/api/x", b"/api//"], [b"/api", b"/apix/", b"/"]),
        (b"/", [b"/", b"/x", b"//", b"/x/y/"], []),
        (b"/a/b", [b"/a/b", b"/a/b/c"], [b"/a", b"/a/", b"/a/bc", b"/a//b"]),
        (b"/a//", [b"/a//", b"/a//x"], [b"/a/", b"/a/x", b"/a"]),
    ],
)
def test_prefixes_are_whole_segments(prefix, takes, leaves):
    paths = table((PREFIX, prefix.decode()))
    assert [path for path in takes if paths.find(path) != 0] == []
    assert [path for path in leaves if paths.find(path) != NOTHING] == []


def test_exact_before_longest_prefix_before_regex():
    paths = table(
        (REGEX, "/a/.*"), (PREFIX, "/a"), (PREFIX, "/a/"), (PREFIX, "/a/b"), (EXACT, "/a/b"), (REGEX, "/z.*")
    )
    assert [paths.find(path) for path in (b"/a/b", b"/a/b/", b"/a/bc", b"/a/", b"/a", b"/zz", b"/")] == [
        4,
        3,
        2,
        2,
        1,
        5,
        NOTHING,
    ]


def test_regexes_are_tried_in_order_and_match_the_whole_path():
    paths = table((REGEX, r"/[0-9]+"), (REGEX, r"/.*"), (REGEX, r"/[0-9a-f]+"))
    assert paths.find(b"/12") == 0
    assert paths.find(b"/12f") == 1
    only = table((REGEX, r"/[0-9]+"))
    assert [only.find(path) for path in (b"/1", b"/1/", b"/x/1", b"/")] == [0, NOTHING, NOTHING, NOTHING]


def test_a_thousand_regexes_are_one_automaton():
    paths = table(*[(REGEX, rf"/site{i}/[a-z]+\.html") for i in range(1000)])
    assert paths.find(b"/site999/index.html") == 999
    assert paths.find(b"/site1000/index.html") == NOTHING


def test_regex_memory_is_bounded():
    regexes = RegexList()
    for i in range(100):
        regexes.add(f"/{i}" + "([a-z]{1,100}/){1,9}")
    with pytest.raises(BadPattern, match="more than 8 MiB"):
        regexes.compile()


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{1001}"])
def test_what_re2_does_not_know_is_refused(pattern):
    with pytest.raises(BadPattern, match="no regular expression of RE2"):
        table((REGEX, pattern))


def test_a_regex_cannot_be_made_slow():
    paths = table((REGEX, "/(a*)*b"))
    started = time.process_time()
    assert paths.find(b"/" + b"a" * 50_000) == NOTHING
    assert time.process_time() - started < 1


def test_a_path_of_slashes_costs_no_more_than_the_deepest_prefix():
    paths = table((PREFIX, "/a/b/c"))
    started = time.process_time()
    for _ in range(100):
        assert paths.find(b"/" * 60_000) == NOTHING
    assert time.process_time() - started < 1


def test_the_first_of_two_equal_patterns_keeps_its_place():
    paths = PathTable()
    assert paths.add(PREFIX, "/a", 0) == NOTHING
    assert paths.add(PREFIX, "/a/", 1) == NOTHING
    assert paths.add(EXACT, "/a", 2) == NOTHING
    assert paths.add(PREFIX, "/a", 3) == 0
    assert paths.add(PREFIX, "/a/", 3) == 1
    assert paths.add(EXACT, "/a", 3) == 2
    assert paths.find(b"/a/x") == 1


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Example.com", (False, b"example.com")),
        ("example.com.", (False, b"example.com")),
        ("*.Example.com", (True, b".example.com")),
        ("192.0.2.1", (False, b"192.0.2.1")),
        ("[2001:DB8::1]", (False, b"[2001:db8::1]")),
    ],
)
def test_host_patterns(pattern, expected):
    assert read_host(pattern) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "*",
        "*.",
        "a.*.b",
        "**.a",
        "*a.b",
        "a:80",
        "a:",
        "a/b",
        "http://a",
        "ä.de",
        "*.[::1]",
        "*.192.0.2.1",
        "u@h",
    ],
)
def test_host_patterns_refused(pattern):
    with pytest.raises(BadPattern, match=r"is no host|on every port|no names below"):
        read_host(pattern)


@pytest.mark.parametrize("pattern", ["", "api", "*", "/a b", "/ä", "/a?b", "/%zz", "/../a", "/%00"])
def test_paths_refused(pattern):
    with pytest.raises(BadPattern, match="is no path"):
        read_path(pattern)


@pytest.mark.parametrize(("pattern", "normal"), [("/a/../b", "/b"), ("/%7ea", "/~a"), ("/%c3", "/%C3")])
def test_paths_out_of_normal_form_are_named(pattern, normal):
    with pytest.raises(BadPattern, match=f"write '{normal}'"):
        read_path(pattern)


def test_wildcards_take_every_depth_but_not_the_name_itself():
    hosts = HostTable()
    hosts.paths("*.example.com").add(PREFIX, "/", 0)
    assert hosts.find(b"a.example.com", b"/") == 0
    assert hosts.find(b"a.b.example.com", b"/") == 0
    for host in (b"example.com", b"xexample.com", b"a.example.org", b"", b"com"):
        assert hosts.find(host, b"/") == NOTHING
        assert not hosts.knows(host)
    assert hosts.knows(b"a.example.com")
    assert hosts.names(b"a.b.example.com")
    hosts.paths("").add(PREFIX, "/", 1)
    assert hosts.knows(b"other.test")
    assert not hosts.names(b"other.test")  # any host names none
