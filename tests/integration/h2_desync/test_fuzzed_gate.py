"""The inputs of the fuzz target against a real gate: what a client sends to it, and what an origin answers.

The engine alone reads far more of them in `fuzz/h2.py`; here are the drivers. Whatever comes, the gate has no defect,
serves the next one, and speaks HTTP/1.1 on its other side that a strict parser reads.
"""

import contextlib
import os
import random

import h11
import pytest
from fuzz._common import split
from fuzz.h2 import Inputs, frames_of
from tests.integration.h2_desync.conftest import ask_h1

from headgate.testing.h2_raw import PREFACE, RawH2, ping

ROUNDS = 20_000 if os.environ.get("HEADGATE_SOAK") == "1" else 300
LAST = b"the last"


def play(site, octets, chance):
    """Send octets in pieces, and wait for the end of it: an answer to a PING, or of the connection."""
    with RawH2.connect("127.0.0.1", site.gate.http_ports[0], answers=False) as raw:
        for piece in split(octets, chance):
            raw.send(piece)
        raw.send(ping(LAST))
        # A frame that is not all there swallows the PING.
        raw.wait(lambda raw: any(one.payload == LAST for one in raw.of(6)), 0.05)


@pytest.mark.slow
def test_clients(site):
    chance = random.Random(9113)
    inputs = Inputs(9113)
    site.recorder.mark()
    for number in range(ROUNDS):
        octets = inputs.octets(is_client=False)
        if octets.startswith(PREFACE):
            play(site, octets, chance)
        if number % 50 == 0:
            site.good()
    site.good()
    assert site.recorder.refused == []
    assert site.gate.events("defect") == []
    assert site.gate.events("worker-died") == []


def read(octets):
    """Read an answer as strictly as h11 does; return its status, 0 where the connection broke inside it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/x", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(octets)
    client.receive_data(b"")
    status = 0
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError as error:
            if octets and "complete message body" not in str(error):
                pytest.fail(f"{error}: {octets!r}")
            return 0
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.EndOfMessage):
            return status


@pytest.mark.slow
def test_origins(site):
    inputs = Inputs(9114)
    statuses = set()
    site.scripted.closes = True
    for _ in range(ROUNDS):
        # Without its beginning: an origin that has said its SETTINGS.
        answer = b"".join(frames_of(inputs.octets(is_client=True))[1:])
        site.scripted.answer = lambda stream, answer=answer: answer + b"\0\0\4\3\0\0\0\0\1\0\0\0\2"
        with contextlib.suppress(ConnectionResetError):
            statuses.add(read(ask_h1(site)))
    site.scripted.closes = False
    assert 200 in statuses
    assert statuses <= {0, 200, 204, 304, 502, 503}
    assert site.gate.events("defect") == []
    assert site.gate.events("worker-died") == []
    site.good()
