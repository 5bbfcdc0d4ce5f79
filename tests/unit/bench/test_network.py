"""The benchmark's own network: what is started there inherits it, and where there is none one line says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SYSCTL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
# Enters a network, and tells what a process that it starts sees: the namespace, its links, and what a connection has.
ENTER = """
import json, os, socket, subprocess, sys
from bench import network
said = []
try:
    where = network.enter(said.append, *sys.argv[1:])
except network.NetworkError as error:
    sys.exit(f"refused: {error}")
child = '''
import json, os, socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
    congestion = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(bytes(1)).decode()
socket.create_server(("::1", 0), family=socket.AF_INET6).close()
links = [name for _, name in socket.if_nameindex()]
print(json.dumps([os.readlink("/proc/self/ns/net"), links, congestion, os.getuid(), os.getgid()]))
'''
seen = json.loads(subprocess.run([sys.executable, "-c", child], stdout=subprocess.PIPE, check=True).stdout)
print(json.dumps([where.name, where.congestion, said, seen]))
"""


def enter(*congestion, prefix=()):
    return subprocess.run(
        [*prefix, sys.executable, "-c", ENTER, *congestion],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_that_is_started_has_a_loopback_of_its_own_with_the_kernels_congestion_control():
    before = SYSCTL.read_text()
    done = enter()
    name, congestion, said, (namespace, links, used, *_) = json.loads(done.stdout or done.stderr)
    assert (name, congestion, said, used) == ("a namespace of its own", "cubic", [], "cubic")
    assert namespace != os.readlink("/proc/self/ns/net")
    assert links == ["lo"]
    assert SYSCTL.read_text() == before


def test_another_congestion_control_is_had_by_name_and_one_that_there_is_not_ends_the_run():
    done = enter("reno")
    _, congestion, _, (_, _, used, *_) = json.loads(done.stdout or done.stderr)
    assert (congestion, used) == ("reno", "reno")
    done = enter("nosuch")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: nosuch: No such file or directory; this kernel has ")
    assert "cubic" in done.stderr


def as_user(*then):
    """Return what makes the rest of a command a user's that is not root; skip where the kernel does not let us."""
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *then]
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=20, check=False)
    if probe.returncode:
        pytest.skip(f"no user namespaces: {probe.stderr.strip()}")
    return prefix


def test_who_is_not_root_has_one_too_and_stays_who_he_is():
    done = enter(prefix=as_user())
    name, _, said, (_, links, used, *who) = json.loads(done.stdout or done.stderr)
    assert (name, said, links, used) == ("a namespace of its own", [], ["lo"], "cubic")
    assert who == [1000, 1000]


def test_where_the_kernel_refuses_a_line_says_so_and_the_run_goes_on():
    # The kernel counts namespaces for each user namespace; root in one of its own may allow itself none.
    none = ("unshare", "--user", "--map-root-user", "sh", "-ec")
    prefix = as_user(*none, 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$0" "$@"')
    done = enter(prefix=prefix)
    name, congestion, said, (namespace, *_) = json.loads(done.stdout or done.stderr)
    here = SYSCTL.read_text().strip()
    assert (name, congestion) == ("the machine's own", here)
    assert said == [
        f"no network namespace (No space left on device): measured in the machine's own, with {here}"
    ]
    assert namespace == os.readlink("/proc/self/ns/net")
    done = enter("cubic", prefix=prefix)
    assert done.stderr.strip() == "refused: cubic: no network namespace for it: No space left on device"


@pytest.mark.slow
def test_a_run_names_its_network_in_the_table_and_in_the_json(tmp_path):
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--seconds", "0.3"]
    options = ["--rows", "h1", "--only", "nginx", "--congestion", "reno", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "network: a namespace of its own, congestion control: reno" in done.stdout
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["environment"]["network"] == "a namespace of its own"
    assert found["environment"]["congestion"] == "reno"
    assert found["rows"][0]["figures"][0]["rate"] > 0


def test_the_machines_own_network_is_never_changed():
    command = [sys.executable, "-m", "bench", "--network", "host", "--congestion", "reno"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "the machine's is not changed" in done.stderr
