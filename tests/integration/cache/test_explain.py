"""`headgate explain` says beforehand what the next request meets."""

import json

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import Gate

TEXT = """
[cache]
enabled = true
[[route]]
path = "/quiet"
upstream = "origin"
[route.cache]
enabled = false
[[route]]
path = "/coded"
upstream = "origin"
[route.cache]
accept_encoding = ["br"]
stale_if_error = "1m"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""


def explain(gate, path, *arguments, running=True):
    url = f"http://127.0.0.1:{gate.http_ports[0]}{path}"
    done = gate.run("explain", url, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["running"] is running
    (row,) = answer["workers"]
    return row


def test_before_and_after(gate, story):
    story.tell("/one", b"hello", "Cache-Control: max-age=60", "Cache-Tag: red", 'ETag: "1"')
    row = explain(gate, "/one")
    assert (row["outcome"], row["reason"], row["stored"]) == ("MISS", "not-stored", [])
    assert "fwd=uri-miss" in ask(gate, "/one").cache
    row = explain(gate, "/one")
    assert (row["action"], row["outcome"], row["reason"]) == ("SERVE", "HIT", "fresh")
    (stored,) = row["stored"]
    assert (stored["where"], stored["octets"], stored["tags"], stored["etag"]) == (
        "memory",
        5,
        ["red"],
        '"1"',
    )
    assert 50 < stored["fresh_for"] <= 60
    assert len(story.asked("/one")) == 1
    assert "hit" in ask(gate, "/one").cache


@pytest.mark.parametrize(
    ("arguments", "outcome", "reason", "said"),
    [
        (["-H", "Accept-Language: de"], "HIT", "fresh", "hit"),
        (["-H", "Accept-Language: fr"], "MISS", "vary", "fwd=vary-miss"),
        (
            ["-H", "Accept-Language: de", "-H", "Cache-Control: no-cache"],
            "EXPIRED",
            "client-no-cache",
            "request",
        ),
        (["--method", "POST"], "BYPASS", "method", "fwd=method"),
        (["-H", "Accept-Language: de", "-H", 'If-Match: "z"'], "BYPASS", "precondition", "fwd=request"),
    ],
)
def test_it_is_what_then_happens(gate, story, arguments, outcome, reason, said):
    path = f"/vary-{reason}-{outcome}"
    story.tell(path, b"hallo", "Cache-Control: max-age=60", "Vary: Accept-Language")
    ask(gate, path, Accept_Language="de")
    row = explain(gate, path, *arguments)
    assert (row["outcome"], row["reason"]) == (outcome, reason)
    assert row["stored"][0]["vary"] == ["accept-language: de"]
    fields = [word.split(": ") for word in arguments if ": " in word]
    method = arguments[1] if arguments[0] == "--method" else "GET"
    assert said in ask(gate, path, method, **{name.replace("-", "_"): value for name, value in fields}).cache


def test_a_route_without_a_cache(gate):
    row = explain(gate, "/quiet/x")
    assert row["cached"] is False
    assert "/quiet" in row["route"]


def test_the_table_names_the_rule(gate, story):
    story.tell("/table", b"hello", "Cache-Control: max-age=60")
    ask(gate, "/table")
    done = gate.run("explain", f"http://127.0.0.1:{gate.http_ports[0]}/table")
    assert done.returncode == 0
    assert "HIT" in done.stdout
    assert "9111" in done.stdout


def test_what_is_no_url_is_said(gate):
    done = gate.run("explain", "/path")
    assert done.returncode != 0
    assert "begins with http" in done.stderr


def test_the_policy_in_force(gate, story):
    story.tell("/coded/x", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Encoding")
    ask(gate, "/coded/x", Accept_Encoding="br, gzip")
    row = explain(gate, "/coded/x", "-H", "Accept-Encoding: zstd, br")
    assert (row["outcome"], row["stored"][0]["vary"]) == ("HIT", ["accept-encoding: br"])
    assert row["policy"]["stale_if_error"] == {"value": "60s", "from": "route"}
    assert row["policy"]["enabled"] == {"value": True, "from": "[cache]"}
    assert row["policy"]["s_maxage_allows_stale"] == {"value": False, "from": "default"}
    url = f"http://127.0.0.1:{gate.http_ports[0]}/coded/x"
    words = [line.split() for line in gate.run("explain", url).stdout.splitlines()]
    assert ["accept_encoding", "br", "route"] in words


def test_without_the_gate_it_is_the_same_policy(gate, story, tmp_path):
    path = "/coded/x?a=1"
    told = explain(gate, path)
    with Gate(tmp_path, TEXT.format(url=story.url), start=False) as silent:
        silent_port = silent.http_ports[0]
        silent.http_ports = gate.http_ports
        row = explain(silent, path, running=False)
    assert (row["route"], row["policy"]) == (told["route"], told["policy"])
    assert row["key"] == f"{told['key']}\nasked:port={silent_port}"  # its listener is on another
    assert row["note"].startswith("no store to look into: the gate is not running")
    assert "stored" not in row
