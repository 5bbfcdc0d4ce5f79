"""What `headgate explain` says, with a gate and without."""

import json

import pytest

from headgate.admin.client import NoGateError
from headgate.cache.outcome import REASONS, STORED
from headgate.cli.explaining import RULES, explain_url, home_said
from headgate.errors import HeadgateError


def test_every_reason_of_a_request_is_explained():
    assert tuple(RULES) == REASONS[:STORED]
    assert [word for word, text in RULES.items() if not text] == ["none"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(
        f"""runtime_dir = "{tmp_path}/run"
[[listener]]
addresses = ["127.0.0.1:80"]
mode = "http"
[cache]
enabled = true
accept_encoding = ["br"]
[[route]]
path = "/static"
upstream = "u"
[route.cache]
ttl = "1h"
query = "without"
query_names = ["utm_*"]
negative_ttl = {{ 404 = "10s" }}
[[route]]
respond = {{}}
[upstream.u]
endpoints = ["http://127.0.0.1:1"]
"""
    )
    return path


def said(capsys, file, url, *fields, method="GET", as_json=False):
    code = explain_url(file, None, url, method, list(fields), as_json=as_json)
    out = capsys.readouterr().out
    assert code == 0
    return json.loads(out) if as_json else out


def test_without_a_gate_the_configuration_is_asked(capsys, file):
    answer = said(capsys, file, "http://a.test/static/x?b=1&utm_source=mail", as_json=True)
    (row,) = answer["workers"]
    assert answer["running"] is False
    assert (row["worker"], row["listener"], row["cached"]) == (None, "127.0.0.1:80", True)
    assert (row["route"], row["key"]) == ("*/static", "http://a.test/static/x?b=1")
    assert row["policy"]["ttl"] == {"value": "1h", "from": "route"}
    assert row["policy"]["accept_encoding"] == {"value": ["br"], "from": "[cache]"}
    assert row["note"].startswith("no store to look into: the gate is not running (no gate answers at ")
    assert "outcome" not in row


def test_the_table_without_a_gate(capsys, file):
    lines = said(capsys, file, "http://a.test/static/x").splitlines()
    assert lines[1] == "listener 127.0.0.1:80, route */static, key http://a.test/static/x"
    words = [line.split() for line in lines]
    assert ["ttl", "1h", "route"] in words
    assert ["negative_ttl", "404", "=", "10s", "route"] in words
    assert ["accept_encoding", "br", "[cache]"] in words
    assert [line for line in lines if "more have their defaults" in line]
    assert lines[-1].startswith("no store to look into: the gate is not running")


def test_what_needs_no_store_is_told_without_a_gate(capsys, file):
    (row,) = said(capsys, file, "http://a.test/static/x", method="POST", as_json=True)["workers"]
    assert (row["action"], row["outcome"], row["reason"]) == ("PASS", "BYPASS", "method")
    assert "neither GET nor HEAD" in said(capsys, file, "http://a.test/static/x", method="POST")
    assert "the route has no cache" in said(capsys, file, "http://a.test/")
    assert "no route" in said(capsys, file, "https://a.test/")


def test_neither_a_gate_nor_a_configuration(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoGateError):
        explain_url(None, tmp_path, "http://a.test/", "GET", [], as_json=True)
    file.rename(tmp_path / "headgate.toml")
    with pytest.raises(NoGateError):  # it may be another gate's
        explain_url(None, tmp_path, "http://a.test/", "GET", [], as_json=True)
    assert explain_url(None, None, "http://a.test/", "GET", [], as_json=True) == 0


@pytest.mark.parametrize(("url", "fields"), [("/path", []), ("http://a.test/", ["no colon"])])
def test_what_is_no_request_is_said_without_a_gate_too(file, url, fields):
    with pytest.raises(HeadgateError, match=r"begins with http|is not part of a request"):
        explain_url(file, None, url, "GET", fields, as_json=True)


def home(asked, why=""):
    return {"worker": 1, "asked": asked, "reachable": not why, "why": why}


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([{"worker": 0}, {"worker": 1}], ""),
        ([{"worker": 0, "error": "no answer in time"}], ""),
        (
            [{"worker": 0, "home": home(True)}, {"worker": 1, "home": home(False)}],
            "at home in worker 1, which the others ask and reach",
        ),
        (
            [{"worker": 0, "home": home(False)}, {"worker": 1, "home": home(False)}],
            "at home in worker 1, which is not asked for such a request",
        ),
        (
            [{"worker": 0, "home": home(True)}, {"worker": 1, "error": "no answer in time"}],
            "at home in worker 1, which gives no answer: the others ask the origin",
        ),
        (
            [{"worker": slot, "home": home(slot != 1, "resting" if slot != 1 else "")} for slot in range(3)],
            "at home in worker 1, which is not reached by worker 0 (resting), worker 2 (resting): "
            "the origin is asked",
        ),
    ],
)
def test_the_home_of_a_key_in_words(rows, text):
    assert home_said(rows) == text
