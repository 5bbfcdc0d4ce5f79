"""HTTP/3 on the bench: everybody is told to speak it, and what is missing is said."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
from bench import h3_load
from bench.h3_rivals import Aioquic, Caddy
from bench.lab import Lane
from bench.load import LoadError
from bench.proxies import Haproxy, Headgate, Job, Nginx, Profile, headgate_config, is_bound, udp_drops
from bench.rows import ROWS
from bench.rows.base import Row
from bench.rows.h3 import H3Requests

from headgate.testing.relay import bind


def job(root, **profile):
    work = root / "bench" / "run"
    (work / "a").mkdir(parents=True, exist_ok=True)
    return Job(Profile(**profile), work / "a", work / "certs", 8080, 8443, 9000)


def test_each_is_told_to_speak_it_and_only_when_asked(tmp_path):
    for is_asked in (False, True):
        one = job(tmp_path, h3=is_asked)
        versions = tomllib.loads(headgate_config(one))["listener"][1]["protocols"]
        assert ("h3" in versions) is is_asked
        for proxy, file, word in (
            (Haproxy("h", tmp_path), "haproxy.cfg", "quic4@127.0.0.1:8443"),
            (Nginx("n", tmp_path), "nginx.conf", "127.0.0.1:8443 quic"),
        ):
            proxy.command(one)
            assert (word in (one.directory / file).read_text()) is is_asked


def test_caddy_is_told_by_json_with_paths_of_its_own_root(tmp_path):
    one = job(tmp_path, h3=True, access_log=True)
    command = Caddy("caddy", tmp_path).command(one)
    assert command[-1] == "/bench/run/a/caddy.json"
    text = (one.directory / "caddy.json").read_text()
    assert str(tmp_path) not in text
    servers = json.loads(text)["apps"]["http"]["servers"]
    assert servers["secure"]["protocols"] == ["h1", "h2", "h3"]
    assert servers["secure"]["routes"][0]["handle"][0]["upstreams"] == [{"dial": "127.0.0.1:9000"}]


def test_rows_are_of_those_who_speak_the_version(tmp_path):
    proxies = [Headgate("headgate"), Haproxy("haproxy"), Haproxy("haproxy-new", tmp_path), Aioquic("aioquic")]
    plain, quic = Row(), H3Requests("x", "x", goal=1.0)
    assert [lane.label for lane in plain.lanes(proxies)] == ["headgate", "haproxy", "haproxy-new"]
    assert [lane.label for lane in quic.lanes(proxies)] == ["headgate", "haproxy-new", "aioquic"]
    assert quic.baseline("headgate") == "haproxy-new"
    assert all(isinstance(lane, Lane) for row in ROWS for lane in row.lanes(proxies))


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    busy = next(row for row in ROWS if row.name == "h3-fields")
    assert "HEADGATE_RIVALS" in busy.absent(None)
    assert str(tmp_path) in busy.absent(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ngtcp2-client" in next(row for row in ROWS if row.name == "h3").absent(None)


def test_curl_must_have_had_every_answer_over_http3(monkeypatch):
    said = ["3 200\n3 200\n", "3 200\n2 200\n"]

    def run(command, **kwargs):
        assert command[-1].endswith("/?[1-2]")
        return subprocess.CompletedProcess(command, 0, said.pop(0), "")

    monkeypatch.setattr(h3_load.subprocess, "run", run)
    load = h3_load.H3Load(connections=1, headers=("a: b",))
    assert h3_load.requests(1, load, 2, 0, Path("/root")).requests == 2
    with pytest.raises(LoadError, match="1 of 2"):
        h3_load.requests(1, load, 2, 0, Path("/root"))


def test_a_udp_port_is_seen_without_asking_it():
    with bind("127.0.0.1", kind=2) as sock:
        port = sock.getsockname()[1]
        assert (is_bound(port), udp_drops(port)) == (True, 0)
    assert (is_bound(port), udp_drops(port)) == (False, -1)
