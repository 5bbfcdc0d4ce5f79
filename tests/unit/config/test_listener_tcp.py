"""What a listener of mode "tcp" may say, and where its connections may lead."""

import pytest
from gate_text import config_of, told

from headgate.config.listener_tcp import tcp_upstreams

ONE = """\
[[listener]]
addresses = ["127.0.0.1:5432"]
mode = "tcp"
upstream = "db"

[upstream.db]
endpoints = ["tcp://10.0.0.5:5432", "unix:/run/db.sock"]
"""
NAMES = """\
[[listener]]
name = "names"
addresses = ["127.0.0.1:443"]
mode = "tcp"

[[route]]
hosts = ["a.test", "*.b.test"]
listeners = ["names"]
upstream = "one"

[[route]]
listeners = ["names"]
upstream = "other"

[upstream.one]
endpoints = ["tcp://10.0.0.5:443"]
[upstream.other]
endpoints = ["tcp://[2001:db8::1]:443"]
"""
WEB = """
[[listener]]
name = "web"
addresses = ["127.0.0.1:80"]
mode = "http"

[[route]]
upstream = "web"

[upstream.web]
endpoints = ["http://10.0.0.1"]
"""


def test_one_upstream_for_everybody():
    config = config_of(ONE)
    assert config.listener[0].offered == ()
    assert tcp_upstreams(config) == {"db"}


def test_routes_by_name_beside_routes_of_requests():
    config = config_of(NAMES + WEB)
    assert config.routes_of(0) == (0, 1)
    assert config.routes_of(1) == (2,), "routes for all listeners are for all that speak HTTP"
    assert tcp_upstreams(config) == {"one", "other"}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            ONE.replace('upstream = "db"\n', ""),
            ["1: listener: a listener with mode tcp that leads nowhere;"],
        ),
        (
            ONE + "[upstream.db.pool]\nprewarm = 1\n",
            ["9: upstream.db.pool.prewarm: has no effect with tcp:// endpoints"],
        ),
        (ONE.replace("[upstream.db]", "[upstream.dc]"), ['4: listener.upstream: there is no upstream "db";']),
        (
            ONE.replace("tcp://10.0.0.5:5432", "http://10.0.0.5:5432"),
            ["7: upstream.db.endpoints[0]: http://10.0.0.5:5432 with mode tcp;"],
        ),
        (
            ONE.replace("tcp://10.0.0.5:5432", "tcp://10.0.0.5"),
            [
                '7: upstream.db.endpoints[0]: expected tcp://host:port, got "tcp://10.0.0.5"; tcp has no usual port'
            ],
        ),
        (
            ONE.replace("[upstream.db]", 'redirect = true\nprotocols = ["h1"]\n\n[upstream.db]'),
            [
                "7: listener.protocols: has no effect with mode tcp",
                "6: listener.redirect: has no effect with mode tcp",
            ],
        ),
        (
            ONE.replace(
                "[upstream.db]", '[listener.timeouts]\nhead = "1s"\nhandshake = "1s"\n\n[upstream.db]'
            ),
            ["7: listener.timeouts.head: has no effect with mode tcp"],
        ),
        (
            ONE.replace("[upstream.db]", '[listener.tls]\nmin_version = "1.3"\n\n[upstream.db]'),
            ["6: listener.tls: has no effect with mode tcp"],
        ),
        (
            ONE.replace("[upstream.db]", '[listener.limits]\nbody = "1MiB"\nper_client = 1\n\n[upstream.db]'),
            ["7: listener.limits.body: has no effect with mode tcp"],
        ),
        (
            NAMES.replace('mode = "tcp"', 'mode = "tcp"\nupstream = "one"'),
            ["5: listener.upstream: stands beside routes for this listener;"],
        ),
        (
            NAMES.replace('upstream = "one"', 'upstream = "one"\npath = "/x"'),
            ["10: route[0].path: has no effect with mode tcp;"],
        ),
        (
            NAMES.replace(
                'listeners = ["names"]\nupstream = "one"', 'listeners = ["names", "web"]\nupstream = "one"'
            )
            + WEB,
            ["8: route[0].listeners: listeners of mode tcp beside others;"],
        ),
        (
            WEB.replace("http://10.0.0.1", "tcp://10.0.0.1:80"),
            ["8: route.upstream: web has tcp:// endpoints;"],
        ),
        (
            WEB.replace('mode = "http"', 'mode = "http"\nupstream = "web"'),
            ["6: listener.upstream: has no effect with mode http;"],
        ),
        (
            WEB.replace('mode = "http"', 'mode = "http"\n[listener.tcp]\nidle_timeout = "1s"'),
            ["6: listener.tcp: has no effect with mode http"],
        ),
        (
            WEB.replace(
                'mode = "http"', 'mode = "http"\nupstream = "web"\n[listener.tcp]\nidle_timeout = "1s"'
            ),
            [
                "6: listener.upstream: has no effect with mode http;",
                "7: listener.tcp: has no effect with mode http",
            ],
        ),
        (
            ONE + '[upstream.x]\nendpoints = ["tcp://10.0.0.1:1"]\nhead_timeout = "1s"\n',
            ["10: upstream.x.head_timeout: has no effect with mode tcp"],
        ),
    ],
)
def test_what_does_not_go_with_it(text, lines):
    found = told(text)
    assert len(found) == len(lines), found
    for line in lines:
        assert any(one.startswith(line) for one in found), (line, found)


WEB_UPSTREAM = WEB + 'proxy_protocol = "v2"\n'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (WEB_UPSTREAM + "tcp_fast_open = true\n", "upstream.web.tcp_fast_open: beside proxy_protocol"),
        (
            WEB_UPSTREAM + "[upstream.web.pool]\nprewarm = 1\n",
            "upstream.web.pool.prewarm: beside proxy_protocol;",
        ),
        (
            WEB_UPSTREAM.replace("http://10.0.0.1", "https://10.0.0.1") + 'protocols = ["h1", "h3"]\n',
            "upstream.web.proxy_protocol: beside h3 in protocols;",
        ),
        (
            WEB_UPSTREAM + 'protocols = ["h2"]\n',
            "upstream.web.proxy_protocol: beside h2 in protocols;",
        ),
        (
            WEB_UPSTREAM.replace("http://10.0.0.1", "asgi:shop:app"),
            "upstream.web.proxy_protocol: beside an asgi endpoint;",
        ),
    ],
)
def test_what_does_not_go_with_headers_towards_origins(text, line):
    (found,) = told(text)
    assert found.partition(" ")[2].startswith(line), found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('proxy_protocol = "accept"', "listener.proxy_protocol: accept, and no proxy_protocol_from;"),
        ('proxy_protocol_from = ["10.0.0.0/8"]', "listener.proxy_protocol_from: has no effect with"),
    ],
)
@pytest.mark.parametrize("mode", [ONE, WEB])
def test_headers_from_balancers(mode, text, line):
    (found,) = told(mode.replace("addresses", f"{text}\naddresses", 1))
    assert found.partition(" ")[2].startswith(line), found
