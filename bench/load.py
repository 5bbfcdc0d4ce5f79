"""Load: wrk for HTTP, and a plain TLS client of our own where wrk cannot do the job (SNI, idling)."""

import contextlib
import json
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REPORT_LUA: Final = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nREPORT {"requests":%d,"us":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,' ..
    '"status":%d,"timeout":%d,"p50":%d,"p99":%d}\\n', summary.requests, summary.duration, summary.bytes,
    e.connect, e.read, e.write, e.status, e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""

# Another URL for each request: numbers from `first` on, or one of the first `many`.
NUMBERED_LUA: Final = """
local number = {first}
local rest = " HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n"
request = function()
  {choice}
  return "GET {path}" .. number .. rest
end
"""
NEXT_LUA: Final = "number = number + 1"
ANY_LUA: Final = "number = math.random({many})"

# What a browser sends, with Host and what wrk adds nothing to: 15 request fields.
FIFTEEN_FIELDS: Final = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: https://www.example.com/some/where?q=1",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-User: ?1",
    "Upgrade-Insecure-Requests: 1",
    "Priority: u=0, i",
    "Cache-Control: no-cache",
    "X-Request-Id: 4bf92f3577b34da6a3ce929d0e0e4736",
)


class LoadError(Exception):
    """The load generator did not measure what it was asked to."""


@dataclass(frozen=True)
class Load:
    """What wrk is asked to do."""

    path: str = "/"
    connections: int = 64
    headers: tuple[str, ...] = field(default=())
    # A number is put after `path`: after this one in their order, or, where `many` is not 0, one of 1 to `many`.
    first: int = -1
    many: int = 0


@dataclass(frozen=True)
class Outcome:
    """What wrk saw; latencies in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int


def wrk(url: str, load: Load, seconds: float, core: int, workdir: Path) -> Outcome:
    """Run wrk against `url` from `core`; it knows whole seconds only, at least one."""
    script = workdir / "report.lua"
    script.write_text(REPORT_LUA + _numbered(url, load))
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{load.connections}",
        f"-d{max(1, round(seconds))}s",
    ]
    command += ["--timeout", "5s", "-s", str(script)]
    for line in load.headers:
        command += ["-H", line]
    done = subprocess.run([*command, url + load.path], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("REPORT "):
            return _outcome(json.loads(line.removeprefix("REPORT ")), url)
    raise LoadError(f"wrk {url}: {done.stderr.strip() or done.stdout.strip()}")


def _numbered(url: str, load: Load) -> str:
    if load.first < 0 and load.many == 0:
        return ""
    choice = ANY_LUA.format(many=load.many) if load.many else NEXT_LUA
    host = url.partition("://")[2]
    return NUMBERED_LUA.format(first=max(load.first, 0), host=host, path=load.path, choice=choice)


def _outcome(report: dict[str, int], url: str) -> Outcome:
    if report["status"] or not report["requests"]:
        raise LoadError(f"wrk {url}: {report['status']} of {report['requests']} answers were no 2xx or 3xx")
    errors = report["connect"] + report["read"] + report["write"] + report["timeout"]
    return Outcome(report["requests"], report["us"] / 1e6, report["p50"], report["p99"], errors)


def client_context() -> ssl.SSLContext:
    """Return a client context that checks nothing: verifying is the client's work, not the proxy's."""
    # Not create_default_context: that reads the system's 140 CAs, for each client thread again.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(context: ssl.SSLContext, port: int, name: str, *, timeout: float = 5.0) -> ssl.SSLSocket:
    """Connect and do a full handshake for `name`."""
    raw = socket.create_connection(("127.0.0.1", port), timeout)
    try:
        return context.wrap_socket(raw, server_hostname=name)
    except BaseException:
        raw.close()
        raise


def exchange(stream: ssl.SSLSocket, name: str, *, close: bool = False) -> None:
    """Send one request and read its whole answer.

    Raises:
        LoadError: it was no 200.
    """
    extra = "Connection: close\r\n" if close else ""
    stream.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n{extra}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = stream.recv(4096)
        if not chunk:
            raise LoadError(f"{name}: closed before the answer's head was whole: {head!r}")
        head += chunk
    head, _, body = head.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise LoadError(f"{name}: {head.splitlines()[0]!r}")
    length = next(int(f[15:]) for f in head.lower().split(b"\r\n") if f.startswith(b"content-length:"))
    while len(body) < length:
        chunk = stream.recv(65536)
        if not chunk:
            raise LoadError(f"{name}: closed after {len(body)} of {length} bytes")
        body += chunk


def touch(port: int, names: list[str]) -> None:
    """Do one handshake for each name, so that a proxy that loads a certificate when it is first asked for has it."""
    context = client_context()
    for name in names:
        handshake(context, port, name).close()


def _handshake_loop(port: int, names: list[str], first: int, end: float) -> list[float]:
    context = client_context()
    took: list[float] = []
    last = time.perf_counter()
    while last < end:
        name = names[(first + len(took)) % len(names)]
        with contextlib.closing(handshake(context, port, name)) as stream:
            if stream.session_reused:
                raise LoadError(f"{name}: the handshake was a resumption")
            exchange(stream, name, close=True)
        now = time.perf_counter()
        took.append(now - last)
        last = now
    return took


def handshakes(port: int, names: list[str], seconds: float, clients: int = 4) -> Outcome:
    """Do full handshakes with one request each for `seconds` in `clients` threads, each walking through `names` from
    a place of its own.

    Not wrk: it keeps the session of a connection and resumes it on the next one.
    """
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        loops = [
            pool.submit(_handshake_loop, port, names, len(names) * number // clients, begin + seconds)
            for number in range(clients)
        ]
        took = sorted(each for loop in loops for each in loop.result())
    middle, high = took[len(took) // 2], took[len(took) * 99 // 100]
    return Outcome(len(took), time.perf_counter() - begin, middle * 1e6, high * 1e6, 0)
