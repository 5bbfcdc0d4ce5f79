"""A gate with TLS for tests: an authority, certificate files, listeners of every policy, and real clients."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.gate import Gate, free_port, wait_for

from headgate.testing.pki import Authority, KeyKind, Leaf

PATIENCE = 20.0
REQUEST = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"
# The first route of all: whoever is let in gets this.
HELLO = '[[route]]\nrespond = { status = 200, body = "let in" }\n'


def run(
    command: list[str], stdin: bytes = b"", timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end; its output as text, whatever it is."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


@dataclass
class Site:
    """Certificates in `folder`/certs, below one root, and a configuration that serves them."""

    folder: Path
    root: Authority = field(default_factory=lambda: Authority.root("Gate Root"))

    def __post_init__(self) -> None:
        (self.folder / "certs").mkdir()
        self.ca = self.write("root.pem", self.root.pem)

    def write(self, name: str, content: bytes) -> str:
        """Write a file as a whole, the way certificate tools do; return its path."""
        path = self.folder / name
        fresh = path.with_name(path.name + ".new~")
        fresh.write_bytes(content)
        fresh.rename(path)
        return str(path)

    def certificate(
        self,
        file: str,
        *names: str,
        key: KeyKind = "p256",
        issuer: Authority | None = None,
        **options: object,
    ) -> Leaf:
        """Make a certificate and put it with its chain and key into certs/FILE.pem."""
        leaf = (issuer or self.root).leaf(*names, key=key, **options)  # type: ignore[arg-type]
        self.write(f"certs/{file}.pem", leaf.chain_pem + leaf.key_pem)
        return leaf

    def gate(self, text: str = HELLO, **options: object) -> Gate:
        """Return a gate, not yet started, that serves everything in certs/."""
        options = {"http": 0, "https": 1, **options}
        found = f'[[certificate]]\nfiles = "{self.folder}/certs/*.pem"\n'
        return Gate(self.folder, text + found, **options)  # type: ignore[arg-type]

    def client(self, *, ca: bool = True) -> ssl.SSLContext:
        """Return a client context that believes the site's root."""
        context = ssl.create_default_context(cafile=self.ca)
        if not ca:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def connect(
        self, port: int, name: str | None = "a.test", context: ssl.SSLContext | None = None, **options
    ):
        """Shake hands; return the socket."""
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            return (context or self.client()).wrap_socket(sock, server_hostname=name, **options)
        except BaseException:
            sock.close()
            raise

    def fingerprint(self, port: int, name: str = "a.test") -> bytes:
        """Return the DER of the certificate that is on the wire now, b"" when there is none."""
        try:
            with self.connect(port, name, self.client(ca=False)) as sock:
                return sock.getpeercert(True) or b""
        except OSError:
            return b""

    def s_client(self, port: int, *options: str, name: str = "a.test", stdin: bytes = REQUEST) -> str:
        """Return all that openssl's client says, of the connection and of the answer."""
        sni = ["-servername", name] if name else ["-noservername"]
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
            *sni,
            "-CAfile",
            self.ca,
            "-ign_eof",
        ]
        done = run([*command, *options], stdin)
        return done.stdout + done.stderr

    def curl(self, port: int, *options: str, name: str = "a.test", path: str = "/", scheme: str = "https"):
        """Run curl for https://NAME:PORT/PATH."""
        command = ["curl", "-sS", "--max-time", "20", "--cacert", self.ca]
        resolve = ["--resolve", f"{name}:{port}:127.0.0.1"]
        return run([*command, *resolve, *options, f"{scheme}://{name}:{port}{path}"], timeout=30)


def make_site(folder: Path, kind: type[Site] = Site) -> Site:
    """Return a site in a folder that `nobody`, too, may enter."""
    for above in (folder, *folder.parents):
        if above == Path(tempfile.gettempdir()) or above.stat().st_uid != os.geteuid():
            break
        above.chmod(0o755)
    return kind(folder)


@pytest.fixture
def site(tmp_path: Path, tools: "Tools") -> Site:
    """A site for one test."""
    return make_site(tmp_path)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory, tools: "Tools") -> Site:
    """A site for all tests of a module, which do not change it."""
    return make_site(tmp_path_factory.mktemp("site"))


def request(sock: socket.socket, host: str = "a.test", path: str = "/", *extra: str) -> bytes:
    """Ask once on a connection that then closes; return the whole answer."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *extra, "", ""]
    sock.sendall("\r\n".join(lines).encode())
    return b"".join(iter(lambda: sock.recv(65536), b""))


def by_process(gate: Gate, start: str) -> dict[str, float]:
    """Return the metrics whose names begin so, by process: {"worker 0": 3.0}."""
    with socket.create_connection(("127.0.0.1", gate.metrics_port), 5) as sock:
        answer = request(sock, "x", "/metrics").decode()
    found: dict[str, float] = {}
    for line in answer.splitlines():
        if line.startswith(f"headgate_{start}") and 'process="' in line:
            process = line.partition('process="')[2].partition('"')[0]
            found[process] = found.get(process, 0.0) + float(line.rpartition(" ")[2])
    return found


def worker_of(sock: socket.socket, pids: list[int]) -> int:
    """Return which of the processes holds the other end of a loopback connection."""
    ours, theirs = sock.getsockname()[1], sock.getpeername()[1]

    def holder() -> int:
        # Neither table is a snapshot: connections that come and go beside ours make a reading miss some.
        links = [f"socket:[{inode}]" for inode in _inodes(theirs, ours)]
        return next((pid for pid in pids if any(link in links for link in _links(pid))), 0)

    return int(wait_for("the worker of a connection", holder))


def _inodes(local: int, remote: int) -> list[str]:
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if [int(parts[n].partition(":")[2], 16) for n in (1, 2)] == [local, remote]:
            found.append(parts[9])
    return found


def _links(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
    return found


def counted(gate: Gate, metric: str, at_least: float = 1.0) -> float:
    """Wait until a metric has reached a value; return it."""

    def reached() -> float:
        value = gate.metrics().get(metric, 0.0)
        return value if value >= at_least else 0.0

    return wait_for(metric, reached)


def alive(pid: int) -> bool:
    """Tell whether a process runs; zombies do not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    """End one process of a gate of ours, as hard as can be."""
    os.kill(pid, signal.SIGKILL)


def python_path(folder: Path) -> dict[str, str]:
    """Return an environment in which Python looks for modules in `folder` first."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


def listener(mode: str = "https", tls: str = "", more: str = "") -> tuple[int, str]:
    """Return a port and the TOML of one more listener on it."""
    port = free_port()
    text = f'[[listener]]\naddresses = ["127.0.0.1:{port}"]\nmode = "{mode}"\n'
    if tls:
        text += f"[listener.tls]\n{tls}\n"
    return port, text + more + "\n"


@pytest.fixture(scope="session")
def tools() -> "Tools":
    for tool in ("openssl", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return Tools()


class Tools:
    """The helpers above, for tests: their modules cannot import this one."""

    request = staticmethod(request)
    by_process = staticmethod(by_process)
    worker_of = staticmethod(worker_of)
    counted = staticmethod(counted)
    alive: Callable[[int], bool] = staticmethod(alive)
    listener = staticmethod(listener)
    run = staticmethod(run)
    wait_for = staticmethod(wait_for)
    make_site = staticmethod(make_site)
    kill = staticmethod(kill)
    python_path = staticmethod(python_path)
    hello = HELLO
