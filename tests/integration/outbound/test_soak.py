"""A gate under random, seeded faults on both sides ends with the figures it began with.

HEADGATE_SOAK_REQUESTS and HEADGATE_SOAK_SEED choose another length and another round.
"""

import asyncio
import json
import os
import ssl

import pytest
from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.outbound.soak import Endpoint, Told, judge, put
from tests.integration.outbound.world import Probe, World, assert_nothing_left, resident

SOAK = os.environ.get("HEADGATE_SOAK") == "1"
REQUESTS = int(os.environ.get("HEADGATE_SOAK_REQUESTS", "200000" if SOAK else "3000"))
WARM_UP = 2000
MARGIN = 6 << 20
"""What a worker's memory may grow by after it is warm: two hundred thousand leaks of 32 bytes."""
LIMITS = """[listener.limits]
per_client = 1000
connection_rate = "100000/s"
all_connection_rate = "100000/s"
"""


@pytest.fixture
def world(tmp_path):
    with World(tmp_path) as world:
        yield world


@pytest.mark.soak
def test_random_faults_leave_nothing_behind(world, record_property):
    leaf = world.root.leaf("127.0.0.1")
    path = world.folder / "origin.pem"
    path.write_bytes(leaf.chain_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    seed = int(os.environ.get("HEADGATE_SOAK_SEED", "1"))
    told = Told(seed)
    endpoints = [Endpoint(told, free_port(), None) for _ in range(4)]
    endpoints += [Endpoint(told, free_port(), context) for _ in range(2)]
    more = 'balance = "two-choices"'
    world.upstream("plain", *(f"http://127.0.0.1:{one.port}" for one in endpoints[:4]), more=more)
    world.upstream("tls", *(f"https://127.0.0.1:{one.port}" for one in endpoints[4:]), more=more)
    hosts = ["plain.test"] * 4 + ["tls.test"]
    probe = Probe(world.folder)
    with Gate(world.folder, world.configuration(), environ=probe.environ, listener_extra=LIMITS) as gate:
        pid = gate.worker_pids()[0]
        begin = probe.look(pid)
        port = gate.http_ports[0]
        warm = min(WARM_UP, REQUESTS // 3)
        asyncio.run(put(told, port, endpoints, hosts, (f"w{n}" for n in range(warm))))
        assert_nothing_left(gate, probe, begin)
        before = resident(pid)
        asyncio.run(put(told, port, endpoints, hosts, (f"r{n}" for n in range(REQUESTS))))
        assert_nothing_left(gate, probe, begin)
        grown = resident(pid) - before
        judge(told, 3)
        check_log(gate, told)
        counted = {key: value for key, value in gate.metrics().items() if "retr" in key and value}
    record_property("outcomes", dict(told.outcomes.most_common()))
    print(
        f"{REQUESTS} requests, seed {seed}: {grown >> 10} KiB grown; {told.outcomes.most_common()}; {counted}"
    )
    assert told.wrong == []
    assert grown < MARGIN, f"{grown} bytes"
    assert told.outcomes["200"] > REQUESTS * 0.6


def check_log(gate: Gate, told: Told) -> None:
    """Each answer of ours has its reason in the log."""
    missing = set(told.ours)

    def read() -> bool:
        with gate.access.open() as lines:
            for text in lines:
                line = json.loads(text)
                if line["status"] >= 500 and line["request_id"] in missing:
                    missing.discard(line["request_id"])
                    if not line.get("reason"):
                        told.wrong.append(f"no reason: {text}")
        return not missing

    wait_for("the log lines of all answers of ours", read)
