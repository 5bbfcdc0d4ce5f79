"""A small DNS server with faults, for tests: UDP and TCP on one loopback port.

    with DnsServer() as server:
        server.add("ocsp.example", "A", "127.0.0.1")
        server.fault(rcode="SERVFAIL", times=2)     # fails twice, then has healed
        ...nameservers = [server.address]...

A name that has no records at all is NXDOMAIN, one that has others is an empty answer; both carry an SOA.
"""

import asyncio
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from headgate.testing.loop_thread import Acceptor, LoopThread
from headgate.testing.relay import bind

_SOA: Final = "ns.test. admin.test. 1 3600 600 86400 "
_UDP_LIMIT: Final = 512


@dataclass(slots=True)
class Fault:
    """What goes wrong with a question of type `record` ("A", "AAAA", "": any), `times` times (-1: always)."""

    record: str = ""
    rcode: str = ""
    delay: float = 0.0
    silent: bool = False
    truncate: bool = False
    garbage: bool = False
    close_tcp: bool = False
    times: int = -1


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that was received; `transport` is "udp" or "tcp"."""

    name: str
    record: str
    transport: str


class DnsServer:
    """Serves from its own thread; records and faults may be changed at any time."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, negative_ttl: int = 60) -> None:
        self.asked: list[Asked] = []
        self.negative_ttl = negative_ttl
        self._records: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self._faults: list[Fault] = []
        self._udp, listening = _bind_both(host, port)
        self._udp.setblocking(False)
        self.host, self.port = self._udp.getsockname()[:2]
        self.address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self._thread = LoopThread(f"dns {self.address}")
        self._tcp = Acceptor(self._thread, listening, self._serve_tcp)
        self._thread.call(self._start())

    def __repr__(self) -> str:
        return f"<DnsServer {self.address}: {len(self._records)} records, {len(self.asked)} questions>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving: from then on the port is closed. May be called twice."""
        self._tcp.close()
        self._thread.stop()
        self._udp.close()

    def add(self, name: str, record: str, *values: str, ttl: int = 60) -> None:
        """Set the records of one name and type; no values: the name exists, but has none of that type."""
        self._records[_key(name), record] = (ttl, list(values))

    def remove(self, name: str) -> None:
        """Forget every record of a name."""
        for key in [key for key in self._records if key[0] == _key(name)]:
            del self._records[key]

    def fault(
        self,
        record: str = "",
        *,
        rcode: str = "",
        delay: float = 0.0,
        silent: bool = False,
        truncate: bool = False,
        garbage: bool = False,
        close_tcp: bool = False,
        times: int = -1,
    ) -> Fault:
        """Let something go wrong; the first fault that matches a question is the one. See `Fault`."""
        fault = Fault(record, rcode, delay, silent, truncate, garbage, close_tcp, times)
        self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self._faults.clear()

    def questions(self, name: str, record: str = "") -> int:
        """Return how often `name` was asked for."""
        return sum(a.name == _key(name) and record in ("", a.record) for a in self.asked)

    # -- serving

    async def _start(self) -> None:
        self._reading = asyncio.get_running_loop().create_task(self._read_datagrams())

    async def _read_datagrams(self) -> None:
        loop = asyncio.get_running_loop()
        running: set[asyncio.Task[None]] = set()
        while True:
            data, peer = await loop.sock_recvfrom(self._udp, 4096)
            task = loop.create_task(self._answer_datagram(data, peer))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _answer_datagram(self, data: bytes, peer: tuple[str, int]) -> None:
        reply = await self._answer(data, "udp")
        if reply is not None:
            try:
                self._udp.sendto(reply, peer)
            except OSError:
                pass  # Who asked has gone.

    async def _serve_tcp(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                size = int.from_bytes(await _exactly(client, 2), "big")
                reply = await self._answer(await _exactly(client, size), "tcp")
                if reply is None:
                    await asyncio.sleep(3600)
                elif not reply:
                    return
                else:
                    await loop.sock_sendall(client, len(reply).to_bytes(2, "big") + reply)
        except (EOFError, OSError):
            pass

    async def _answer(self, wire: bytes, transport: str) -> bytes | None:
        """Return the reply, None to keep silent, b"" to close."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        asked = Asked(_key(question.name.to_text()), dns.rdatatype.to_text(question.rdtype), transport)
        self.asked.append(asked)
        fault = self._next_fault(asked.record)
        await asyncio.sleep(fault.delay)
        if fault.silent:
            return None
        if fault.garbage:
            return wire[:2] + b"\x81\x80" + wire[4:6] + b"\xff\xff" + wire[8:] + b"\xc0"
        if fault.close_tcp and transport == "tcp":
            return b""
        reply = dns.message.make_response(query, recursion_available=True)
        if fault.rcode:
            reply.set_rcode(dns.rcode.from_text(fault.rcode))
        else:
            self._fill(reply, asked)
        whole = reply.to_wire()
        if transport == "udp" and (fault.truncate or len(whole) > _UDP_LIMIT):
            reply.flags |= dns.flags.TC
            reply.answer.clear()
            return reply.to_wire()
        return whole

    def _next_fault(self, record: str) -> Fault:
        for fault in self._faults:
            if fault.record in ("", record) and fault.times != 0:
                fault.times -= 1 if fault.times > 0 else 0
                return fault
        return Fault()

    def _fill(self, reply: dns.message.Message, asked: Asked) -> None:
        name = asked.name
        while (alias := self._records.get((name, "CNAME"))) is not None:
            reply.answer.append(dns.rrset.from_text(name, alias[0], "IN", "CNAME", alias[1][0]))
            name = _key(alias[1][0])
        ttl, values = self._records.get((name, asked.record), (0, []))
        if values:
            reply.answer.append(dns.rrset.from_text(name, ttl, "IN", asked.record, *values))
            return
        if not any(key[0] == name for key in self._records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        soa = _SOA + str(self.negative_ttl)
        reply.authority.append(dns.rrset.from_text(".", self.negative_ttl, "IN", "SOA", soa))


def _key(name: str) -> str:
    return name.rstrip(".").lower() + "."


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    for _ in range(50):
        udp = bind(host, port, socket.SOCK_DGRAM)
        try:
            return udp, bind(host, udp.getsockname()[1], reuse=port != 0)
        except OSError:
            udp.close()
            if port:
                raise
    raise OSError(f"no port is free for both UDP and TCP on {host}")
