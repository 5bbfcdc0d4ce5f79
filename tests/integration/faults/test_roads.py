"""Names and roads: DNS that fails at boot and heals, DNS that is slow, a host without IPv6, and a hundred
certificates of which ninety-nine have a dead responder.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.faults.world import (
    OCSP_TYPE,
    Answering,
    World,
    configuration,
    event_of,
    events_of,
    metric,
    next_host,
    on_the_wire,
    rows,
    saying,
    wait_for_rows,
)
from tests.integration.gate import Gate, wait_for

from headgate.testing.dns import DnsServer
from headgate.testing.relay import Behaviour, Relay
from headgate.testing.responder import OpensslResponder

ROOT = Path(__file__).parents[3]


def named(world: World, dns: DnsServer, name: str, **options) -> None:
    """A certificate whose responder is known by a name."""
    responder = world.keep(Answering(saying(b"")))
    dns.add("ocsp.test", "A", responder.host)
    leaf = world.leaf(name, f"http://ocsp.test:{responder.port}/", **options)
    responder.answer = lambda _request: (200, {"Content-Type": OCSP_TYPE}, world.response(leaf))


def resolving(dns: DnsServer, **options) -> str:
    return configuration(more=f'[resolver]\nnameservers = ["{dns.address}"]\n', **options)


def test_dns_failing_at_boot_then_healing(tmp_path):
    """Nobody waits for it, and the staple is there seconds after the network is."""
    with World(tmp_path) as world, DnsServer() as dns:
        named(world, dns, "a")
        dns.fault(rcode="SERVFAIL")
        with Gate(tmp_path, resolving(dns), http=0, https=1) as gate:
            assert on_the_wire(world, gate, "a") is None
            event = event_of(gate, "staple-failed", "a")
            assert (event["stage"], event["holds"]) == ("resolve", "nothing")
            assert "ocsp.test" in event["detail"]
            assert event["next_seconds"] <= 2.0
            assert rows(gate)["a"]["last_failure"]["stage"] == "resolve"
            wait_for("the metric", lambda: metric(gate, "resolve_failed_total") >= 1)
            dns.heal()
            wait_for("the staple", lambda: on_the_wire(world, gate, "a") == "good", 15.0)
            assert rows(gate)["a"]["failures_in_a_row"] == 0


def test_dns_slow(tmp_path):
    with World(tmp_path) as world, DnsServer() as dns:
        named(world, dns, "a")
        world.good("other")
        dns.fault(delay=1.5)
        with Gate(tmp_path, resolving(dns, ocsp='timeout = "5s"'), http=0, https=1) as gate:
            assert on_the_wire(world, gate, "a") in (None, "good")
            other = event_of(gate, "staple-updated", "other")
            event = event_of(gate, "staple-updated", "a")
            assert other["time"] < event["time"]
            assert on_the_wire(world, gate, "other") == "good"
            assert event["milliseconds"] >= 1400
            wait_for("the staple", lambda: on_the_wire(world, gate, "a") == "good")


def test_dns_too_slow(tmp_path):
    with World(tmp_path) as world, DnsServer() as dns:
        named(world, dns, "a")
        dns.fault(silent=True)
        with Gate(tmp_path, resolving(dns), http=0, https=1) as gate:
            assert on_the_wire(world, gate, "a") is None
            event = event_of(gate, "staple-failed", "a")
            assert event["stage"] == "resolve"
            assert 900 < event["milliseconds"] < 1500
            assert dns.address in event["detail"], "whom we asked in vain"


# -- no IPv6 on the host


def no_ipv6(folder: Path) -> dict:
    """Run a gate where there is no IPv6 at all; the responder's name has addresses of both families."""
    with World(folder) as world, DnsServer() as dns:
        relay = world.keep(Relay(host="127.0.0.1"))
        dns.add("ocsp.test", "AAAA", "2001:db8::1")
        dns.add("ocsp.test", "A", "127.0.0.1")
        leaf = world.leaf("a", f"http://ocsp.test:{relay.port}/")
        responder = world.keep(OpensslResponder(folder / "responder", world.issuer, [leaf]))
        relay.target = ("127.0.0.1", responder.port)
        with Gate(folder, resolving(dns), http=0, https=1) as gate:
            wait_for_rows(gate, "a")
            refused = wait_for("the metric", lambda: dialled_in_vain(gate))
            return {
                "wire": on_the_wire(world, gate, "a"),
                "row": rows(gate)["a"],
                "event": event_of(gate, "staple-updated", "a"),
                "refused": refused,
            }


def dialled_in_vain(gate: Gate) -> list[str]:
    return [
        name for name, value in gate.metrics().items() if "dial_failed" in name and "ipv6" in name and value
    ]


def test_no_ipv6_on_the_host(tmp_path):
    script = "import json, pathlib, sys; from tests.integration.faults.test_roads import no_ipv6\n"
    script += "print(json.dumps(no_ipv6(pathlib.Path(sys.argv[1]))))"
    inside = 'ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; exec "$@"'
    command = ["unshare", "-n", "sh", "-ec", inside, "sh", sys.executable, "-c", script, str(tmp_path)]
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=20, check=False)
    if probe.returncode != 0:
        pytest.skip(f"needs root for `unshare -n`: {probe.stderr.decode().strip()}")
    environ = {**os.environ, "PYTHONPATH": ":".join([*filter(None, sys.path), str(ROOT)])}
    done = subprocess.run(command, capture_output=True, timeout=90, env=environ, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wire"] == "good"
    assert (told["row"]["state"], told["row"]["failures"]) == ("fresh", 0)
    attempts = told["event"]["attempts"]
    assert f"(errno {errno.EADDRNOTAVAIL})" in attempts[0] or f"(errno {errno.ENETUNREACH})" in attempts[0]
    assert attempts[-1].startswith("127.0.0.1:")
    assert "connected" in attempts[-1]
    assert told["refused"]


# -- a hundred certificates


@pytest.mark.parametrize("hosts", [1, 99], ids=["on one host", "on 99 hosts"])
def test_99_dead_responders_do_not_delay_the_hundredth(tmp_path, hosts):
    """Dead is silent here, the worst kind; with a timeout of 5 s nobody can have waited for one of them."""
    with World(tmp_path) as world:
        silent = [world.keep(Relay(host=next_host(), behaviour=Behaviour.SILENT)) for _ in range(hosts)]
        for number in range(99):
            world.leaf(f"dead{number}", f"http://{silent[number % hosts].address}/")
        world.good("zz-living")
        with Gate(tmp_path, configuration(ocsp='timeout = "5s"'), http=0, https=1) as gate:
            event = event_of(gate, "staple-updated", "zz-living", 4.5)
            assert event["milliseconds"] < 4000
            wait_for("the staple", lambda: on_the_wire(world, gate, "zz-living") == "good", 2.0)
            assert not events_of(gate, "staple-failed", "dead0"), "the dead ones have not even failed yet"
            for name in ("dead0", "dead50", "dead98"):
                assert on_the_wire(world, gate, name) is None
            if hosts == 1:
                assert silent[0].accepted <= 2
            first = wait_for("the first failure", lambda: gate.events("staple-failed"), 15.0)[0]
            assert (first["stage"], first["next_seconds"] > 0) == ("head", True)
            states = [row["state"] for row in rows(gate).values()]
            assert states.count("fresh") == 1
            assert set(states) <= {"fresh", "pending", "none"}
