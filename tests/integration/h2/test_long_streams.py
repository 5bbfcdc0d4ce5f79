"""Streams that last on a whole gate: downloads of a slow client that wait for each other, and calls in which nobody
says anything for a while. And a balancer in front, which says https where TLS ended."""

import json

import pytest
from tests.integration.gate import wait_for
from tests.integration.h2.calls import H1Origin, H2Origin

from headgate.testing import h2_raw as raw
from headgate.testing.h2_raw import RawH2

KINDS = pytest.mark.parametrize("kind", [H1Origin, H2Origin])


def head(stream, method=b"GET", *fields, scheme=b"http", end=True):
    block = raw.request_block(b"/", method, *fields, scheme=scheme, authority=b"a.test")
    return raw.headers(stream, block, end=end)


def test_forty_downloads_of_a_slow_client_come_on(site):
    def script(call):
        call.respond(200, [("content-type", "application/octet-stream")])
        for _ in range(200):
            call.send(bytes(16 * 1024))
        call.end()

    timeouts = '[listener.timeouts]\nwrite_idle = "4s"\n'
    with H1Origin(script) as origin, site.before(origin, listener_extra=timeouts) as gate:
        with RawH2.connect("127.0.0.1", gate.http_ports[0], receive_buffer=32 * 1024, keep=False) as client:
            client.start((raw.INITIAL_WINDOW_SIZE, 1 << 24))
            client.send(raw.window_update(0, 1 << 26))
            client.send(*[head(stream) for stream in range(1, 81, 2)])

            def came():
                client.read(16 * 1024)
                return client.octets > 6 << 20 or client.resets or client.goaway or client.closed

            wait_for("six MiB", came)
            assert (client.resets, client.goaway, client.closed) == ({}, None, False)
        # What was reset is told behind megabytes that wait in the kernel.
        late = 'headgate_refused_total{limit="write-timeout"}'
        wait_for("the metrics", lambda: late in gate.metrics())
        assert gate.metrics()[late] == 0
        assert gate.events("defect") == []


@KINDS
def test_a_call_may_be_silent_for_as_long_as_its_origin(site, kind):
    over = []

    def script(call):
        call.respond(200, [("content-type", "application/grpc")])
        call.send(b"first")
        call.read()
        over.append(call.read())
        call.end()

    timeouts = '[listener.timeouts]\nbody_idle = "1s"\n'
    with (
        kind(script) as origin,
        site.before(origin, 'body_idle = "30s"\n', listener_extra=timeouts) as gate,
        RawH2.connect("127.0.0.1", gate.http_ports[0]) as client,
    ):
        client.start()
        fields = ((b"te", b"trailers"), (b"content-type", b"application/grpc"))
        client.send(head(1, b"POST", *fields, end=False), raw.data(1, b"\0\0\0\0\5hello"))
        assert client.wait(lambda client: client.octets == 5)
        assert not client.wait(lambda client: client.resets or client.goaway or client.ended(1), 3.0)
        client.send(raw.data(1, b"\0\0\0\0\3bye", end=True))
        assert client.wait(lambda client: client.ended(1))
    assert over == [b"\0\0\0\0\3bye"]


@pytest.mark.parametrize(("top", "status"), [("", 421), ('trusted_proxies = ["127.0.0.0/8"]', 200)])
def test_rfc9110_7_4_https_in_the_clear_is_taken_from_trusted_proxies_alone(site, top, status):
    def script(call):
        told = json.dumps([value for name, value in call.fields if name.lower() == "x-forwarded-proto"])
        call.respond(200, [("content-length", str(len(told)))])
        call.send(told.encode())
        call.end()

    with H1Origin(script) as origin, site.before(origin, top=top) as gate:
        with RawH2.connect("127.0.0.1", gate.http_ports[0]) as client:
            client.start()
            client.send(head(1, b"GET", (b"x-forwarded-proto", b"https"), scheme=b"https"))
            assert client.wait(lambda client: client.ended(1))
            answer = b"".join(frame.payload for frame in client.of(raw.DATA, 1))
        wait_for("the log", lambda: gate.access.exists() and gate.access.read_text().count("\n") == 1)
        assert json.loads(gate.access.read_text())["status"] == status
    assert answer == b'["https"]' if status == 200 else b"trusted_proxies" in answer
