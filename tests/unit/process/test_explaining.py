"""Which listener and route a request has, by the configuration."""

import pytest

from headgate.config.loader import loads
from headgate.process.explaining import ExplainError, explain_configuration

TEXT = """
[[listener]]
name = "away"
addresses = ["127.0.0.1:8080"]
mode = "http"
redirect = true
[[listener]]
name = "inside"
addresses = ["127.0.0.1:8081"]
mode = "http"
[[listener]]
name = "secure"
addresses = ["127.0.0.1:8443"]
advertise_port = 443
[[certificate]]
files = "a.pem"
[cache]
enabled = true
[[route]]
hosts = ["inside.test"]
listeners = ["inside"]
upstream = "u"
[route.cache]
key_headers = ["X-Country"]
accept_encoding = ["gzip"]
[[route]]
path = "/plain"
upstream = "u"
[route.cache]
enabled = false
[[route]]
upstream = "sticky"
set_request_headers = { "X-Country" = "de" }
[route.cache]
key_headers = ["X-Country"]
bypass_headers = ["X-Preview"]
[upstream.u]
endpoints = ["http://127.0.0.1:1"]
[upstream.sticky]
endpoints = ["http://127.0.0.1:2"]
sticky_cookie = "s"
"""


@pytest.fixture(scope="module")
def config():
    return loads(TEXT, environ={}, files=False)


def explained(config, url, *fields, method="GET"):
    return explain_configuration(config, url, method, list(fields), 1e9)


def test_the_listener_with_the_port_of_the_url_goes_first(config):
    assert explained(config, "http://a.test:8081/")["listener"] == "inside"
    assert explained(config, "http://a.test:8080/") == {
        "listener": "away",
        "route": None,
        "cached": False,
        "redirects": True,
    }
    assert explained(config, "https://a.test/")["listener"] == "secure"
    assert explained(config, "https://a.test:9000/")["listener"] == "secure"  # somebody maps ports


def test_routes_of_other_listeners_are_none(config):
    assert explained(config, "http://inside.test:8081/")["route"] == "inside.test/"
    assert explained(config, "https://inside.test/")["route"] is None


def test_the_key_is_made_of_what_the_origin_gets(config):
    row = explained(config, "https://a.test/x", "X-Country: fr")
    assert row["key"] == "https://a.test/x\nfield:x-country=de\nasked:port=8443"
    assert row["policy"]["set_cookie"] == {"value": "refuse", "from": "upstream"}
    assert "outcome" not in row


def test_what_is_so_whatever_is_stored(config):
    rows = {
        "bypassed": explained(config, "https://a.test/", "X-Preview: 1"),
        "method": explained(config, "https://a.test/", method="DELETE"),
        "upgrade": explained(config, "https://a.test/", "Upgrade: websocket"),
    }
    for reason, row in rows.items():
        assert (row["action"], row["outcome"], row["reason"]) == ("PASS", "BYPASS", reason)
    long = explained(config, f"https://a.test/{'x' * 8170}")
    assert (long["key"], long["reason"]) == ("", "bypassed")


def test_a_route_without_a_cache_has_no_policy(config):
    assert explained(config, "https://a.test/plain") == {
        "listener": "secure",
        "route": "*/plain",
        "cached": False,
    }


def test_what_is_no_request(config):
    for method, field in (("GE T", "A: b"), ("GET", "a b: c")):
        with pytest.raises(ExplainError, match="is not part of a request"):
            explained(config, "https://a.test/", field, method=method)
