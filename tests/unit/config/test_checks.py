"""Checks across tables."""

import pytest
from gate_text import GATE, config_of, edited, told

ROUTE = 'upstream = "api"\n'
NEXT = "[upstream.api]"


def added(text):
    return edited((NEXT, f"{text}\n{NEXT}"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", " listener: missing, expected at least one [[listener]]; nothing would be served without"),
        (
            "listener = []",
            "1: listener: missing, expected at least one [[listener]]; nothing would be served without",
        ),
        (
            edited(('[[certificate]]\nfiles = "site.pem"\n', "")),
            "3: listener: a listener with mode https, and no [[certificate]] at all; "
            'add [[certificate]] with files = "…", or mode = "http" here',
        ),
        (
            edited(('mode = "https"', 'mode = "https"\nredirect = true')),
            '6: listener.redirect: redirects to itself; it is meant for mode = "http"',
        ),
        (edited(('mode = "https"', 'mode = "http"')), "6: listener.tls: has no effect with mode http"),
        (
            edited(('min_version = "1.2"', 'client_auth = "required"')),
            "7: listener.tls.client_auth: required, and no client_ca; "
            "a client certificate must be verified against something",
        ),
        (
            edited(('min_version = "1.2"', 'client_ca = "x"')),
            "7: listener.tls.client_ca: has no effect with client_auth off; "
            'set client_auth = "optional" or "required"',
        ),
        (
            added('[[listener]]\nmode = "http"\naddresses = ["0.0.0.0:80", "0.0.0.0:443"]'),
            "23: listener[1].addresses[1]: 0.0.0.0:443 is taken by a listener above",
        ),
        (
            added('[metrics]\naddress = "0.0.0.0:443"'),
            "22: metrics.address: 0.0.0.0:443 is taken by a listener above",
        ),
        (
            added('[[certificate]]\nfiles = "site.pem"'),
            "22: certificate[1].files: the same files as in a [[certificate]] above",
        ),
        (added('[ocsp]\nmin_interval = "13h"'), "22: ocsp.min_interval: is longer than max_interval"),
        (
            edited(("[[route]]", '[certificate.ocsp]\nmax_interval = "1m"\n[[route]]')),
            "16: certificate.ocsp: min_interval is longer than max_interval",
        ),
        (
            edited((ROUTE, 'upstream = "apu"\n')),
            '19: route.upstream: there is no upstream "apu"; did you mean "api"?',
        ),
        (
            edited((ROUTE, 'upstream = "http://10.0.0.1"\n')),
            '19: route.upstream: there is no upstream "http://10.0.0.1"; '
            'an upstream has a name; its URL goes into endpoints = ["…"] under [upstream.NAME]',
        ),
        (
            edited((ROUTE, 'upstream = "blog"\n')),
            '19: route.upstream: there is no upstream "blog"; add [upstream.blog]; there are api',
        ),
        (
            edited((ROUTE, "")),
            "16: route: a route without an action, expected one of upstream, redirect, respond",
        ),
        (
            edited((ROUTE, f"{ROUTE}respond = {{}}\n")),
            "20: route.respond: stands beside upstream, expected only one of upstream, redirect, respond",
        ),
        (
            edited((ROUTE, f'{ROUTE}path_exact = "/"\n')),
            "20: route.path_exact: stands beside path, expected only one of path, path_exact, path_regex",
        ),
        (
            edited((ROUTE, 'respond = { status = 204, body = "x" }\n')),
            "19: route.respond.body: a 204 has no content (RFC 9110)",
        ),
        (
            edited((ROUTE, f"{ROUTE}hsts = {{ preload = true }}\n")),
            '20: route.hsts.preload: expected include_subdomains = true and max_age = "365d" or more beside it',
        ),
        (
            added('[[route]]\nhosts = ["a.com", "EXAMPLE.com"]\npath = "/api"\nrespond = {}'),
            "21: route[1]: takes the same requests as a route above (example.com/api)",
        ),
        (
            edited(('10.0.0.1:8080"', '10.0.0.1:8080", "http://10.0.0.1:8080/"')),
            "22: upstream.api.endpoints[1]: http://10.0.0.1:8080 stands there twice; give it a weight",
        ),
        (
            f"{GATE}tls = {{ verify = false }}\n",
            "23: upstream.api.tls: has no effect: no endpoint begins with https://",
        ),
        (
            f'{GATE}[upstream."a b"]\nendpoints = ["http://a"]\n',
            '23: upstream."a b": expected a name of up to 64 letters, digits, dots, dashes and underscores',
        ),
    ],
)
def test_one_fault(text, line):
    assert told(text) == [line]


def test_what_only_looks_like_a_fault():
    config_of(
        added(
            '[[listener]]\nmode = "http"\naddresses = ["127.0.0.1:0", "127.0.0.1:0", "[::]:443"]\n'
            '[[route]]\nhosts = ["example.com"]\npath_exact = "/api/"\nrespond = {}\n'
            '[[route]]\nhosts = ["example.com"]\nrespond = {}\n'
            "[[route]]\nrespond = { status = 204 }\n"
            '[[route]]\nhosts = ["*.example.com"]\npath = "/api/"\nrespond = {}'
        )
    )


def test_a_listener_without_tls_needs_no_certificate():
    config_of('listener = [{ addresses = ["127.0.0.1:80"], mode = "http" }]')
