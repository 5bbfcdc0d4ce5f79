"""Checks across tables."""

import pytest
from gate_text import GATE, config_of, edited, told

HTTPS_GATE = edited(('"http://10.0.0.1:8080"', '"https://10.0.0.1"'))
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
            edited(('mode = "https"', 'protocols = ["h1", "h3", "h1"]')),
            "5: listener.protocols[2]: h1 stands there twice",
        ),
        (
            edited(('mode = "https"', 'protocols = ["h3"]')),
            "5: listener.protocols: h3 alone, expected h1 or h2 beside it; "
            "clients learn of HTTP/3 from an answer over TCP",
        ),
        (
            added('[[listener]]\nmode = "http"\naddresses = ["0.0.0.0:80"]\nprotocols = ["h1", "h3"]'),
            "24: listener[1].protocols[1]: h3 with mode http; HTTP/3 is always encrypted",
        ),
        (
            edited(('mode = "https"', 'protocols = ["h1"]\nhttp2 = { requests = 10 }')),
            "6: listener.http2: has no effect without h2 in protocols",
        ),
        (
            added('[[listener]]\nmode = "http"\naddresses = ["0.0.0.0:80"]\nadvertise_port = 80'),
            "24: listener[1].advertise_port: has no effect with mode http",
        ),
        (
            edited(
                ('mode = "https"', 'protocols = ["h1"]'),
                ("[listener.tls]", '[listener.quic]\nretry = "always"\n[listener.tls]'),
            ),
            "6: listener.quic: has no effect without h3 in protocols",
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
            "19: route.respond.body: a response with status 204 has no content (RFC 9110 section 6.4.1)",
        ),
        (
            edited((ROUTE, f"{ROUTE}hsts = {{ preload = true }}\n")),
            '20: route.hsts.preload: expected include_subdomains = true and max_age = "365d" or more beside it',
        ),
        (
            added('[[route]]\nhosts = ["a.com", "EXAMPLE.com"]\npath = "/api"\nrespond = {}'),
            '21: route[1]: takes the same requests as a route above (example.com, path "/api")',
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
            edited(('"http://10.0.0.1:8080"', '"unix:/run/app"')) + "tcp_fast_open = true\n",
            "23: upstream.api.tcp_fast_open: has no effect: no endpoint begins with http:// or https://",
        ),
        (
            HTTPS_GATE + 'tls = { verify = false, ca = "ca.pem" }\n',
            "23: upstream.api.tls.ca: has no effect with verify = false",
        ),
        (
            HTTPS_GATE + 'tls = { verify = false, staple = "require" }\n',
            "23: upstream.api.tls.staple: has no effect with verify = false",
        ),
        (
            HTTPS_GATE + 'tls = { key = "key.pem" }\n',
            "23: upstream.api.tls.key: a key, and no certificate beside it",
        ),
        (
            f'{GATE}protocols = ["h1", "h3"]\n',
            "23: upstream.api.protocols[1]: h3 to http://10.0.0.1:8080; HTTP/3 is always encrypted",
        ),
        (
            f'{GATE}protocols = ["h1", "h2"]\n',
            "23: upstream.api.protocols[1]: h2 beside h1 has no effect without https endpoints; without TLS "
            'nobody can choose: protocols = ["h2"] speaks it, ["h1"] does not',
        ),
        (
            edited(('"http://10.0.0.1:8080"', '"asgi:shop:app"')) + 'protocols = ["h2"]\n',
            "23: upstream.api.protocols: h2 to asgi:shop:app; it is for http, https and unix endpoints",
        ),
        (
            HTTPS_GATE + 'protocols = ["h3"]\nhealth = { path = "/" }\n',
            "24: upstream.api.health.kind: http over TCP, and h1 is not in protocols; add h1 or h2",
        ),
        (
            edited(('"http://10.0.0.1:8080"', '"https://10.0.0.1"')) + 'protocols = ["h3", "h3"]\n',
            "23: upstream.api.protocols[1]: h3 stands there twice",
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


# -- listeners by name

TWO = """\
[[listener]]
name = "public"
addresses = ["0.0.0.0:80"]
mode = "http"
[[listener]]
name = "internal"
addresses = ["127.0.0.1:81"]
mode = "http"
[[listener]]
addresses = ["127.0.0.1:82", "[::1]:82"]
mode = "http"
[[listener]]
name = "led"
addresses = ["127.0.0.1:83"]
mode = "http"
redirect = true
"""


def routed(*lists, text=TWO):
    """Return a text with one route for each list of listeners; the first one's `listeners` is in line 18."""
    routes = "".join(f"[[route]]\nlisteners = {names}\nrespond = {{}}\n" for names in lists)
    return text + routes


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            routed('["public", "internl"]'),
            ['18: route.listeners[1]: there is no listener "internl"; did you mean "internal"?'],
        ),
        (
            routed('["z"]'),
            [
                '18: route.listeners: there is no listener "z"; '
                'there are "public", "internal", "127.0.0.1:82", "led"'
            ],
        ),
        (
            routed('["127.0.0.1:81"]'),  # it has a name, so its address is none
            ['18: route.listeners: there is no listener "127.0.0.1:81"; did you mean "127.0.0.1:82"?'],
        ),
        (
            routed("[]"),
            ["18: route.listeners: expected at least one, got []; leave `listeners` out for all of them"],
        ),
        (
            routed('"public"'),
            ['18: route.listeners: expected an array, got "public"; put brackets around it: ["public"]'],
        ),
        (
            routed('["public", "led"]'),
            [
                '18: route.listeners[1]: has no effect: "led" only redirects; '
                "it redirects to the listener that has this route"
            ],
        ),
        (
            routed('["public"]', '["public", "internal"]'),
            ['20: route[1]: takes the same requests as a route above (any host, path "/")'],
        ),
        (
            routed('["public"]') + "[[route]]\nrespond = {}\n",
            ['20: route[1]: takes the same requests as a route above (any host, path "/")'],
        ),
        (
            routed('["internal"]', text=TWO.replace('"public"', '"internal"')),
            ['6: listener[1].name: "internal" is a listener above'],
        ),
        (
            routed('["a b"]', text=TWO.replace('"public"', '"a b"')),
            [
                "2: listener[0].name: expected a name of up to 64 letters, digits, dots, dashes and underscores, "
                'got "a b"'
            ],
        ),
        (
            routed('["public"]', text=TWO.replace('"0.0.0.0:80"', '"0.0.0.0"')),
            [
                "3: listener[0].addresses: expected an IP address and a port, "
                'such as "0.0.0.0:443" or "[::]:443", got "0.0.0.0"; add the port: "0.0.0.0:443"'
            ],
        ),
        (
            'listener = [{ addresses = ["127.0.0.1:0"], mode = "http" }, '
            '{ addresses = ["127.0.0.1:0"], mode = "http" }]\n' + routed('["127.0.0.1:0"]', text=""),
            ["3: route.listeners: 2 listeners are at 127.0.0.1:0; give them a name each"],
        ),
    ],
)
def test_a_fault_in_the_names_of_listeners(text, lines):
    assert told(text) == lines


def test_routes_of_different_listeners_may_be_the_same():
    config = config_of(routed('["public"]', '["internal", "127.0.0.1:82"]'))
    assert [config.routes_of(index) for index in range(4)] == [(0,), (1,), (1,), ()]


def test_a_name_may_come_from_a_variable():
    text = routed('["${WHERE}"]', text=TWO.replace('"internal"', '"${WHERE:-internal}"'))
    assert config_of(text, {"WHERE": "inside"}).routes_of(1) == (0,)
    # The listener goes for another reason; that it is missing then is no news.
    assert told(text.replace('"127.0.0.1:81"', '"::1"'), {"WHERE": "inside"})[1:] == []


def test_a_route_without_a_list_belongs_to_all_listeners():
    config = config_of(edited(("workers = 2\n", '[[listener]]\naddresses = ["[::]:443"]\n')))
    assert [config.routes_of(index) for index in range(2)] == [(0,), (0,)]
