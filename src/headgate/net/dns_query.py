"""One question to the nameservers: UDP first, TCP when the answer was cut short (RFC 1035 section 4.2).

Tries are staggered and not given up when the next one begins: the first goes to the preferred server; whenever
`stagger` seconds pass without an answer, or a try fails, the next server is asked too, and the first usable answer
wins. So a dead server costs one stagger, a slow one still gets to answer, and a lost datagram is sent again. A
server that refused, or said that it failed, is not asked twice for one question.

Datagram sockets are connected: the kernel drops what comes from elsewhere and reports a closed port at once. A
reply must match the question's id and name (dnspython checks that); others are skipped, at most `MAX_BOGUS`.
"""

import asyncio
import errno
import os
import socket
from dataclasses import dataclass, field
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from headgate.net.addresses import parse_endpoint

DNS_PORT: Final = 53
ROUNDS: Final = 3
# A forger, or a server gone mad, must not keep a look-up busy parsing.
MAX_BOGUS: Final = 32
_MAX_DATAGRAM: Final = 4096
_HEADER: Final = 12
# QR and TC in the third octet of the header (RFC 1035 section 4.1.1).
_CUT_SHORT: Final = 0x82


@dataclass(slots=True)
class Question:
    """One question and what has become of it: by server, why it was no help, or since when it owes an answer."""

    name: dns.name.Name
    record: dns.rdatatype.RdataType
    notes: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)

    def story(self, now: float) -> str:
        """Say which server did what; `now` is loop time, for the servers that still owe an answer."""
        silent = {
            server: f"no answer in {(now - began) * 1000:.0f} ms" for server, began in self.waiting.items()
        }
        return ", ".join(f"{server} {what}" for server, what in (silent | self.notes).items())


@dataclass(frozen=True, slots=True)
class Answer:
    """The usable reply and who gave it."""

    message: dns.message.QueryMessage
    server: str


class NoAnswer(Exception):
    """No server gave a usable answer; the question's notes say why."""


def os_error_text(error: OSError) -> str:
    """Return "ECONNREFUSED Connection refused" for an error of the system."""
    number = error.errno or 0
    return f"{errno.errorcode.get(number, f'errno {number}')} {os.strerror(number)}"


async def ask(question: Question, servers: list[str], *, stagger: float, timeout: float) -> Answer:
    """Ask `servers` ("ip", "ip:port", "[ip]:port") in their order; each single try may take `timeout` seconds.

    Raises `NoAnswer` when all of them failed."""
    loop = asyncio.get_running_loop()
    spent: set[str] = set()
    tries: set[asyncio.Task[Answer | None]] = set()
    try:
        for server in servers * ROUNDS:
            if server in spent:
                continue
            tries.add(loop.create_task(_try(question, server, timeout, spent), name=f"dns {server}"))
            done, tries = await asyncio.wait(tries, timeout=stagger, return_when=asyncio.FIRST_COMPLETED)
            if (answer := _first(done)) is not None:
                return answer
        while tries:
            done, tries = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            if (answer := _first(done)) is not None:
                return answer
        raise NoAnswer
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


def _first(done: set[asyncio.Task[Answer | None]]) -> Answer | None:
    for task in done:
        if (answer := task.result()) is not None:
            return answer
    return None


async def _try(question: Question, server: str, timeout: float, spent: set[str]) -> Answer | None:
    """Ask one server once; None, a note and (unless it was only slow) a place in `spent` when that did not help."""
    loop = asyncio.get_running_loop()
    began = question.waiting.setdefault(server, loop.time())
    try:
        async with asyncio.timeout(timeout):
            message = await _exchange(question, server)
    except TimeoutError:
        question.notes.setdefault(server, f"no answer in {(loop.time() - began) * 1000:.0f} ms")
        return None
    except OSError as error:
        question.notes[server] = os_error_text(error)
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        question.notes[server] = str(error) or type(error).__name__
    else:
        if message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Answer(message, server)
        question.notes[server] = dns.rcode.to_text(message.rcode())
    finally:
        question.waiting.pop(server, None)
    spent.add(server)
    return None


async def _exchange(question: Question, server: str) -> dns.message.QueryMessage:
    # No EDNS: 512 octets hold 28 IPv4 addresses, more come by TCP, and no old server is confused.
    query = dns.message.make_query(question.name, question.record, use_edns=False)
    reply = await _over_udp(question, query, server)
    return reply if reply is not None else await _over_tcp(query, server)


async def _over_udp(
    question: Question, query: dns.message.Message, server: str
) -> dns.message.QueryMessage | None:
    """Return the reply, None when the server cut it short."""
    loop = asyncio.get_running_loop()
    address, port = parse_endpoint(server, DNS_PORT)
    wire = query.to_wire()
    with socket.socket(address.socket_family(), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(address.socket_address(port))
        sock.send(wire)
        for _ in range(MAX_BOGUS):
            data = await loop.sock_recv(sock, _MAX_DATAGRAM)
            if len(data) < _HEADER or data[:2] != wire[:2]:
                continue
            if data[2] & _CUT_SHORT == _CUT_SHORT:
                return None
            try:
                reply = dns.message.from_wire(data, ignore_trailing=True)
            except (dns.exception.DNSException, ValueError):
                # Perhaps forged: the true answer may still come.
                question.notes[server] = "sent a malformed answer"
                continue
            if isinstance(reply, dns.message.QueryMessage) and query.is_response(reply):
                return reply
        raise ValueError(f"sent {MAX_BOGUS} replies that do not answer the question")


async def _over_tcp(query: dns.message.Message, server: str) -> dns.message.QueryMessage:
    loop = asyncio.get_running_loop()
    address, port = parse_endpoint(server, DNS_PORT)
    with socket.socket(address.socket_family(), socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, address.socket_address(port))
        wire = query.to_wire()
        await loop.sock_sendall(sock, len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(await _exactly(sock, 2), "big")
        reply = dns.message.from_wire(await _exactly(sock, size))
    if not isinstance(reply, dns.message.QueryMessage) or not query.is_response(reply):
        raise ValueError("an answer to another question, over TCP")
    return reply


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        if not part:
            raise EOFError(f"connection closed after {len(data)} of {size} bytes, over TCP")
        data += part
    return data
