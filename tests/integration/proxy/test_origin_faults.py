"""What goes wrong between gate and origin: each fault has its status, reason, log line, event and counter."""

import json
import socket
import threading

import pytest
from tests.integration.gate import Gate, free_port, wait_for

from headgate.testing.origin import Origin, ask, connect, echo

RELEASE = threading.Event()


def silent(wire):
    wire.read_head()
    RELEASE.wait(20)


def garbage(wire):
    wire.read_head()
    wire.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    RELEASE.wait(20)


def closes(wire):
    wire.read_head()


def dies_in_content(wire):
    """Cut short: inside a length, inside chunks, or with a reset inside content without either."""
    head = wire.read_head()
    if head.target == "/length":
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")
    elif head.target == "/chunked":
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
    else:
        wire.send(b"HTTP/1.0 200 OK\r\n\r\nbegin")
        RELEASE.wait(1)
        wire.reset()


def stalls_in_content(wire):
    wire.read_head()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")
    RELEASE.wait(20)


def one_answer(wire):
    """Answer once and wait for the next request, only to close: how a stale connection looks."""
    head = wire.read_head()
    wire.read_content(head)
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
    if wire.read_head() is not None:
        wire.close()


def one_answer_then_reset(wire):
    head = wire.read_head()
    wire.read_content(head)
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
    if wire.read_head() is not None:
        wire.reset()


def half_answer_on_reuse(wire):
    wire.read_head()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
    if wire.read_head() is not None:
        wire.send(b"HTTP/1.1 2")


def part_of_the_second(wire):
    wire.read_head()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
    if wire.read_head() is not None:
        wire.read_exactly(150_000)


def early_switch(wire):
    wire.read_head()
    wire.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    RELEASE.wait(20)


SCRIPTS = {
    "silent": silent,
    "garbage": garbage,
    "closes": closes,
    "dies": dies_in_content,
    "stalls": stalls_in_content,
    "once": one_answer,
    "oncereset": one_answer_then_reset,
    "half": half_answer_on_reuse,
    "part": part_of_the_second,
    "switch": early_switch,
    "good": echo,
    "other": echo,
}


@pytest.fixture(scope="module")
def hole():
    """A listening socket whose backlog is full drops every SYN."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
            fillers.append(filler)
        yield sock.getsockname()[1]
        for filler in fillers:
            filler.close()


@pytest.fixture(scope="module")
def gate(tmp_path_factory, hole):
    origins = {name: Origin(script) for name, script in SCRIPTS.items()}
    dead = f"http://127.0.0.1:{free_port()}"
    endpoints = {name: [origin.url] for name, origin in origins.items()}
    endpoints["refused"] = [dead]
    endpoints["hole"] = [f"http://127.0.0.1:{hole}"]
    endpoints["mixed"] = [dead, f"http://127.0.0.1:{free_port()}", origins["good"].url]
    endpoints["turns"] = [origins["good"].url, origins["other"].url]
    endpoints["choices"] = [origins["good"].url, origins["other"].url]
    text = ""
    for name, urls in endpoints.items():
        balance = "two-choices" if name == "choices" else "round-robin"
        text += f"""
[[route]]
hosts = ["{name}.test"]
upstream = "{name}"
[upstream.{name}]
endpoints = {json.dumps(urls)}
balance = "{balance}"
connect_timeout = "700ms"
head_timeout = "700ms"
body_idle = "700ms"
"""
    try:
        with Gate(tmp_path_factory.mktemp("gate"), text) as gate:
            gate.origins = origins
            yield gate
            assert gate.events("defect") == []
    finally:
        RELEASE.set()
        for origin in origins.values():
            origin.close()


def metric(gate, key):
    return gate.metrics()[key]


def wait_metric(gate, key, at_least):
    return wait_for(f"{key} >= {at_least}", lambda: gate.metrics()[key] >= at_least)


def line_of(gate, host):
    return wait_for(f"a log line of {host}", lambda: [x for x in gate.access_lines() if x["host"] == host])[
        -1
    ]


@pytest.mark.parametrize(
    ("name", "status", "reason", "counter"),
    [
        ("refused", 502, "connect", "connect"),
        ("hole", 504, "connect-timeout", "connect-timeout"),
        ("silent", 504, "upstream-timeout", "head-timeout"),
        ("garbage", 502, "upstream-bad-status-line", "protocol"),
        ("closes", 502, "upstream-closed", "closed"),
    ],
)
def test_a_gateway_error_says_its_reason_everywhere(gate, name, status, reason, counter):
    key = f'headgate_gateway_errors_total{{reason="{counter}"}}'
    before = metric(gate, key)
    head, body = ask(gate.http_ports[0], "/x", host=f"{name}.test")
    assert head.status == status
    assert reason.encode() in body
    assert b"127.0.0.1" not in body, "addresses of the inside are nobody's business"
    line = line_of(gate, f"{name}.test")
    assert (line["status"], line["reason"]) == (status, reason)
    events = wait_for(
        "its event", lambda: [e for e in gate.events("upstream-failed") if e["upstream"] == name]
    )
    assert events[-1]["reason"] == reason
    assert "127.0.0.1" in events[-1]["endpoint"]
    assert events[-1]["detail"]
    wait_metric(gate, key, before + 1)


def test_dial_failures_are_counted_by_family_and_errno(gate):
    key = 'headgate_dial_failed_total{error="ECONNREFUSED",family="ipv4"}'
    before = metric(gate, key)
    ask(gate.http_ports[0], host="refused.test")
    wait_metric(gate, key, before + 1)


def test_content_with_an_error_is_read_away(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: refused.test\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10000)
        assert wire.read_response()[0].status == 502
        wire.send(b"GET /again HTTP/1.1\r\nHost: good.test\r\n\r\n")
        assert wire.read_response()[0].status == 200


@pytest.mark.parametrize("target", ["/length", "/chunked", "/close"])
def test_an_origin_that_dies_in_content_shows_as_truncation(gate, target):
    key = 'headgate_aborted_total{side="upstream"}'
    before = metric(gate, key)
    with connect(gate.http_ports[0]) as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: dies.test\r\n\r\n".encode())
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.read_response()
    wait_metric(gate, key, before + 1)
    assert line_of(gate, "dies.test")["reason"].startswith("upstream-")


@pytest.mark.parametrize("target", ["/chunked", "/close"])
def test_an_http10_client_sees_truncation_as_a_reset(gate, target):
    """Its content ends with the connection: a clean end would say that this was all."""
    with connect(gate.http_ports[0]) as wire:
        wire.send(f"GET {target} HTTP/1.0\r\nHost: dies.test\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            wire.read_response()


def test_an_origin_that_stalls_in_content_is_cut_off(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: stalls.test\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.read_response()
    assert line_of(gate, "stalls.test")["reason"] == "upstream-timeout"


@pytest.mark.parametrize("name", ["once", "oncereset"])
@pytest.mark.parametrize("content", [b"", b"some content", b"c" * 60_000])
def test_a_stale_connection_costs_one_transparent_retry(gate, name, content):
    key = 'headgate_upstream_retried_total{why="reused"}'
    before = metric(gate, key)
    origin = gate.origins[name]
    accepted = origin.accepted
    with connect(gate.http_ports[0]) as wire:
        for _ in range(2):
            wire.send(
                f"POST / HTTP/1.1\r\nHost: {name}.test\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            head, body = wire.read_response()
            assert (head.status, body) == (200, b"first")
    wait_metric(gate, key, before + 1)
    assert origin.accepted - accepted in (1, 2)
    assert line_of(gate, f"{name}.test")["retries"] == 1


def test_a_begun_answer_is_never_asked_for_again(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: half.test\r\n\r\n")
        assert wire.read_response()[0].status == 200
        wire.send(b"GET / HTTP/1.1\r\nHost: half.test\r\n\r\n")
        head, body = wire.read_response()
    assert head.status == 502
    assert b"upstream-truncated" in body


def test_too_much_content_is_not_repeated(gate):
    """What was sent and not kept cannot be sent again: 502, and never half a request."""
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: part.test\r\n\r\n")
        assert wire.read_response()[0].status == 200
        wire.send(b"POST / HTTP/1.1\r\nHost: part.test\r\nContent-Length: 200000\r\n\r\n" + b"c" * 150_000)
        head, body = wire.read_response()
    assert head.status == 502
    assert b"upstream-closed" in body


def test_a_failed_dial_goes_on_to_the_other_endpoints(gate):
    for _ in range(6):
        head, _ = ask(gate.http_ports[0], host="mixed.test")
        assert head.status == 200
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: mixed.test\r\nContent-Length: 7\r\n\r\ncontent")
        assert json.loads(wire.read_response()[1])["content"] == "content"
    events = wait_for(
        "the event", lambda: [e for e in gate.events("upstream-failed") if e["upstream"] == "mixed"]
    )
    assert "another endpoint was asked" in events[0]["detail"]


def test_a_switch_before_the_request_is_complete_is_the_origins_fault(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(
            b"POST / HTTP/1.1\r\nHost: switch.test\r\nConnection: upgrade\r\nUpgrade: x\r\n"
            b"Content-Length: 5\r\n\r\nab"
        )
        head, body = wire.read_response()
    assert head.status == 502
    assert b"early-switch" in body


def counts(gate, host, rounds):
    before = [len(gate.access_lines()), rounds]
    for _ in range(rounds):
        assert ask(gate.http_ports[0], host=host)[0].status == 200
    lines = wait_for(
        "the log", lambda: [x for x in gate.access_lines()[before[0] :] if x["host"] == host][: rounds + 1]
    )
    wait_for(
        "all lines", lambda: len([x for x in gate.access_lines()[before[0] :] if x["host"] == host]) >= rounds
    )
    lines = [x for x in gate.access_lines()[before[0] :] if x["host"] == host]
    found = {}
    for line in lines:
        found[line["endpoint"]] = found.get(line["endpoint"], 0) + 1
    return found


def test_round_robin_takes_turns(gate):
    assert sorted(counts(gate, "turns.test", 20).values()) == [10, 10]


def test_two_choices_uses_both(gate):
    found = counts(gate, "choices.test", 40)
    assert len(found) == 2
    assert min(found.values()) >= 5
