"""Staples as real clients see them: `openssl s_client -status` and `curl --cert-status`, over the real responder.

Several server names, RSA beside ECDSA under one name, resumed handshakes, and a responder that the client finds dead
long after the staple was fetched.
"""

import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.integration.faults.world import (
    World,
    configuration,
    handshake,
    metric,
    next_host,
    on_the_wire,
    wait_for_rows,
)
from tests.integration.gate import Gate, wait_for

from headgate.testing.relay import Relay
from headgate.testing.responder import OpensslResponder

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("clients")) as world:
        relay = world.keep(Relay(host=next_host()))
        url = f"http://{relay.address}/"
        leaves = [world.leaf(name, url) for name in NAMES]
        leaves += [world.leaf("pair", url, file=f"pair-{key}", key=key) for key in ("rsa", "p256")]
        responder = world.keep(OpensslResponder(world.folder / "responder", world.issuer, leaves))
        relay.target = ("127.0.0.1", responder.port)
        yield world


@pytest.fixture(scope="module")
def gate(world):
    with Gate(world.folder, configuration(ocsp='timeout = "5s"'), http=0, https=1) as gate:
        found = wait_for_rows(gate)
        assert {row["state"] for row in found.values()} == {"fresh"}
        yield gate


def s_client(world, gate, name, *options):
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{gate.https_ports[0]}",
        "-servername",
        f"{name}.test",
    ]
    command += ["-status", "-CAfile", str(world.folder / "root.pem"), "-verify_return_error", *options]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(world, gate, name, version):
    shown = s_client(world, gate, name, version)
    assert "OCSP Response Status: successful (0x0)" in shown
    assert "Cert Status: good" in shown
    serial = f"{world.leaves[name].certificate.serial_number:X}"
    assert f"Serial Number: {serial}" in shown, "each name has the staple of its own certificate"


@pytest.mark.parametrize("name", NAMES)
def test_curl_cert_status(world, gate, name):
    port = gate.https_ports[0]
    command = ["curl", "-sS", "--cert-status", "--cacert", str(world.folder / "root.pem")]
    command += ["--resolve", f"{name}.test:{port}:127.0.0.1", f"https://{name}.test:{port}/"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b"fine"), done.stderr


def test_curl_refuses_where_there_is_no_staple(tmp_path):
    """The check above can fail: curl exits with 91 when nothing is stapled."""
    with World(tmp_path) as world:
        world.leaf("bare")
        with Gate(tmp_path, configuration(), http=0, https=1) as gate:
            port = gate.https_ports[0]
            command = ["curl", "-sS", "--cert-status", "--cacert", str(tmp_path / "root.pem")]
            command += ["--resolve", f"bare.test:{port}:127.0.0.1", f"https://bare.test:{port}/"]
            done = subprocess.run(command, capture_output=True, timeout=20, check=False)
            assert done.returncode == 91, done.stderr
            assert "OCSP response: no response sent" in s_client(world, gate, "bare")


@pytest.mark.parametrize(
    ("ciphers", "kind", "file"),
    [
        (b"ECDHE-RSA-AES128-GCM-SHA256", rsa.RSAPublicKey, "pair-rsa"),
        (b"ECDHE-ECDSA-AES128-GCM-SHA256", ec.EllipticCurvePublicKey, "pair-p256"),
    ],
    ids=["RSA", "ECDSA"],
)
def test_rsa_and_ecdsa_side_by_side_each_with_its_own_staple(world, gate, ciphers, kind, file):
    shaken = handshake(gate.https_ports[0], "pair", tls12=True, ciphers=ciphers)
    assert isinstance(shaken.leaf.public_key(), kind)
    assert shaken.leaf == world.leaves[file].certificate
    # `on_the_wire` verifies the staple against the certificate that was sent.
    assert on_the_wire(world, gate, "pair", tls12=True, ciphers=ciphers) == "good"


@pytest.mark.parametrize("tls12", [True, False], ids=["TLS 1.2", "TLS 1.3"])
def test_resumed_handshakes_carry_no_staple_and_are_counted_apart(world, gate, tls12):
    gate.settle()
    before = counts(gate)
    port = gate.https_ports[0]
    full = handshake(port, "one", tls12=tls12)
    assert (full.resumed, full.staple is not None) == (False, True)
    for _ in range(3):
        again = handshake(port, "one", tls12=tls12, resume=full)
        assert again.resumed
        assert again.staple is None
    expected = (before[0] + 1, before[1] + 3, before[2] + 1)
    wait_for("the counters", lambda: counts(gate) == expected)


def counts(gate):
    """(full, resumed, staples sent)"""
    kinds = [metric(gate, f'handshakes_total{{kind="{kind}"}}') for kind in ("full", "resumed")]
    return (*kinds, metric(gate, 'stapled_total{result="sent"}'))


def test_a_client_that_does_not_ask_is_counted_apart(world, gate):
    gate.settle()
    before = metric(gate, "staple_not_asked_total")
    assert handshake(gate.https_ports[0], "two", ask=False).staple is None
    wait_for("the counter", lambda: metric(gate, "staple_not_asked_total") == before + 1)
