"""Routes as they are built: what a worker would refuse has file, line and key, and comes with everything else."""

import pytest
from gate_text import config_of, told

from headgate.config.routing import build_route
from headgate.pipeline.matchers import EXACT, PREFIX, REGEX
from headgate.pipeline.middleware.headers import MAX_SEPARATORS

START = '[[listener]]\naddresses = ["127.0.0.1:80"]\nmode = "http"\n'
LONG = "X" + "-a" * (MAX_SEPARATORS + 1)


def routes(*texts):
    """Return a text in which the keys of the first route begin in line 5."""
    return START + "".join(f"[[route]]\n{text}\n" for text in texts)


def test_a_route_as_it_is_built():
    config = config_of(
        routes(
            'hosts = ["a.test"]\npath_exact = "/x"\nrespond = { status = 204 }',
            'path_regex = "/[a-z]+"\nredirect = { to = "/x" }',
            "respond = {}",
        )
    )
    built = [build_route(table) for table in config.route]
    assert [(one.name, one.hosts, one.path, one.kind) for one in built] == [
        ("a.test/x", ("a.test",), "/x", EXACT),
        ("*/[a-z]+", (), "/[a-z]+", REGEX),
        ("*/", (), "/", PREFIX),
    ]
    assert built[0].respond.status == 204
    assert built[1].redirect.to == "/x"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            'respond = {}\nhosts = ["a.test", "*.192.0.2.1"]',
            "6: route.hosts[1]: '*.192.0.2.1': an address has no names below it",
        ),
        (
            'respond = {}\nhosts = ["127.1"]',
            "6: route.hosts: '127.1' is no host such as example.com or *.example.com",
        ),
        (
            f'respond = {{}}\nremove_request_headers = ["A", "{LONG}"]',
            f"6: route.remove_request_headers[1]: {LONG.lower()} has more than {MAX_SEPARATORS} hyphens: ",
        ),
        (
            f'respond = {{}}\nset_request_headers = {{ A = "b", {LONG} = "c" }}',
            f"6: route.set_request_headers.{LONG}: {LONG.lower()} has more than",
        ),
        (
            'respond = {}\nset_response_headers = { A = "b", a = "c" }',
            "6: route.set_response_headers: a is set twice, in two spellings",
        ),
        (
            'respond = {}\n[route.set_request_headers]\nHost = "a b"',
            "7: route.set_request_headers.Host: Host cannot be 'a b': not a host name",
        ),
        (
            "[route.respond.headers]\nHost = 'x'",
            "6: route.respond.headers.Host: Host cannot be edited: Headgate writes it itself",
        ),
        (
            'redirect = { to = "https://user@a.test/" }',
            "5: route.redirect.to: 'https://user@a.test/': between the scheme and the path stands a host",
        ),
    ],
)
def test_what_only_shows_when_it_is_built(keys, line):
    (found,) = told(routes(keys))
    assert found.startswith(line)


def test_everything_is_told_at_once_with_everything_else():
    text = "wrkers = 2\n" + routes(
        f'respond = {{}}\nhosts = ["127.1", "127.2"]\nremove_request_headers = ["Host", "{LONG}"]',
        'redirect = { to = "https://user@a.test/" }\npath = "/r"\nremove_response_headers = ["Host"]',
        'respond = {}\npath = "/r"',
        'upstream = "nobody"\npath = "/u"',
    )
    keys = [line.partition(": ")[2].partition(": ")[0] for line in told(text)]
    assert keys == [
        "wrkers",
        "route[0].hosts[0]",
        "route[0].hosts[1]",
        "route[0].remove_request_headers[0]",
        "route[0].remove_request_headers[1]",
        "route[1].redirect.to",
        "route[1].remove_response_headers",
        "route[2]",
        "route[3].upstream",
    ]


def test_expressions_of_one_host_that_are_too_large_together():
    """Each alone is small enough; the last one is one too many, and another host is not to blame."""
    many = [
        f'hosts = ["a.test"]\npath_regex = "/{number}[^/]{{1000}}/.{{900}}"\nrespond = {{}}'
        for number in range(20)
    ]
    (found,) = told(routes(*many, "respond = {}"))
    place = 4 + 4 * 19 + 2
    assert found.startswith(
        f"{place}: route[19].path_regex: 20 regular expressions of one host need more than 8 MiB"
    )
    config_of(routes(*many[:2]))


def test_each_listener_is_judged_and_each_fault_told_once():
    more = '[[listener]]\nname = "two"\naddresses = ["127.0.0.1:81"]\nmode = "http"\n'
    text = routes('respond = {}\nhosts = ["127.1"]', 'respond = {}\nlisteners = ["two"]\nhosts = ["127.2"]')
    assert len(told(text + more)) == 2
    # The second route is nobody's; its host is no better for it.
    keys = [line.partition(": ")[2].partition(": ")[0] for line in told(text)]
    assert keys == ["route[0].hosts", "route[1].listeners", "route[1].hosts"]


def test_a_path_that_was_refused_makes_no_second_fault():
    (found,) = told(routes("respond = {}", 'respond = {}\npath_regex = "("'))
    assert found.startswith("8: route[1].path_regex: expected a regular expression")
