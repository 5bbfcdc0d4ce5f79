"""The dialer on hosts that this one is not: without IPv6, without a road, without IPv4. Each test is a script that
runs in a network namespace of its own (`unshare -n`, as root) and prints JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROLOGUE = """
import asyncio, errno, json, socket, subprocess, sys, tempfile
from headgate.counters import DIAL_ERRORS, DIAL_FAILED_FIRST, Counters
from headgate.net.dialer import Dialer, DialError
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.testing.relay import Relay

def sysctl(name, value):
    with open("/proc/sys/net/" + name, "w") as file:
        file.write(value)

def dial(port, *ips, **options):
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.writelines(f"{ip} app.example\\n" for ip in ips)
        hosts.flush()
        counters = Counters()
        dialer = Dialer(Resolver(ResolverSettings(hosts_path=hosts.name)), counters=counters)

        async def run():
            dialed = await dialer.dial("app.example", port, timeout=5, **options)
            dialed.sock.close()
            return dialed.attempts, ""

        try:
            attempts, text = asyncio.run(run())
        except DialError as error:
            attempts, text = error.attempts, str(error)
    names = [(a.address, errno.errorcode.get(a.errno, a.errno)) for a in attempts]
    count = {n: sum(counters.values[DIAL_FAILED_FIRST + f * len(DIAL_ERRORS) + i] for f in range(3))
             for i, n in enumerate(DIAL_ERRORS)}
    print(json.dumps({"attempts": names, "text": text, "failed": {n: c for n, c in count.items() if c},
                      "errors": [a.error for a in attempts], "port": port}))

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
"""


def in_namespace(script):
    """Run `script` after the prologue in a fresh network namespace; return what it printed as JSON."""
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True, timeout=20)
    if probe.returncode:
        pytest.skip(f"needs root for `unshare -n`: {probe.stderr.strip()}")
    source = Path(__file__).parents[3] / "src"
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", PROLOGUE + script],
        capture_output=True,
        text=True,
        timeout=40,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(source)]))},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NO_IPV6 = """
sysctl("ipv6/conf/all/disable_ipv6", "1")
"""


def test_no_ipv6_on_the_host_ipv4_is_used_at_once():
    """Wound W3: the name has both families, the host has one."""
    seen = in_namespace(
        NO_IPV6 + "with Relay() as relay: dial(relay.port, '::1', '2001:db8::1', '127.0.0.1')"
    )
    port = seen["port"]
    assert seen["attempts"] == [[f"[::1]:{port}", "EADDRNOTAVAIL"], [f"127.0.0.1:{port}", 0]]
    assert seen["failed"] == {"EADDRNOTAVAIL": 1}


def test_no_ipv6_on_the_host_and_only_ipv6_to_dial_says_what_is_wrong():
    seen = in_namespace(NO_IPV6 + "dial(80, '::1', '2001:db8::1')")
    assert seen["errors"][0] == "this host has no IPv6 address to dial from"
    assert "[::1]:80 EADDRNOTAVAIL (this host has no IPv6 address to dial from) after 0 ms" in seen["text"]
    assert "free ports" not in seen["text"]


def test_ipv6_without_a_route():
    seen = in_namespace("with Relay() as relay: dial(relay.port, '2001:db8::1', '127.0.0.1')")
    port = seen["port"]
    assert seen["attempts"] == [[f"[2001:db8::1]:{port}", "ENETUNREACH"], [f"127.0.0.1:{port}", 0]]
    assert seen["errors"][0] == "this host has no IPv6 route to it"


def test_no_ipv4_on_the_host():
    seen = in_namespace("""
subprocess.run(["ip", "-4", "address", "flush", "dev", "lo"], check=True)
with Relay(host="::1") as relay:
    dial(relay.port, "192.0.2.1", "::1", prefer="ipv4")
""")
    port = seen["port"]
    assert seen["attempts"] == [[f"192.0.2.1:{port}", "ENETUNREACH"], [f"[::1]:{port}", 0]]
    assert seen["failed"] == {"ENETUNREACH": 1}


def test_route_that_says_unreachable():
    seen = in_namespace("""
subprocess.run(["ip", "route", "add", "unreachable", "192.0.2.0/24"], check=True)
dial(80, "192.0.2.1")
""")
    assert seen["attempts"] == [["192.0.2.1:80", "EHOSTUNREACH"]]


def test_local_ports_used_up_is_no_riddle():
    seen = in_namespace("""
sysctl("ipv4/ip_local_port_range", "40000 40000")
with Relay(port=50000) as relay:
    with socket.create_connection(("127.0.0.1", relay.port)):
        dial(relay.port, "127.0.0.1")
""")
    assert seen["attempts"] == [["127.0.0.1:50000", "EADDRNOTAVAIL"]]
    assert "no local address or port is left to dial from" in seen["text"]


def test_connecting_to_oneself_is_refused():
    """Nobody listens on the one port that the kernel has for our side: TCP's simultaneous open reaches ourselves."""
    seen = in_namespace("""
sysctl("ipv4/ip_local_port_range", "40000 40000")
with socket.socket() as proof:
    proof.connect(("127.0.0.1", 40000))
    assert proof.getsockname() == proof.getpeername()
    proof.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
dial(40000, "127.0.0.1")
""")
    assert seen["attempts"] == [["127.0.0.1:40000", "ECONNREFUSED"]]
