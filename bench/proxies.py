"""The proxies under test: how each is configured and started.

All get the same job: one worker, a plain and a TLS listener, one origin over reused connections,
X-Forwarded-For or its like, an access log to a file or none. A `Profile` says what differs between rows.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import certs, measure

START_LIMIT: Final = 180.0
# For 10,000 who wait for an answer: HAProxy asks the kernel for two descriptors each, of the 20,000 that there are.
MAX_CONNECTIONS: Final = 9900
MAX_DESCRIPTORS: Final = 15_000
# All the load comes from one address: the limits per client would measure themselves.
LIMITS: Final = """[listener.limits]
connections = 4000
per_client = 4000
connection_rate = "1000000/s"
all_connection_rate = "1000000/s"
"""


class StartError(Exception):
    """A proxy did not come up."""


@dataclass(frozen=True)
class Profile:
    """What a row wants of the configuration."""

    access_log: bool = False
    certificates: int = 1
    routes: int = 1
    h2: bool = False
    h3: bool = False
    origin_tls: bool = False
    # HTTP/2 in the clear, with prior knowledge, towards the origin.
    h2c_origin: bool = False
    # Below /hold is an origin that never answers, and there is room for 10,000 who wait for it.
    held: bool = False
    # Where answers are stored: "memory", "disk", or "" for not at all; and octets of memory for that, in MiB.
    cache: str = ""
    cache_mib: int = 64
    # Processes that serve; rivals have one.
    workers: int = 1
    # What the first port does instead of HTTP: "tcp" (passes connections on), or "connect" (a forward proxy; rivals
    # pass connections on).
    relay: str = ""


@dataclass(frozen=True)
class Job:
    """Everything a configuration is written from."""

    profile: Profile
    directory: Path
    certificates: Path
    port: int
    tls_port: int
    origin_port: int
    # Of an origin: where it speaks HTTP/2 in the clear.
    h2c_port: int = 0
    # Who never answers (`Profile.held`).
    held_port: int = 0

    @property
    def origin_authority(self) -> Path:
        """Whom to believe of an origin over TLS (`Profile.origin_tls`), in PEM."""
        return self.directory / "origin.authority"


def route_host(index: int) -> str:
    """Return the host name of route `index`."""
    return f"r{index:05d}.{certs.DOMAIN}"


def end_tree(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process with all its descendants: SIGTERM, then SIGKILL for the tree as it was."""
    members = measure.tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


class Running:
    """A proxy that serves."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], job: Job) -> None:
        self.name = name
        self.process = process
        self.job = job

    @property
    def url(self) -> str:
        """Base URL in clear."""
        return f"http://127.0.0.1:{self.job.port}"

    @property
    def tls_url(self) -> str:
        """Base URL over TLS."""
        return f"https://127.0.0.1:{self.job.tls_port}"

    def pids(self) -> list[int]:
        """The whole process tree."""
        return measure.tree(self.process.pid)

    def stop(self) -> None:
        """End it with all its processes."""
        end_tree(self.process, 3)


class Proxy:
    """How one proxy is found, configured and started."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def versions(self) -> frozenset[str]:
        """The versions of HTTP whose rows it takes part in: "h1", "h2", "h2c" (towards origins), "h3"; and
        "cache", "cache-h2" for those of stored answers."""
        return frozenset(("h1",))

    def absent(self) -> str | None:
        """Say why it cannot take part, or None."""
        raise NotImplementedError

    def work_directory(self, base: Path) -> Path:
        """Return where its files go."""
        return base

    def command(self, job: Job) -> list[str]:
        """Write the configuration and return the command that serves it in the foreground."""
        raise NotImplementedError

    def launch(self, job: Job, core: int) -> Running:
        """Start it on `core` without waiting."""
        job.directory.mkdir(parents=True, exist_ok=True)
        command = ["taskset", "-c", str(core), *self.command(job)]
        with (job.directory / "output").open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return Running(self.name, process, job)

    def start(self, job: Job, core: int) -> Running:
        """Start it on `core` and wait until both ports accept.

        Raises:
            StartError: it ended, or did not accept in time; the message ends with what it printed.
        """
        running = self.launch(job, core)
        end = time.monotonic() + START_LIMIT
        while not self.is_up(job):
            check_alive(running, end)
            time.sleep(0.01)
        return running

    def is_up(self, job: Job) -> bool:
        """Say whether it serves on all that `job` asks for."""
        return accepts(job.port) and accepts(job.tls_port) and (not job.profile.h3 or is_bound(job.tls_port))


def check_alive(running: Running, end: float) -> None:
    """Raise StartError when `running` has died or `end` (monotonic) has passed."""
    if running.process.poll() is not None:
        why = f"ended with status {running.process.returncode}"
    elif time.monotonic() > end:
        why = f"does not accept after {START_LIMIT:.0f} s"
        running.stop()
    else:
        return
    tail = (running.job.directory / "output").read_text(errors="replace").strip()[-1500:]
    raise StartError(f"{running.name}: {why}: {tail}")


def accepts(port: int) -> bool:
    """Say whether somebody accepts on `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True
    except OSError:
        return False


def is_bound(port: int) -> bool:
    """Say whether a UDP socket has `port`: a datagram would be a question that nobody has to answer."""
    return udp_drops(port) >= 0


def udp_drops(port: int) -> int:
    """Return how many datagrams the kernel dropped that came to the UDP sockets of `port`; -1: there is none."""
    found = [
        int(fields[-1])
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]
        if (fields := line.split())[1].endswith(f":{port:04X}")
    ]
    return sum(found) if found else -1


class Headgate(Proxy):
    """Headgate by its own command line, or by a template for a prototype.

    The template's placeholders: {config} {port} {tls_port} {origin_port} {cert} {cert_dir} {log} (a
    file or "off"). It has to serve in the foreground.
    """

    def __init__(self, name: str, template: str = "") -> None:
        super().__init__(name)
        self.template = template

    @property
    def versions(self) -> frozenset[str]:
        return frozenset(("h1", "h2", "h2c", "h3", "cache", "cache-h2"))

    def version(self) -> str:
        """Return what it says of itself, also whether it is compiled; "" for a template."""
        if self.template:
            return ""
        command = [*self._program(), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def absent(self) -> str | None:
        if self.template or self.version():
            return None
        return f"`{' '.join(self._program())} --version` fails; see --headgate-cmd"

    def _program(self) -> list[str]:
        beside = Path(sys.executable).with_name("headgate")
        return [str(beside)] if beside.exists() else [sys.executable, "-m", "headgate"]

    def command(self, job: Job) -> list[str]:
        config = job.directory / "headgate.toml"
        config.write_text(headgate_config(job))
        if not self.template:
            return [*self._program(), "run", str(config)]
        return shlex.split(
            self.template.format(
                config=config,
                port=job.port,
                tls_port=job.tls_port,
                origin_port=job.origin_port,
                cert=job.certificates / f"{certs.host(0)}.pem",
                cert_dir=job.certificates,
                log=job.directory / "access.log" if job.profile.access_log else "off",
            )
        )


def headgate_config(job: Job) -> str:
    """Return headgate.toml for `job`."""
    access = str(job.directory / "access.log") if job.profile.access_log else "off"
    lines = [
        f'state_dir = "{job.directory}/state"',
        f'runtime_dir = "{job.directory}/run"',
        f"workers = {job.profile.workers}",
        f'log = {{ access = "{access}" }}',
    ]
    if job.profile.relay:
        return "\n".join([*lines, headgate_relay(job)]) + "\n"
    spoken = ["h1", *(version for version in ("h2", "h3") if getattr(job.profile, version))]
    tls_versions = ", ".join(f'"{version}"' for version in spoken)
    for port, mode, versions in ((job.port, "http", '"h1"'), (job.tls_port, "https", tls_versions)):
        lines.append(
            f'[[listener]]\naddresses = ["127.0.0.1:{port}"]\nmode = "{mode}"\n'
            f"protocols = [{versions}]\n{LIMITS}"
        )
    lines.append(f'[[certificate]]\nfiles = "{job.certificates}/*.pem"')
    if job.profile.cache:
        lines.insert(4, headgate_cache(job))
    lines.append('[[route]]\npath = "/"\nupstream = "origin"')
    lines += [
        f'[[route]]\nhosts = ["{route_host(index)}"]\npath = "/"\nupstream = "origin"'
        for index in range(1, job.profile.routes)
    ]
    scheme = "https" if job.profile.origin_tls else "http"
    lines.append(f'[upstream.origin]\nendpoints = ["{scheme}://127.0.0.1:{job.origin_port}"]')
    if job.profile.h2c_origin:
        lines.append('protocols = ["h2"]')
    if job.profile.held:
        lines.append('[[route]]\npath = "/hold"\nupstream = "hold"')
        lines.append(f'[upstream.hold]\nendpoints = ["http://127.0.0.1:{job.held_port}"]')
    if job.profile.origin_tls:
        lines.append(f'[upstream.origin.tls]\nca = "{job.origin_authority}"\nname = "{certs.host(0)}"')
    return "\n".join(lines) + "\n"


def headgate_cache(job: Job) -> str:
    """Return the [cache] of headgate.toml. "disk": what is large is not in memory, as by Traffic Server's cutoff."""
    disk = '\nmax_object = "64KiB"\ndisk = "2GiB"' if job.profile.cache == "disk" else ""
    return f'[cache]\nenabled = true\nmemory = "{job.profile.cache_mib}MiB"{disk}'


def headgate_relay(job: Job) -> str:
    """Return the rest of headgate.toml for `Profile.relay`; an https listener keeps the second port."""
    if job.profile.relay == "tcp":
        mode, forward = 'mode = "tcp"\nupstream = "origin"', ""
        tables = f'[upstream.origin]\nendpoints = ["tcp://127.0.0.1:{job.origin_port}"]'
    else:
        mode = 'mode = "forward"'
        forward = (
            f'[listener.forward]\nconnect_ports = ["{job.origin_port}"]\nallow_networks = ["127.0.0.0/8"]'
        )
        tables = ""
    return f"""[[listener]]
addresses = ["127.0.0.1:{job.port}"]
{mode}
{LIMITS}{forward}
[[listener]]
addresses = ["127.0.0.1:{job.tls_port}"]
mode = "https"
protocols = ["h1"]
[[certificate]]
files = "{job.certificates}/*.pem"
[[route]]
respond = {{ status = 204 }}
{tables}
"""


class Rival(Proxy):
    """A program of the machine, or of a root laid beside it (then run by chroot, its files inside)."""

    program = ""
    place = "usr/sbin"

    def __init__(self, name: str, root: Path | None = None) -> None:
        super().__init__(name)
        self.root = root

    # What those of Debian's stable release speak, and what newer ones do.
    stable: frozenset[str] = frozenset(("h1", "h2"))
    newer: frozenset[str] = frozenset(("h1", "h2", "h2c", "h3"))

    @property
    def versions(self) -> frozenset[str]:
        return self.stable if self.root is None else self.newer

    def absent(self) -> str | None:
        if self.root is None:
            return None if self._path() else f"no {self.program} here (Debian: apt install {self.program})"
        if not (self.root / self.place / self.program).exists():
            return f"no {self.program} under {self.root}"
        return None if os.geteuid() == 0 else "chroot needs root"

    def _path(self) -> str | None:
        return shutil.which(self.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

    def work_directory(self, base: Path) -> Path:
        return base if self.root is None else self.root / "bench" / base.name

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        if self.root is None:
            return [self._path() or self.program, *arguments]
        return ["chroot", str(self.root), f"/{self.place}/{self.program}", *arguments]

    def inside(self, path: Path) -> str:
        """Return `path` as the program sees it."""
        return str(path) if self.root is None else "/" + str(path.relative_to(self.root))


class Haproxy(Rival):
    """HAProxy: one thread, reused connections, forwardfor, and a log line per request when asked."""

    program = "haproxy"
    stable = frozenset(("h1", "h2", "h2c"))

    def command(self, job: Job) -> list[str]:
        log = "log global\n  option httplog\n" if job.profile.access_log else ""
        where = f"ssl crt {self.inside(job.certificates)}/"
        quic = f"bind quic4@127.0.0.1:{job.tls_port} {where} alpn h3" if job.profile.h3 else ""
        held = f"backend hold\n  server o 127.0.0.1:{job.held_port}" if job.profile.held else ""
        tls = "proto h2" if job.profile.h2c_origin else ""
        if job.profile.origin_tls:
            tls = (
                f"ssl verify required ca-file {self.inside(job.origin_authority)} "
                f"sni str({certs.host(0)}) verifyhost {certs.host(0)} alpn http/1.1"
            )
        config = f"""global
  nbthread 1
  maxconn {MAX_CONNECTIONS if job.profile.held else 4000}
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  timeout http-keep-alive 60s
  option forwardfor
  http-reuse always
  {log}
frontend f
  bind 127.0.0.1:{job.port}
  bind 127.0.0.1:{job.tls_port} {where} alpn {"h2," if job.profile.h2 else ""}http/1.1
  {quic}
{"  use_backend hold if { path_beg /hold }" if job.profile.held else ""}
{self._routes(job)}
backend origin
  server o 127.0.0.1:{job.origin_port} {tls}
{held}
"""
        if job.profile.relay:
            config = f"""global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  option splice-request
  option splice-response
  timeout client 60s
  timeout server 60s
  timeout connect 5s
listen relay
  bind 127.0.0.1:{job.port}
  bind 127.0.0.1:{job.tls_port}
  server o 127.0.0.1:{job.origin_port}
"""
        path = job.directory / "haproxy.cfg"
        path.write_text(config)
        return self.argv("-db", "-f", self.inside(path))

    def _routes(self, job: Job) -> str:
        if job.profile.routes == 1:
            return "  default_backend origin"
        table = job.directory / "routes.map"
        table.write_text("".join(f"{route_host(i)} origin\n" for i in range(job.profile.routes)))
        return f"  use_backend %[req.hdr(host),lower,map({self.inside(table)},origin)]"


class Nginx(Rival):
    """nginx: one worker process, keep-alive to the origin, a buffered log when asked."""

    program = "nginx"
    stable = Rival.stable | {"cache", "cache-h2"}

    def command(self, job: Job) -> list[str]:
        directory = self.inside(job.directory)
        log = f"{directory}/access.log combined buffer=64k flush=1s" if job.profile.access_log else "off"
        user = "user root;" if os.geteuid() == 0 else ""
        config = f"""{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile {MAX_DESCRIPTORS};
events {{ worker_connections {MAX_DESCRIPTORS if job.profile.held else 6000}; }}
http {{
  access_log {log};
  keepalive_timeout 60s;
  keepalive_requests 100000000;
  server_names_hash_max_size 65536;
  server_names_hash_bucket_size 128;
{self._cache(job, directory)}
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_tickets on;
  upstream origin {{
    server 127.0.0.1:{job.origin_port};
    keepalive 64;
    keepalive_requests 100000000;
  }}
{f"  upstream hold {{ server 127.0.0.1:{job.held_port}; }}" if job.profile.held else ""}
  proxy_http_version {"2" if job.profile.h2c_origin else "1.1"};
  proxy_set_header Connection "";
  proxy_set_header Host {"$host" if job.profile.h3 else "$http_host"};
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
{self._origin_tls(job)}
{self._temporary(directory)}
{self._servers(job)}
}}
"""
        path = job.directory / "nginx.conf"
        path.write_text(config)
        return self.argv("-p", directory, "-c", self.inside(path), "-e", "stderr")

    @staticmethod
    def _cache(job: Job, directory: str) -> str:
        if not job.profile.cache:
            return "  proxy_max_temp_file_size 0;"
        # Its cache is files in any case; what it holds open it need not open for each hit.
        return f"""  sendfile on;
  open_file_cache max=10000 inactive=300s;
  proxy_cache_path {directory}/cache levels=1:2 keys_zone=all:256m max_size=8g inactive=1h use_temp_path=off;
  proxy_cache all;"""

    @staticmethod
    def _temporary(directory: str) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        return "\n".join(f"  {kind}_temp_path {directory}/{kind};" for kind in kinds)

    def _origin_tls(self, job: Job) -> str:
        if not job.profile.origin_tls:
            return ""
        return f"""  proxy_ssl_verify on;
  proxy_ssl_trusted_certificate {self.inside(job.origin_authority)};
  proxy_ssl_name {certs.host(0)};
  proxy_ssl_server_name on;"""

    def _servers(self, job: Job) -> str:
        where = self.inside(job.certificates)
        scheme = "https" if job.profile.origin_tls else "http"
        names = [certs.host(index) for index in range(job.profile.certificates)]
        quic = f"listen 127.0.0.1:{job.tls_port} quic; " if job.profile.h3 else ""
        h2 = " http2" if job.profile.h2 else ""
        hold = "location /hold { proxy_pass http://hold; } " if job.profile.held else ""
        blocks = [
            f"  server {{ {quic}listen 127.0.0.1:{job.tls_port} ssl{h2}; server_name {name}; "
            f"ssl_certificate {where}/{name}.pem; ssl_certificate_key {where}/{name}.pem; {hold}"
            f"location / {{ proxy_pass {scheme}://origin; }} }}"
            for name in names
        ]
        blocks.append(
            f"  server {{ listen 127.0.0.1:{job.port} default_server; "
            f"location / {{ proxy_pass {scheme}://origin; }} }}"
        )
        blocks += [
            f"  server {{ listen 127.0.0.1:{job.port}; server_name {route_host(index)}; "
            f"location / {{ proxy_pass {scheme}://origin; }} }}"
            for index in range(1, job.profile.routes)
        ]
        return "\n".join(blocks)


class Origin(Nginx):
    """The origin: 100 bytes from memory on /, 1 MiB from a file on /1m, on a third port in HTTP/2. It is also the
    "direct" row.

    What is below /stored may be stored for a day, what is below /no-store may not; /requests counts what came.
    """

    def command(self, job: Job) -> list[str]:
        directory = self.inside(job.directory)
        (job.directory / "1m").write_bytes(bytes(range(256)) * 4096)
        (job.directory / "10k").write_bytes(bytes(range(256)) * 40)
        user = "user root;" if os.geteuid() == 0 else ""
        certificate = f"{self.inside(job.certificates)}/{certs.host(0)}.pem"
        config = f"""{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 6000; }}
http {{
  access_log off;
  keepalive_timeout 300s;
  keepalive_requests 100000000;
  sendfile on;
  default_type application/octet-stream;
{self._temporary(directory)}
  server {{
    listen 127.0.0.1:{job.port};
    listen 127.0.0.1:{job.tls_port} ssl;
    listen 127.0.0.1:{job.h2c_port} http2;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    location = /1m {{ root {directory}; }}
    location = /stored/10k {{ alias {directory}/10k; add_header Cache-Control max-age=86400; }}
    location = /stored/1m {{ alias {directory}/1m; add_header Cache-Control max-age=86400; }}
    location /stored/ {{ return 200 "{"x" * 100}"; add_header Cache-Control max-age=86400; }}
    location /no-store/ {{ return 200 "{"x" * 100}"; add_header Cache-Control no-store; }}
    location = /requests {{ stub_status; }}
    location / {{ return 200 "{"x" * 100}"; }}
  }}
}}
"""
        path = job.directory / "origin.conf"
        path.write_text(config)
        return self.argv("-p", directory, "-c", self.inside(path), "-e", "stderr")
