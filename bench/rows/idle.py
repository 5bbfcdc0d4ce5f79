"""Memory of a TLS connection that has served one request and waits for the next."""

import contextlib

from bench import certs, measure
from bench.lab import Lab, Lane, Sample
from bench.load import client_context, exchange, handshake
from bench.rows.base import Row

COUNT = 1000
# Held open beside the counted ones: closing them would leave free memory for the counted ones to hide in.
WARM = 100


class IdleTls(Row):
    """Opens 1,000 connections beside 100 warm ones; KiB of proportional memory for each."""

    name = "idle-tls"
    title = "idle TLS connection"
    unit = "KiB"
    goal = 36.0
    goal_is_ratio = False
    max_rounds = 1
    fresh = True

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        running = lab.running(lane)
        context = client_context()
        name = certs.host(0)
        with contextlib.ExitStack() as held:

            def hold(count: int) -> int:
                for _ in range(count):
                    stream = held.enter_context(handshake(context, running.job.tls_port, name))
                    exchange(stream, name)
                pids = running.pids()
                measure.settle(pids)
                return measure.pss_bytes(pids)

            before = hold(WARM)
            return Sample((hold(COUNT) - before) / COUNT / 1024)
