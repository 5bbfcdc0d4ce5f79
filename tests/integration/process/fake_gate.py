"""A gate with a real supervisor and fake children, for the tests beside it; run as a program with JSON options.

A worker answers every line it is sent with a JSON line about itself and what it was told. The keeper makes up a
staple for each certificate. Events go to stderr as JSON lines.
"""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

from headgate.clock import SystemClock
from headgate.errors import HeadgateError
from headgate.process.channel import AsyncChannel, Kind
from headgate.process.notify import Notifier
from headgate.process.parts import Parts, SupervisorSettings
from headgate.process.privileges import find_account
from headgate.process.snapshot import Certificate, decode_snapshot
from headgate.process.start import BoundAddress
from headgate.process.supervisor import Supervisor

OPTIONS = json.loads(sys.argv[1])


class Events:
    def event(self, name, level="info", **fields):
        os.write(2, json.dumps({"event": name, "level": level, **fields}).encode() + b"\n")


EVENTS = Events()


class Certificates:
    """One "certificate" for each file of a directory; its text is its chain, its fingerprint and its key."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.last = None

    def load(self):
        texts = {path.name: path.read_text() for path in sorted(self.directory.iterdir())}
        self.last = texts
        return [Certificate(name, 0, text, text, key="secret " + text) for name, text in texts.items()]

    def poll(self):
        before = self.last
        found = self.load()
        return None if self.last == before else found

    def problems(self):
        return {}


class LastMoment:
    """Sends the gate a SIGTERM while its interpreter takes itself apart: handlers in Python are gone by then."""

    def __init__(self):
        self.kill, self.pid, self.number = os.kill, os.getpid(), signal.SIGTERM

    def __del__(self):
        self.kill(self.pid, self.number)


async def worker(start):
    channel = AsyncChannel(start.control)
    finished = asyncio.Event()
    told = {"staples": {}, "snapshot": 0, "reopened": 0, "tickets": repr(start.tickets)}
    servers, open_connections = [], set()

    async def serve(reader, writer):
        open_connections.add(writer)
        try:
            while await reader.readline():
                about = {"slot": start.slot, "generation": start.generation, "pid": os.getpid()}
                account = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups()}
                writer.write(json.dumps({**about, **account, **told}).encode() + b"\n")
                await writer.drain()
        finally:
            # Nothing here may keep a worker from ending: there is nobody left to kill it.
            open_connections.discard(writer)
            finished.set()
            writer.close()

    while (message := await channel.receive()) is not None:
        if message.kind is Kind.SNAPSHOT:
            snapshot = decode_snapshot(message)
            told["staples"] = {name: value["staple"] for name, value in snapshot.staples.items()}
            told["keys"] = [certificate.key for certificate in snapshot.certificates]
            told["snapshot"] = snapshot.number
            told["memory"] = bool(OPTIONS.get("look_at_memory")) and secret_in_memory()
            if start.slot == OPTIONS.get("dies_in_start"):
                os._exit(3)
            if start.slot == 1 and start.generation <= OPTIONS.get("hangs_in_start", 0):
                continue
            if start.slot == OPTIONS.get("talks_nonsense"):
                start.control.send(b"\xff" * 64)
                continue
            channel.send(Kind.READY, {"snapshot": snapshot.number})
        elif message.kind is Kind.LISTEN and start.slot == 1 and OPTIONS.get("never_listens"):
            continue
        elif message.kind is Kind.LISTEN:
            for _listener, sock in start.sockets:
                servers.append(await asyncio.start_server(serve, sock=sock))
            channel.send(Kind.LISTENING)
        elif message.kind is Kind.STAPLE:
            told["staples"][message.text("name")] = message.item("staple")
        elif message.kind is Kind.REOPEN_LOGS:
            told["reopened"] += 1
        elif message.kind is Kind.DRAIN:
            break
    for server in servers:
        server.close()
    if OPTIONS.get("never_drains"):
        await asyncio.sleep(60)
    EVENTS.event("worker-drains", slot=start.slot, open=len(open_connections))
    while open_connections:
        finished.clear()
        await finished.wait()


async def keeper(start):
    channel = AsyncChannel(start.control)
    EVENTS.event("keeper-runs", pid=os.getpid(), uid=os.getuid(), generation=start.generation)
    while (message := await channel.receive()) is not None:
        if message.kind is Kind.SNAPSHOT:
            snapshot = decode_snapshot(message)
            channel.send(Kind.READY, {"snapshot": snapshot.number})
            keys = [certificate.key for certificate in snapshot.certificates]
            EVENTS.event(
                "keeper-has",
                keys=keys,
                staples=sorted(snapshot.staples),
                memory=bool(OPTIONS.get("look_at_memory")) and secret_in_memory(),
            )
            if OPTIONS.get("keeper_silent_after", 99) < start.generation:
                continue
            for certificate in snapshot.certificates:
                staple = {"made_for": certificate.chain, "by": start.generation}
                names = {"name": certificate.name, "fingerprint": certificate.fingerprint}
                channel.send(Kind.STAPLE, {**names, "staple": staple})
            if not OPTIONS.get("never_tried"):
                await asyncio.sleep(OPTIONS.get("tried_after", 0))
                EVENTS.event("keeper-tried")
                channel.send(Kind.STAPLES_TRIED)
        elif message.kind is Kind.DRAIN:
            return


def secret_in_memory():
    """Search this process's writable memory for a key that the supervisor read."""
    wanted = re.compile(b"secret of the fil[e]s")  # the pattern does not match itself
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            low, high = (int(part, 16) for part in span.split("-"))
            if "rw" not in mode:
                continue
            try:
                memory.seek(low)
                if wanted.search(memory.read(high - low)):
                    return True
            except OSError:
                continue
    return False


def main():
    settings = SupervisorSettings(
        state_dir=Path(OPTIONS["state_dir"]),
        runtime_dir=Path(OPTIONS["runtime_dir"]),
        addresses=tuple(BoundAddress(i, *a) for i, a in enumerate(OPTIONS["addresses"])),
        workers=OPTIONS.get("workers", 2),
        account=find_account(OPTIONS.get("user", "")),
        startup_wait=OPTIONS.get("startup_wait", 10.0),
        drain_timeout=OPTIONS.get("drain_timeout", 10.0),
        answer_timeout=OPTIONS.get("answer_timeout", 60.0),
        watch_interval=0.05,
    )
    parts = Parts(
        worker_main=lambda start: asyncio.run(worker(start)),
        keeper_main=lambda start: asyncio.run(keeper(start)),
        certificates=Certificates(OPTIONS["certificates"]),
        settings={"some": "settings"},
        events=EVENTS,
        clock=SystemClock(),
        notifier=Notifier(os.environ),
        make_tickets=lambda: "ring",
        listening=lambda addresses, snapshot: EVENTS.event("panel", ports=[a.port for a in addresses]),
    )
    try:
        return Supervisor(settings, parts).run()
    except HeadgateError as exc:
        EVENTS.event("failed", "error", reason=str(exc), kind=type(exc).__name__)
        return 1


if __name__ == "__main__":
    if OPTIONS.get("signal_in_the_end"):
        sys.last_moment = LastMoment()  # what hangs on `sys` goes last
    sys.exit(main())
