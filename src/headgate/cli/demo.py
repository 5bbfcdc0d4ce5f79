"""`headgate demo`, what `make run` starts: a gate with everything around it, on loopback, in a folder of its own.

The origin and the OCSP responder are processes forked from this one before the gate starts, and the gate's
supervisor is this process itself: its SIGINT and SIGTERM are the gate's drain, and when the gate is down the helpers
are ended and the folder is removed.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from headgate.cli.output import OK
from headgate.config.kinds import format_address
from headgate.demo.ports import find_port, loopback_hosts
from headgate.errors import HeadgateError
from headgate.process.sockets import find_holder

METRICS_PORT: Final = 9180


class DemoError(HeadgateError):
    """The demo cannot be set up."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gate listens."""

    http: int
    https: int
    metrics: int


def run_demo(http_port: int, https_port: int, metrics_port: int) -> int:
    """Run the demo until it is told to stop; return the exit code. Ports that are taken are replaced by free ones.

    Raises `HeadgateError`.
    """
    try:
        # Until the supervisor has handlers of its own, these end the demo the same way as Ctrl-C.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        with ExitStack() as stack:
            try:
                return _run(stack, http_port, https_port, metrics_port)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)  # nothing interrupts the cleaning up
    except KeyboardInterrupt:
        return OK


def _run(stack: ExitStack, http_port: int, https_port: int, metrics_port: int) -> int:
    folder = stack.enter_context(_folder())
    say("loading")
    # Only now: these imports take a second, and nobody should wait for the first line.
    from headgate.app import StartReport, run_gate
    from headgate.cli.panel import print_panel
    from headgate.config.loader import load
    from headgate.demo.authority import make_authority
    from headgate.demo.helper import Helper, listen
    from headgate.demo.origin import run_origin
    from headgate.demo.responder import run_responder

    hosts = loopback_hosts()
    ports = _find_ports(hosts, http_port, https_port, metrics_port)
    origin = Helper("demo origin", listen(), run_origin)
    stack.callback(origin.close)
    responder_socket = listen()
    say(f"making a certificate authority and three certificates in {folder}")
    authority = make_authority(folder, f"http://127.0.0.1:{responder_socket.getsockname()[1]}/")
    revoked = folder / "revoked"
    revoked.mkdir()
    responder = Helper(
        "demo responder", responder_socket, partial(run_responder, authority=authority, revoked=revoked)
    )
    stack.callback(responder.close)
    config = folder / "headgate.toml"
    config.write_text(config_text(folder, hosts, ports, origin.port))
    say(f"origin: process {origin.pid}; OCSP responder: process {responder.pid}; starting the gate")

    def listening(report: StartReport) -> None:
        signal.signal(signal.SIGHUP, _hung_up)
        print_panel(report)
        _print_lines(try_lines(folder, ports, responder.pid))

    return run_gate(load(config), panel=listening)


def say(text: str) -> None:
    """Print a line of progress at once; a terminal that is gone must not stop the cleaning up."""
    with suppress(OSError, ValueError):
        print(f"headgate demo: {text}", flush=True)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that only we can read, removed at the end."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="headgate-demo-"))
    except OSError as exc:
        raise DemoError(f"no folder for the demo in {tempfile.gettempdir()}: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        say(
            f"stopped; {folder} is removed"
            if not folder.exists()
            else f"stopped; {folder} could not be removed"
        )


def _find_ports(hosts: Sequence[str], http: int, https: int, metrics: int) -> Ports:
    found: list[int] = []
    for what, wanted in (("http", http), ("https", https), ("metrics", metrics)):
        port = find_port(wanted, hosts, found)
        if wanted not in (0, port):
            holder = find_holder(wanted) or "another program"
            say(f"port {wanted} is taken by {holder}: {what} is on {port} instead")
        found.append(port)
    return Ports(*found)


def config_text(folder: Path, hosts: Sequence[str], ports: Ports, origin_port: int) -> str:
    """Return the demo's configuration file."""

    def addresses(port: int) -> str:
        return ", ".join(f'"{format_address(host, port)}"' for host in hosts)

    return f"""\
state_dir     = "{folder}/state"
runtime_dir   = "{folder}/run"
drain_timeout = "2s"

[[listener]]
addresses = [{addresses(ports.https)}]
limits    = {{ connections = 200 }}

[[listener]]
addresses = [{addresses(ports.http)}]
mode      = "http"
redirect  = true
limits    = {{ connections = 200 }}

[[certificate]]
files = "{folder}/certs/*.pem"

[[route]]
upstream = "origin"
set_response_headers = {{ X-Demo = "through the gate" }}

[upstream.origin]
endpoints = ["http://127.0.0.1:{origin_port}"]

[log]
access = "{folder}/access.log"

[metrics]
address = "127.0.0.1:{ports.metrics}"
"""


def try_lines(folder: Path, ports: Ports, responder: int) -> list[tuple[str, str]]:
    """Return pairs of what there is to see, and the command line that shows it."""
    ca, gate = f"{folder}/ca.pem", f"{own_name()}"
    run = f"--runtime-dir {folder}/run"
    client = f"openssl s_client -connect 127.0.0.1:{ports.https} -CAfile {ca} -status"
    must = f"https://must-staple.localhost:{ports.https}/"
    return [
        (
            "A page of the origin; curl insists on a good staple",
            f"curl --cacert {ca} --cert-status https://app.localhost:{ports.https}/",
        ),
        ("A certificate that promises a staple (must-staple)", f"curl --cacert {ca} --cert-status {must}"),
        ("The staple itself", f"{client} -servername app.localhost </dev/null"),
        (
            "The RSA certificate of the same name has its own",
            f"{client} -servername app.localhost -sigalgs rsa_pss_rsae_sha256 </dev/null",
        ),
        (
            "http goes to https",
            f"curl -L --cacert {ca} http://app.localhost:{ports.http}/",
        ),
        (
            "What streams is not held back",
            f"curl -N --cacert {ca} https://app.localhost:{ports.https}/ticks",
        ),
        *_http3_lines(ca, ports.https),
        ("Staples as the gate sees them", f"{gate} ocsp {run}"),
        ("One of them, spelled out", f"{gate} ocsp show must-staple.pem --text {run}"),
        ("Processes and listeners", f"{gate} status {run}"),
        (
            "Metrics",
            f"curl -s http://127.0.0.1:{ports.metrics}/metrics | grep headgate_staple",
        ),
        ("Revoke a certificate", f"touch {folder}/revoked/app-rsa; {gate} ocsp refresh {run}"),
        (
            "A responder that dies: it is reported, and the staples stay",
            f"kill {responder}; {gate} ocsp refresh {run}",
        ),
        ("Configuration, access log", f"cat {folder}/headgate.toml {folder}/access.log"),
    ]


def _http3_lines(ca: str, port: int) -> list[tuple[str, str]]:
    """Return a line for HTTP/3 where curl can speak it; where it cannot, one that shows how clients hear of it."""
    page = f"https://app.localhost:{port}/"
    if curl_speaks_http3():
        return [("The same page over HTTP/3", f"curl --http3-only --cacert {ca} {page}")]
    return [
        ("HTTP/3 is offered (this curl cannot speak it)", f"curl -sI --cacert {ca} {page} | grep -i alt-svc")
    ]


def curl_speaks_http3() -> bool:
    """Tell whether there is a curl that was built with HTTP/3."""
    try:
        done = subprocess.run(["curl", "--version"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b" HTTP3" in done.stdout


def own_name() -> str:
    """Return the command that runs this headgate."""
    called = sys.argv[0]
    if os.path.basename(called) != "headgate":
        return f"{shlex.quote(sys.executable)} -m headgate"
    found = shutil.which("headgate")
    if found is not None and os.path.realpath(found) == os.path.realpath(called):
        return "headgate"
    return shlex.quote(os.path.abspath(called))


def _print_lines(lines: Sequence[tuple[str, str]], write: Callable[[str], object] = print) -> None:
    text = "\nTry in another terminal:\n\n"
    text += "\n".join(f"  # {what}\n  {command}" for what, command in lines)
    with suppress(OSError, ValueError):
        write(text + "\n\nCtrl-C stops everything and removes the folder.\n")
        sys.stdout.flush()


def _hung_up(number: int, frame: object) -> None:
    """The terminal was closed: a gate would keep running (its supervisor is told to reload), a demo ends."""
    os.kill(os.getpid(), signal.SIGTERM)
