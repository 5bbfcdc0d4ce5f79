"""Retry-After of an origin (RFC 9110 section 10.2.3) through a whole gate: it is left alone for as long as it asks,
and no longer than the bound."""

import time

from tests.integration.gate import Gate, wait_for
from tests.integration.outbound.test_balance import ask

from headgate.testing.origin import Origin

TEXT = """
[[route]]
upstream = "u"
[upstream.u]
endpoints = [{urls}]
balance = "round-robin"
[upstream.u.retries]
on = ["429", "503"]
"""
REST = 1.0


class Tired:
    """An origin that answers as it is told; `asked` are the moments at which it was, in seconds."""

    def __init__(self):
        self.says = []  # what the next requests are answered with
        self.asked = []
        self.origin = Origin(self.serve)

    def serve(self, wire):
        while wire.read_head():
            self.asked.append(time.monotonic())
            wire.send(self.says.pop(0) if self.says else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def busy(status, seconds):
    return b"HTTP/1.1 %d Busy\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % (status, seconds)


def test_rfc9110_10_2_3_an_endpoint_rests_for_as_long_as_it_asks(tmp_path):
    tired, other = Tired(), Tired()
    with tired.origin, other.origin:
        urls = f'"{tired.origin.url}", "{other.origin.url}"'
        with Gate(tmp_path, TEXT.format(urls=urls)) as gate:
            tired.says.append(busy(429, round(REST)))
            wait_for("it to be asked", lambda: ask(gate)[0] == 200 and tired.asked)
            while len(tired.asked) == 1:  # every second request would be its own
                assert ask(gate)[0] == 200, "the other one answers meanwhile"
                time.sleep(0.02)  # connections have a rate
                assert time.monotonic() - tired.asked[0] < 20
            # What the gate's clock says may be a turn of its loop older.
            assert tired.asked[1] - tired.asked[0] > 0.9 * REST
            tired.says.append(busy(503, 86_400))
            wait_for("it to ask for a day", lambda: ask(gate)[0] == 200 and not tired.says)
            rests = wait_for("both to be told", lambda: (told := gate.events("endpoint-rests"))[1:] and told)
            assert {event["endpoint"] for event in rests} == {tired.origin.url}
            assert [event["status"] for event in rests] == [429, 503]
            assert [event["next"] for event in rests] == [
                "it gets no requests for 1 s, as it asked with Retry-After",
                "it gets no requests for 60 s, as it asked with Retry-After",
            ]
            count = len(tired.asked)
            assert {ask(gate)[0] for _ in range(20)} == {200}
            assert len(tired.asked) == count
