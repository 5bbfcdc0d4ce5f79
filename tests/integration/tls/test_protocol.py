"""Versions, suites, renegotiation, compression, plain HTTP: what a scanner would look at."""

import os
import pty
import subprocess
import time

import pytest

from headgate.tls.policy import TlsPolicy


@pytest.fixture
def port(site):
    return site.serve(TlsPolicy("https"), [site.identity("a.test"), site.identity("a.test", key="rsa")])[0]


@pytest.mark.parametrize(
    "options",
    [
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-SHA"],
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
        ["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
    ],
)
def test_old_versions_and_suites_without_forward_secrecy_are_refused(tools, port, options):
    said = tools.s_client(port, *options)
    assert "Cipher is (NONE)" in said or "no cipher match" in said
    assert '"worker"' not in said


@pytest.mark.parametrize(
    ("options", "cipher"),
    [
        (["-tls1_2"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"], "ECDHE-RSA-AES256-GCM-SHA384"),
        (["-tls1_3"], "TLS_AES_128_GCM_SHA256"),
        (["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_what_is_spoken(tools, port, facts, options, cipher):
    said = tools.s_client(port, *options, "-alpn", "h2,http/1.1")
    assert facts(said)["cipher"] == cipher
    assert facts(said)["alpn"] == "http/1.1"
    assert "Compression: NONE" in said


def test_renegotiation_is_refused(port):
    client, terminal = through_a_terminal(port, "-tls1_2")
    try:
        os.write(terminal, b"R\n")
        said, _ = client.communicate(timeout=10)
    finally:
        end(client, terminal)
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


def test_plain_http_gets_a_400(site, tools, port):
    done = tools.curl(port, "-i", scheme="http")
    assert "400 Bad Request" in done.stdout
    assert "https://" in done.stdout
    site.wait_for("plain-http-to-tls")


def through_a_terminal(port: int, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start openssl's client on a terminal: it takes one command letter from each line."""
    ours, theirs = pty.openpty()
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    return client, ours


def end(client: subprocess.Popen[bytes], terminal: int) -> None:
    client.kill()
    client.communicate()
    os.close(terminal)


@pytest.mark.parametrize("letter", [b"k\n", b"K\n"])
def test_a_flood_of_key_updates_ends_the_connection_and_no_other(site, tools, port, facts, letter):
    client, terminal = through_a_terminal(port, "-tls1_3")
    try:
        until = time.monotonic() + 10
        while client.poll() is None and "key-update-flood" not in site.reasons():
            assert time.monotonic() < until, site.reasons()
            os.write(terminal, letter)
            time.sleep(0.002)
        site.wait_for("key-update-flood")
    finally:
        end(client, terminal)
    assert facts(tools.s_client(port))["name"] == "a.test"


def test_a_few_key_updates_are_fine(site, port):
    client, terminal = through_a_terminal(port, "-tls1_3")
    try:
        for _ in range(5):
            os.write(terminal, b"k\n")
            time.sleep(0.01)
        os.write(terminal, b"GET / HTTP/1.1\n\n")
        assert client.wait(10) == 0  # the worker answered and closed
    finally:
        end(client, terminal)
    assert site.reasons() == []
