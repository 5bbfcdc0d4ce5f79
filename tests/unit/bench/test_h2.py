"""HTTP/2 on the bench: everybody is told to speak it, and neither load nor client believes what it did not see."""

import socket
import threading
import time
import tomllib

import pytest
from bench import h2_client, h2_load
from bench.h2_client import H2Client, frame
from bench.held import Held
from bench.load import LoadError
from bench.proxies import Haproxy, Headgate, Job, Nginx, Profile, headgate_config
from bench.rows import ROWS
from bench.rows.h2 import OpenStreams

SAID = (
    "finished in 1.25s, 4000.00 req/s, 1MB/s\n"
    "requests: 5000 total, 5000 started, 5000 done, {} succeeded, {} failed, 0 errored, 0 timeout\n"
    "status codes: {} 2xx, 0 3xx, 0 4xx, {} 5xx\n"
)


def job(root, **profile):
    (root / "a").mkdir(exist_ok=True)
    return Job(Profile(**profile), root / "a", root / "certs", 8080, 8443, 9000, held_port=9001)


def told(root, **profile):
    """Return the configurations of everybody."""
    one = job(root, **profile)
    Haproxy("haproxy").command(one)
    Nginx("nginx").command(one)
    config = tomllib.loads(headgate_config(one))
    return config, (one.directory / "haproxy.cfg").read_text(), (one.directory / "nginx.conf").read_text()


@pytest.mark.parametrize("is_asked", [False, True])
def test_each_is_told_to_speak_it_and_only_when_asked(tmp_path, is_asked):
    config, haproxy, nginx = told(tmp_path, h2=is_asked)
    assert ("h2" in config["listener"][1]["protocols"]) is is_asked
    assert ("alpn h2,http/1.1" in haproxy) is is_asked
    assert ("127.0.0.1:8443 ssl http2" in nginx) is is_asked


@pytest.mark.parametrize("is_asked", [False, True])
def test_each_is_told_to_speak_it_to_the_origin(tmp_path, is_asked):
    config, haproxy, nginx = told(tmp_path, h2c_origin=is_asked)
    assert ("protocols" in config["upstream"]["origin"]) is is_asked
    assert ("proto h2" in haproxy) is is_asked
    assert ("proxy_http_version 2;" in nginx) is is_asked


def test_each_leads_to_the_origin_that_never_answers(tmp_path):
    config, haproxy, nginx = told(tmp_path, held=True)
    assert config["upstream"]["hold"]["endpoints"] == ["http://127.0.0.1:9001"]
    assert [route["path"] for route in config["route"]] == ["/", "/hold"]
    assert "use_backend hold if { path_beg /hold }" in haproxy
    assert "backend hold\n  server o 127.0.0.1:9001" in haproxy
    assert "location /hold { proxy_pass http://hold; }" in nginx
    assert "hold" not in "".join(map(str, told(tmp_path)))


def test_rows_towards_h2_origins_are_of_those_who_speak_it(tmp_path):
    proxies = [Headgate("headgate"), Haproxy("haproxy"), Nginx("nginx"), Nginx("nginx-new", tmp_path)]
    rows = {row.name: [lane.label for lane in row.lanes(proxies)] for row in ROWS if row.version[:2] == "h2"}
    assert rows["h2"] == rows["idle-h2"] == ["headgate", "haproxy", "nginx", "nginx-new"]
    assert rows["h2c-origin"] == ["headgate", "haproxy", "nginx-new"]


def test_open_streams_are_compared_with_none_of_the_same():
    lanes = OpenStreams().lanes([Haproxy("haproxy")])
    assert [lane.label for lane in lanes] == ["haproxy", "haproxy ×100"]
    assert {OpenStreams().baseline(lane.label) for lane in lanes} == {"haproxy"}


def test_h2load_is_believed_when_every_answer_was_good():
    seen = h2_load.outcome(SAID.format(5000, 0, 5000, 0), 5000)
    assert (seen.requests, seen.seconds) == (5000, 1.25)
    assert h2_load.outcome(SAID.replace("1.25s", "2m3s").format(5000, 0, 5000, 0), 5000).seconds == 123
    assert h2_load.outcome(SAID.replace("1.25s", "250ms").format(5000, 0, 5000, 0), 5000).seconds == 0.25
    for figures in ((4999, 1, 4999, 0), (5000, 0, 4999, 1)):
        with pytest.raises(LoadError, match="5000 total"):
            h2_load.outcome(SAID.format(*figures), 5000)
    with pytest.raises(LoadError, match="nothing"):
        h2_load.outcome("could not connect", 1)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nghttp2-client" in next(row for row in ROWS if row.name == "h2").absent(None)


@pytest.mark.parametrize(
    ("block", "is_ok"),
    [("88", True), ("2088", True), ("3fe11f885f", True), ("8d", False), ("20", False), ("", False)],
)
def test_only_a_status_of_200_is_ok(block, is_ok):
    assert h2_client.is_ok(bytes.fromhex(block)) is is_ok


class Talk(H2Client):
    """The client over one end of a pair, without a handshake."""

    def __init__(self, sock):
        self._sock = sock
        self._name = "a.test"
        self._next = 1
        self._buffer = b""


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    with ours, theirs:
        yield Talk(ours), theirs


def test_the_client_counts_the_content_of_its_stream(pair):
    client, peer = pair
    peer.sendall(
        frame(h2_client.SETTINGS, 0, 0, b"")
        + frame(h2_client.HEADERS, 4, 1, b"\x88")
        + frame(h2_client.DATA, 0, 3, b"another's")
        + frame(h2_client.DATA, 0, 1, b"hello")
        + frame(h2_client.DATA, 1, 1, b"")
        + frame(h2_client.PING, 1, 0, b"settled?")
    )
    assert client.get("/") == 5
    client.settle()
    sent = peer.recv(1000)
    block = b"\x82\x87\x04\x01/\x01\x06a.test"
    assert sent == frame(h2_client.HEADERS, 5, 1, block) + frame(h2_client.SETTINGS, 1, 0, b"") + frame(
        h2_client.PING, 0, 0, b"settled?"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (frame(h2_client.HEADERS, 5, 1, b"\x8d"), "no 200"),
        (frame(h2_client.RST_STREAM, 0, 1, bytes(4)), "reset"),
        (frame(h2_client.GOAWAY, 0, 0, bytes(8)), "GOAWAY"),
        (b"", "closed"),
    ],
)
def test_the_client_says_what_went_wrong(pair, answer, said):
    client, peer = pair
    peer.sendall(answer)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(LoadError, match=said):
        client.get("/")


def until(ready):
    end = time.monotonic() + 5
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_held_origin_counts_who_waits_and_ends():
    held = Held()
    try:
        first, second = (socket.create_connection(("127.0.0.1", held.port), 5) for _ in range(2))
        until(lambda: held.count == 2)
        first.sendall(b"GET / HTTP/1.1\r\n\r\n")
        first.close()
        until(lambda: held.count == 1)
        held.drop()
        assert second.recv(1) == b""
        second.close()
        second = socket.create_connection(("127.0.0.1", held.port), 5)
        until(lambda: held.count == 1)
    finally:
        held.close()
    assert second.recv(1) == b""
    second.close()
    assert not any(thread.name == "held" for thread in threading.enumerate())
