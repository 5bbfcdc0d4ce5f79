"""Starts and restarts: must-staple certificates, keepers that die, responders that are dead when the gate comes back.

The first client of a must-staple certificate is the one that HAProxy's users saw without a staple (W2): here it asks
from before the gate listens, and its handshake is the first that is accepted at all.
"""

import os
import signal
import threading
import time

import pytest
from OpenSSL import SSL
from tests.integration.faults.world import (
    OCSP_TYPE,
    World,
    configuration,
    event_of,
    handshake,
    metric,
    next_host,
    on_the_wire,
    rows,
    wait_for_rows,
)
from tests.integration.gate import Gate, wait_for

from headgate.ocsp.response import verify
from headgate.testing.relay import Behaviour, BlackHole, Refusing, Relay
from headgate.testing.responder import OpensslResponder

SOAK = os.environ.get("HEADGATE_SOAK") == "1"


def first_handshake(port: int, name: str, seconds: float = 20.0):
    """Knock until somebody listens; return the very first handshake and when it began."""
    end = time.monotonic() + seconds
    while True:
        try:
            return handshake(port, name), time.monotonic()
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.001)


@pytest.mark.parametrize("slow", [0.0, 1.5], ids=["at once", "slow responder"])
def test_the_very_first_connection_of_a_must_staple_certificate_gets_a_staple(tmp_path, slow):
    with World(tmp_path) as world:
        relay = world.keep(Relay(host=next_host(), delay=slow))
        leaf = world.leaf("must", f"http://{relay.address}/", must_staple=True)
        responder = world.keep(OpensslResponder(tmp_path / "responder", world.issuer, [leaf]))
        relay.target = ("127.0.0.1", responder.port)
        gate = Gate(tmp_path, configuration(ocsp='timeout = "5s"'), http=0, https=1, start=False)
        gate.start(wait=False)
        with gate:
            shaken, _ = first_handshake(gate.https_ports[0], "must")
            assert shaken.staple is not None
            wait_for("it to listen", lambda: gate.events("listening"))
            assert on_the_wire(world, gate, "must") == "good"
            assert not gate.events("startup-wait-over")
            wait_for("the counter", lambda: metric(gate, 'stapled_total{result="sent"}') == 2)
            assert metric(gate, 'stapled_total{result="absent"}') == 0
            assert gate.run("ocsp").returncode == 0


def test_must_staple_with_an_unreachable_responder_listens_after_startup_wait(tmp_path):
    with World(tmp_path) as world:
        hole = world.keep(BlackHole(next_host()))
        world.leaf("must", f"http://{hole.address}/", must_staple=True)
        world.good("other")
        text = configuration(ocsp='timeout = "30s"\nstartup_wait = "1500ms"')
        with Gate(tmp_path, text, http=0, https=1, start=False) as gate:
            gate.start(wait=False)
            started = time.monotonic()
            shaken, at = first_handshake(gate.https_ports[0], "must")
            assert shaken.staple is None
            assert 1.4 < at - started < 10.0
            (event,) = wait_for("the event", lambda: gate.events("startup-wait-over"))
            assert (event["level"], event["seconds"]) == ("warning", 1.5)
            assert on_the_wire(world, gate, "other") == "good"
            wait_for("the counter", lambda: metric(gate, 'stapled_total{result="absent"}') >= 1)
            done = gate.run("ocsp")
            assert done.returncode == 4
            assert "is must-staple and has no staple" in done.stderr


def test_must_staple_with_a_refusing_responder_does_not_wait_for_long(tmp_path):
    """A failure is an answer, too: only the silent are waited for."""
    with World(tmp_path) as world:
        world.leaf("must", f"http://{world.keep(Refusing(next_host())).address}/", must_staple=True)
        text = configuration(ocsp='startup_wait = "30s"')
        with Gate(tmp_path, text, http=0, https=1) as gate:
            assert on_the_wire(world, gate, "must") is None
            assert not gate.events("startup-wait-over")
            assert event_of(gate, "staple-failed", "must")["must_staple"] is True
            assert gate.run("ocsp", "--json").returncode == 4


def test_must_staple_refuse(tmp_path):
    """The one setting with which a handshake fails: with an alert, counted, and only for those who asked."""
    with World(tmp_path) as world:
        refusing = world.keep(Refusing(next_host()))
        world.leaf("must", f"http://{refusing.address}/", must_staple=True)
        world.leaf("plain", f"http://{refusing.address}/")
        text = configuration(ocsp='must_staple = "refuse"\nstartup_wait = "1s"')
        with Gate(tmp_path, text, http=0, https=1) as gate:
            port = gate.https_ports[0]
            for tls12 in (False, True):
                with pytest.raises(SSL.Error) as caught:
                    handshake(port, "must", tls12=tls12)
                assert "internal error" in str(caught.value)
            assert handshake(port, "must", ask=False).staple is None
            assert handshake(port, "plain").staple is None, "only must-staple certificates are refused"
            wait_for("the counter", lambda: metric(gate, 'stapled_total{result="refused-must-staple"}') == 2)
            assert metric(gate, 'stapled_total{result="absent"}') == 1
            assert metric(gate, 'handshakes_total{kind="failed"}') == 2


def test_keeper_killed(tmp_path):
    """Its death costs nobody a handshake or a staple; the next one begins with what is on disk."""
    with World(tmp_path) as world:
        _, responder = world.good("a")
        with Gate(tmp_path, configuration(), http=0, https=1) as gate:
            wait_for_rows(gate)
            assert on_the_wire(world, gate, "a") == "good"
            (first,) = gate.child_pids("keeper")
            asked = len(responder.asked)
            os.kill(first, signal.SIGKILL)
            while len(gate.child_pids("keeper")) < 2:
                assert on_the_wire(world, gate, "a") == "good"
            wait_for("the new keeper", lambda: len(gate.events("admin-socket-open")) == 2)
            row = rows(gate)["a"]
            assert (row["state"], row["source"]) == ("fresh", "store")
            assert len(responder.asked) == asked, (
                "a staple from disk with most of its life left is not renewed"
            )
            assert on_the_wire(world, gate, "a") == "good"
            exited = gate.events("child-exited")[-1]
            assert (exited["child"], exited["pid"]) == ("keeper", first)
            assert gate.worker_pids() == gate.worker_pids()[:1], "no worker was touched"


def test_restart_with_every_responder_dead(tmp_path):
    """The stored staple is on the wire from the first connection on, before anything was asked."""
    with World(tmp_path) as world:
        pairs = [world.good(name, must_staple=True) for name in ("a", "b")]
        with Gate(tmp_path, configuration(), http=0, https=1) as gate:
            wait_for_rows(gate)
        # Not refusing but silent: who waited for them would wait for long.
        for _leaf, responder in pairs:
            responder.close()
            world.keep(Relay(host=responder.host, port=responder.port, behaviour=Behaviour.SILENT))
        with gate:
            for name in ("a", "b"):
                assert on_the_wire(world, gate, name) == "good"
                event = event_of(gate, "staple-updated", name)
                assert event["source"] == "store"
            assert not gate.events("startup-wait-over")
            assert gate.run("ocsp", "refresh", "a.pem").returncode == 1
            row = rows(gate)["a"]
            assert (row["state"], row["failures"], row["last_failure"]["stage"]) == ("fresh", 1, "head")
            failed = event_of(gate, "staple-failed", "a")
            assert failed["holds"].startswith("good until ")
            assert on_the_wire(world, gate, "a") == "good"


@pytest.mark.soak
@pytest.mark.timeout(7200 if SOAK else 600)
def test_staple_swapped_during_ten_thousand_handshakes(tmp_path):
    """Every handshake has a whole staple, whichever."""
    rounds = 200_000 if SOAK else 10_000
    with World(tmp_path) as world:
        leaf, responder = world.good("a")
        began, swaps = time.time(), 0

        def newer(_request):
            nonlocal swaps
            swaps += 1
            der = world.issuer.ocsp(leaf, this_update=began - 3600 + swaps, next_update=began + 3600 + swaps)
            return 200, {"Content-Type": OCSP_TYPE}, der

        responder.answer = newer
        # One client, and a fast one: on a quiet machine it comes more often than a client may.
        limits = '[listener.limits]\nconnection_rate = "5000/s"'
        with Gate(tmp_path, configuration(), http=0, https=1, listener_extra=limits) as gate:
            wait_for_rows(gate)
            done, codes = threading.Event(), []

            def refresh():
                while not done.is_set():
                    codes.append(gate.run("ocsp", "refresh").returncode)

            thread = threading.Thread(target=refresh)
            thread.start()
            try:
                seen = set()
                for _ in range(rounds):
                    shaken = handshake(gate.https_ports[0], "a")
                    assert shaken.staple is not None
                    seen.add(shaken.staple)
            finally:
                done.set()
                thread.join()
            assert set(codes) == {0}
            assert len(seen) > 1, "nothing was swapped meanwhile"
            for der in seen:
                assert verify(der, world.subject("a"), time.time()).status == "good"
            wait_for("the counter", lambda: metric(gate, 'stapled_total{result="sent"}') == rounds)
            assert metric(gate, 'stapled_total{result="absent"}') == 0
