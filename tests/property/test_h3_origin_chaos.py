"""Whatever clients and an origin of HTTP/3 do to each other, in any order: nothing crashes, nothing is left."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proxy.h3_path import H3Path

from headgate.counters import UPSTREAM_H3_OPEN, UPSTREAM_OPEN
from headgate.engine.h3.errors import (
    H3_INTERNAL_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_CANCELLED,
    H3_REQUEST_REJECTED,
)
from headgate.engine.h3.machine import CONTENT, DONE, FAILED, HEAD
from headgate.engine.quic.closing import State

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1000\r\n" + bytes(4096) + b"\r\n"
CODES = (H3_NO_ERROR, H3_INTERNAL_ERROR, H3_REQUEST_CANCELLED, H3_REQUEST_REJECTED)
STEPS = (
    "get",
    "post",
    "chunk",
    "last-chunk",
    "leave",
    "slow",
    "fast",
    "head",
    "content",
    "end",
    "interim",
    "reset",
    "stop",
    "goaway",
    "close",
    "time",
)


class Chaos(H3Path):
    """Does one step after the other; `pick` chooses among what there is."""

    def __init__(self, is_only):
        super().__init__(is_only=is_only)
        self.uploads = {}
        if not is_only:
            self.pool.port, self.pool._expires = 443, 1e9

    def do(self, step, pick):
        clients = [client for client in self.clients if not client.closed]
        if step in ("get", "post"):
            client = self.client()
            self.uploads[client] = step == "post"
            self.ask(GET if step == "get" else POST, client)
        elif step == "goaway":
            for origin in self.origins[-1:]:
                if origin.h3 is not None:
                    origin.h3.go_away()
        elif step == "close":
            for origin in self.origins[-1:]:
                origin.quic.close(CODES[pick % 2], "", self.poller.now)
        elif step == "time":
            self.pass_time(0.2)
        elif step in ("chunk", "last-chunk", "leave", "slow", "fast"):
            if clients:
                self._client(step, clients[pick % len(clients)])
        else:
            self._origin(step, pick)
        self.run()

    def _client(self, step, client):
        if step == "leave":
            client.close()
        elif step == "slow":
            client.transport.take = len(client.transport.outgoing) + 50
        elif step == "fast":
            client.transport.take = 1 << 40
            client.on_writable()
        elif self.uploads.get(client):
            if step == "last-chunk":
                self.uploads[client] = False
            client.transport.incoming.append(CHUNK if step == "chunk" else b"0\r\n\r\n")
            while client.transport.incoming and client.reading and not client.closed:
                client.on_readable()

    def _origin(self, step, pick):
        open_streams = [
            (origin, stream)
            for origin in self.origins
            if origin.h3 is not None and origin.quic.state is State.OPEN
            for stream in origin.h3.streams.values()
            if stream.sending not in (DONE, FAILED) and stream.method
        ]
        if not open_streams:
            return
        origin, stream = open_streams[pick % len(open_streams)]
        room = origin.quic.streams.sender._room(origin.quic.streams.table[stream.id])
        if room < 20_000:
            return
        if step == "reset":
            origin.h3.abort(stream.id, CODES[pick % len(CODES)])
        elif step == "stop":
            if stream.id in origin.quic.streams.table:
                origin.quic.streams.stop(stream.id, CODES[pick % len(CODES)])
        elif step == "interim" and stream.sending == HEAD:
            origin.respond(103, stream=stream.id)
        elif step == "head" and stream.sending == HEAD:
            origin.respond(200, -1 if pick % 3 else 0, stream=stream.id)
        elif step == "content" and stream.sending == CONTENT:
            origin.send(bytes(8192), stream=stream.id)
        elif step == "end" and stream.sending == CONTENT:
            origin.send(b"!", stream=stream.id, end=True)

    def settle(self):
        for client in self.clients:
            client.close()
        for endpoint in self.endpoints:
            endpoint.close()
        self.run()
        self.pass_time(1.0)


@given(
    is_only=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 50)), min_size=5, max_size=80),
)
def test_nothing_crashes_and_nothing_is_left(is_only, steps):
    path = Chaos(is_only)
    try:
        for step, pick in steps:
            path.do(step, pick)
        path.settle()
        assert path.seen.crashes == []
        assert [told for name, told in path.told if name == "defect"] == []
        assert path.active == [0]
        assert path.endpoint.dialling == 0
        assert all(driver.closed and not driver.lanes and driver.reserved == 0 for driver in path.drivers)
        assert path.values[UPSTREAM_H3_OPEN] == 0
        assert path.values[UPSTREAM_OPEN] == len(path.endpoint.connections)
    finally:
        path.poller.close()
        for sock in path.sockets:
            sock.close()
