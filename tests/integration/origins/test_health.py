"""Health with real origins that fall ill and recover: probes, verdicts that outlive everybody, ejections."""

import json
import os
import signal
import socket

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.dns import DnsServer
from headgate.testing.origin import Origin
from headgate.testing.relay import Refusing


class Patient:
    """An origin that answers /healthz with `health` and everything else with `status`, and counts the latter."""

    def __init__(self, name, host="127.0.0.1", port=0):
        self.name = name
        self.hosts = set()  # that probes asked for
        self.health = 200
        self.status = 200
        self.asked = 0
        self.probed = 0
        self.origin = Origin(self._serve, host=host, port=port)

    def _serve(self, wire):
        while head := wire.read_head():
            wire.read_content(head)
            if head.target.startswith("/healthz"):
                self.probed += 1
                self.hosts.add(head.get("host"))
                status = self.health
            else:
                self.asked += 1
                status = self.status
            body = self.name.encode()
            wire.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    @property
    def url(self):
        return self.origin.url

    def close(self):
        self.origin.close()


@pytest.fixture
def patients():
    made = [Patient("a"), Patient("b")]
    yield made
    for patient in made:
        patient.close()


def ask(gate, times=1):
    """Send requests, each on a connection of its own; return the statuses."""
    statuses = []
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
            sock.settimeout(10)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        statuses.append(int(answer.split(b" ", 2)[1]))
    return statuses


def rows(gate):
    """Return what `headgate status` says of endpoints, by URL."""
    status = json.loads(gate.run("status", "--json").stdout)
    return {row["endpoint"]: row for row in status["endpoints"]}


def state(gate, url):
    return rows(gate)[url]["state"]


def config(patients, tables):
    urls = ", ".join(f'"{patient.url}"' for patient in patients)
    return f'[[route]]\nupstream = "api"\n[upstream.api]\nendpoints = [{urls}]\n{tables}\n'


PROBES = """
[upstream.api.health]
path = "/healthz"
interval = "200ms"
timeout = "200ms"
rise = 2
fall = 2
"""


def down(gate, url):
    wait_for(f"{url} to be down", lambda: [e for e in gate.events("endpoint-down") if e["endpoint"] == url])
    wait_for("all workers to know", lambda: rows(gate)[url]["workers"] == {"down": 2})


def test_verdicts_reach_workers_and_outlive_keeper_worker_and_gate(tmp_path, patients):
    first, second = patients
    with Gate(tmp_path, config(patients, PROBES), workers=2) as gate:
        wait_for("a first probe of both", lambda: first.probed and second.probed)
        assert set(ask(gate, 20)) == {200}
        assert first.asked
        assert second.asked

        first.health = 503
        down(gate, first.url)
        told = gate.events("endpoint-down")[0]
        assert told["reason"] == "2 probes in a row: status 503, expected 200-399"
        assert told["upstream"] == "api"
        assert told["next"]
        asked = first.asked
        assert ask(gate, 20) == [200] * 20
        assert first.asked == asked
        row = rows(gate)[first.url]
        assert row["why"] == told["reason"]
        assert row["probe"]["address"] == first.url.removeprefix("http://")
        assert row["probe"]["is_well"] is False
        printed = gate.run("status").stdout
        assert "status 503, expected 200-399 at 127.0.0.1:" in printed
        assert gate.metrics()[f'headgate_endpoint_up{{endpoint="{first.url}",upstream="api"}}'] == 0.0

        # The keeper dies: workers keep what they know, and so does its successor.
        os.kill(gate.child_pids("keeper")[-1], signal.SIGKILL)
        assert ask(gate, 20) == [200] * 20
        wait_for("another keeper", lambda: len(gate.child_pids("keeper")) == 2)
        probed = first.probed
        wait_for("its probes", lambda: first.probed > probed)
        assert ask(gate, 20) == [200] * 20

        # A worker dies: its successor begins with the verdict.
        gate.kill_worker(0)
        assert ask(gate, 20) == [200] * 20
        assert first.asked == asked

        # The gate is restarted: it begins with what was known.
        assert gate.stop() == 0
        gate.start()
        assert ask(gate, 20) == [200] * 20
        assert first.asked == asked
        assert len(gate.events("endpoint-down")) == 1

        first.health = 200
        wait_for("it to be up", lambda: [e for e in gate.events("endpoint-up") if e["endpoint"] == first.url])
        wait_for("requests to it", lambda: ask(gate) and first.asked > asked)


def test_nobody_is_asked_before_the_first_probe_where_that_is_awaited(tmp_path, patients):
    with Refusing() as closed:
        urls = f'"http://127.0.0.1:{closed.port}", "{patients[0].url}", "{patients[1].url}"'
        text = f'[[route]]\nupstream = "api"\n[upstream.api]\nendpoints = [{urls}]\n{PROBES}'
        text = text.replace('"200ms"\nrise', '"200ms"\nstart = "wait-for-first-check"\nrise')
        with Gate(tmp_path, text) as gate:
            assert ask(gate, 20) == [200] * 20
            assert not gate.events("upstream-failed")
            assert state(gate, f"http://127.0.0.1:{closed.port}") == "down"
            assert patients[0].probed >= 1


def test_endpoints_from_dns_are_probed_under_their_name(tmp_path):
    first = Patient("a")
    port = int(first.url.rpartition(":")[2])
    second = Patient("b", "127.0.0.2", port)
    second.health = 503
    text = f'[[route]]\nupstream = "api"\n[upstream.api]\nendpoints = [{{ url = "http://app.test:{port}", '
    text += f'resolve = "each" }}]\n{PROBES}start = "wait-for-first-check"\n'
    with (
        DnsServer() as dns,
        Gate(tmp_path, f'{text}[resolver]\nnameservers = ["{dns.address}"]\n', start=False) as gate,
    ):
        dns.add("app.test", "A", "127.0.0.1", "127.0.0.2")
        try:
            gate.start()
            assert ask(gate, 20) == [200] * 20
            assert (first.asked, second.asked) == (20, 0)
            assert first.hosts == second.hosts == {f"app.test:{port}"}
            wait_for("its verdict to be shown", lambda: state(gate, second.url) == "down")
        finally:
            first.close()
            second.close()


def test_when_most_are_down_all_are_asked(tmp_path, patients):
    for patient in patients:
        patient.health = 500
    with Gate(tmp_path, config(patients, PROBES)) as gate:
        for patient in patients:
            wait_for("all to be down", lambda url=patient.url: state(gate, url) == "down")
        assert ask(gate, 20) == [200] * 20


OUTLIERS = """
[upstream.api.outliers]
consecutive_5xx = 3
ejection = "1s"
trials = 2
"""


def test_one_that_answers_with_errors_is_ejected_and_comes_back(tmp_path, patients):
    first, second = patients
    first.status = 500
    with Gate(tmp_path, config(patients, OUTLIERS)) as gate:
        wait_for("an ejection", lambda: ask(gate) and gate.events("endpoint-ejected"))
        told = gate.events("endpoint-ejected")[0]
        assert told["endpoint"] == first.url
        assert told["reason"] == "3 failures in a row, the last: status 500"
        assert told["next"] == "no requests for 1 s, then 2 requests on trial"
        asked = first.asked
        assert ask(gate, 10) == [200] * 10
        assert first.asked == asked
        first.status = 200
        wait_for("it to come back", lambda: ask(gate) and gate.events("endpoint-back"))
        assert gate.events("endpoint-on-trial")
        wait_for("it to be shown", lambda: rows(gate)[first.url]["requests"] > asked)
        row = rows(gate)[first.url]
        assert (row["state"], row["server_errors"], row["probe"]) == ("up", 3, None)
        assert gate.settled_metrics()["headgate_endpoint_ejections_total"] == 1
        # Both ill: one of them stays.
        first.status = second.status = 500
        wait_for("one to be kept", lambda: ask(gate) and gate.events("endpoint-kept"))
        assert ask(gate, 3) == [500] * 3
