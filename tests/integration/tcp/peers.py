"""HAProxy and nginx from the system, each with a configuration that the test writes, on free ports of loopback."""

import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

from tests.integration.gate import wait_for

PROGRAMS = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"


def answers(port, host="127.0.0.1"):
    """Tell whether somebody accepts there."""
    try:
        with socket.create_connection((host, port), 1.0):
            return True
    except OSError:
        return False


@contextmanager
def running(command, ports, log):
    """Run a program in the foreground until the block is over, from when it accepts on all `ports`."""
    environ = {**os.environ, "PATH": PROGRAMS}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ
        )
    try:

        def ready():
            assert process.poll() is None, log.read_text()
            return all(answers(port) for port in ports)

        wait_for(f"{command[0]} to accept", ready)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def haproxy(folder: Path, text: str, *ports: int):
    """HAProxy with these sections behind usual timeouts."""
    path = folder / f"haproxy-{ports[0]}.cfg"
    path.write_text(
        "global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n"
        f"  timeout server 20s\n{text}\n"
    )
    return running(["haproxy", "-db", "-f", str(path)], ports, path.with_suffix(".log"))


def nginx(folder: Path, text: str, *ports: int):
    """nginx with these blocks, `http { }` and `stream { }` among them."""
    own = folder / f"nginx-{ports[0]}"
    own.mkdir()
    path = own / "nginx.conf"
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    load = f"load_module {module};\n" if "stream" in text and module.exists() else ""
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{kind}_temp_path {own}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"{load}{user}daemon off;\nworker_processes 1;\npid {own}/pid;\nerror_log stderr notice;\n"
        f"events {{ }}\n{text.replace('http {', f'http {{ access_log off; {temporary}', 1)}\n"
    )
    return running(["nginx", "-p", str(own), "-c", str(path), "-e", "stderr"], ports, own / "log")
