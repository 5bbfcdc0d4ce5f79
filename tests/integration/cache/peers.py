"""Who is tried with the suite: a gate, and nginx and Traffic Server as the suite's author sets them up."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from tests.integration.gate import Gate, free_port, wait_for

NGINX: Final = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes 1;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=suite:8m max_size=100m inactive=10m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{origin};
      proxy_cache suite;
      proxy_cache_revalidate on;
    }}
  }}
}}
"""

RECORDS: Final = """
CONFIG proxy.config.http.server_ports STRING {port}
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.http.insert_response_via_str INT 0
CONFIG proxy.config.http.cache.required_headers INT 2
CONFIG proxy.config.http.cache.ignore_client_cc_max_age INT 1
CONFIG proxy.config.http.negative_caching_enabled INT 0
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.url_remap.pristine_host_hdr INT 1
CONFIG proxy.config.reverse_proxy.enabled INT 1
CONFIG proxy.config.diags.debug.enabled INT 0
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.admin.user_id STRING trafficserver
"""


FOLDERS: Final = ("runtimedir", "logdir", "cachedir", "localstatedir", "datadir")
PROGRAMS: Final = (
    "prefix: /usr",
    "bindir: /usr/bin",
    "sbindir: /usr/sbin",
    "libdir: /usr/lib/trafficserver",
    "libexecdir: /usr/lib/trafficserver/modules",
)
# The suite's one origin that picks a language has a German page and no English one.
GATE: Final = """
[cache]
enabled = true
[[route]]
upstream = "suite"
[route.cache]
accept_language = ["de", "fr"]
[upstream.suite]
endpoints = ["http://127.0.0.1:{origin}"]
"""


@contextmanager
def gate(folder: Path, origin_port: int) -> Iterator[int]:
    """A gate with a cache in memory; yields its port."""
    with Gate(folder, GATE.format(origin=origin_port)) as running_gate:
        yield running_gate.http_ports[0]


def listens(port: int) -> bool:
    """Does somebody accept connections there?"""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], folder: Path, port: int, environ: dict[str, str]) -> Iterator[int]:
    """Hold a program until its port has listened and the caller is through."""
    log = folder / "peer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"{command[0]} to listen", lambda: process.poll() is not None or listens(port))
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} exited with {process.returncode}: {log.read_text()[-2000:]}")
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def nginx(folder: Path, origin_port: int) -> Iterator[int]:
    """nginx with proxy_cache; yields its port."""
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, origin=origin_port))
    with running(["nginx", "-p", str(folder), "-c", str(configuration)], folder, port, {}):
        yield port


@contextmanager
def trafficserver(folder: Path, origin_port: int) -> Iterator[int]:
    """Traffic Server in a layout of its own; yields its port."""
    port = free_port()
    layout = folder / "ats"
    etc = layout / "etc"
    shutil.copytree("/etc/trafficserver", etc)
    places = [f"{name}: {layout / name}" for name in FOLDERS]
    runroot = layout / "runroot.yaml"
    runroot.write_text("\n".join([*PROGRAMS, f"sysconfdir: {etc}", *places]) + "\n")
    (etc / "records.config").write_text(RECORDS.format(port=port))
    (etc / "storage.config").write_text(f"{layout}/cachedir 128M\n")
    (etc / "remap.config").write_text(f"map http://127.0.0.1:{port}/ http://127.0.0.1:{origin_port}/\n")
    for name in FOLDERS:
        (layout / name).mkdir()
    for path in (layout, *layout.rglob("*")):
        shutil.chown(path, "trafficserver")
    with running(["traffic_server"], folder, port, {"TS_RUNROOT": str(runroot)}):
        yield port


STARTS: Final[dict[str, Callable[[Path, int], AbstractContextManager[int]]]] = {
    "headgate": gate,
    "nginx": nginx,
    "trafficserver": trafficserver,
}


def version(name: str) -> str:
    """The version that is here, or "" when the program is not."""
    commands = {
        "headgate": [sys.executable, "-m", "headgate", "--version"],
        "nginx": ["nginx", "-v"],
        "trafficserver": ["traffic_server", "-V"],
    }
    command = commands[name]
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]
