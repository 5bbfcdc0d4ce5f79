"""What testssl.sh looks for, asked one by one with OpenSSL's client: versions, suites, compression, renegotiation."""

import contextlib
import re
import socket
import ssl

import pytest

OURS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
}
# Lets this client offer what no client should.
WEAK = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"


@pytest.fixture(scope="module")
def site(shared_site):
    return shared_site


@pytest.fixture(scope="module")
def gate(site, tools):
    site.certificate("a-ec", "a.test")
    site.certificate("a-rsa", "a.test", key="rsa")
    site.only13, text = tools.listener(tls='min_version = "1.3"')
    with site.gate(tools.hello + text) as made:
        yield made


@pytest.fixture(scope="module")
def port(gate):
    return gate.https_ports[0]


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_rfc8996_old_versions_are_refused(site, port, version):
    said = site.s_client(port, version, "-cipher", WEAK)
    assert "alert protocol version" in said
    assert "let in" not in said


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_new_versions_are_spoken(site, port, version):
    said = site.s_client(port, "-" + version.lower().replace("v", "").replace(".", "_"))
    assert re.search(rf"New, {version}, Cipher is \S+", said)
    assert "let in" in said


def test_min_version_1_3(site, gate):
    assert "alert protocol version" in site.s_client(site.only13, "-tls1_2")
    assert "let in" in site.s_client(site.only13, "-tls1_3")


def accepted(site, port, cipher):
    context = site.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(cipher + ":@SECLEVEL=0")
    except ssl.SSLError:
        return False
    try:
        with site.connect(port, "a.test", context) as sock:
            return sock.cipher()[0] == cipher
    except OSError:
        return False


def test_rfc9325_4_2_forward_secrecy_and_aead_are_all_there_is(site, port, tools):
    known = tools.run(["openssl", "ciphers", "-tls1_2", WEAK]).stdout.strip().split(":")
    known = [name for name in known if not name.startswith("TLS_")]
    assert len(known) > 60, "this client does not know enough to find anything"
    assert {name for name in known if accepted(site, port, name)} == OURS


def test_tls_1_3_suites(site, port):
    for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
        assert f"Cipher is {suite}" in site.s_client(port, "-tls1_3", "-ciphersuites", suite)
    said = site.s_client(port, "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256")
    assert "alert handshake failure" in said


def test_the_order_is_ours_but_for_those_without_aes(site, port):
    ours = site.s_client(
        port, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
    )
    assert "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256" in ours
    chacha = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
    assert "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305" in site.s_client(port, "-tls1_2", "-cipher", chacha)


def hello_offering(methods, newest=ssl.TLSVersion.TLSv1_2):
    """The first flight of Python's client, offering these compression methods instead of NULL alone.

    Written by hand: most builds of OpenSSL have no zlib, and then no option makes a client offer it.
    """
    context = ssl.create_default_context()
    context.maximum_version = newest
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="a.test").do_handshake()
    hello = outgoing.read()[9:]  # without the headers of record and message
    at = 34 + 1 + hello[34]  # version and random, session
    at += 2 + int.from_bytes(hello[at : at + 2])  # suites
    assert hello[at : at + 2] == b"\x01\x00"
    hello = hello[:at] + bytes([len(methods)]) + methods + hello[at + 2 :]
    message = b"\x01" + len(hello).to_bytes(3) + hello
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message


def first_record(port, hello):
    """Return the type and the content of the first record that answers a hello."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock, sock.makefile("rb") as file:
        sock.sendall(hello)
        kind, _, _, *length = file.read(5)
        return kind, file.read(int.from_bytes(length))


NULL, DEFLATE = b"\0", b"\1"
HANDSHAKE, ALERT = 22, 21


def test_rfc9325_3_3_deflate_is_not_taken(port):
    kind, said = first_record(port, hello_offering(DEFLATE + NULL))
    assert (kind, said[0], said[4:6]) == (HANDSHAKE, 2, b"\x03\x03"), "a ServerHello of TLS 1.2"
    at = 38 + 1 + said[38] + 2  # header, version and random, session, suite
    assert said[at : at + 1] == NULL


def test_rfc5246_7_4_1_2_deflate_alone_is_refused(port):
    """The gate has read what the test above offers: without NULL in it there is nothing to agree on."""
    kind, said = first_record(port, hello_offering(DEFLATE))
    assert (kind, said[0]) == (ALERT, 2)
    assert said[1] in (47, 50), "illegal_parameter or decode_error, as the release has it"


def test_rfc8446_4_1_2_tls_1_3_offers_no_compression(port):
    hello = hello_offering(DEFLATE + NULL, ssl.TLSVersion.TLSv1_3)
    assert first_record(port, hello) == (ALERT, b"\x02\x2f"), "fatal illegal_parameter"


def test_secure_renegotiation_and_extended_master_secret(site, port):
    said = site.s_client(port, "-tls1_2", "-cipher", "ECDHE+AESGCM:@SECLEVEL=0")
    assert "Secure Renegotiation IS supported" in said
    assert re.search(r"Extended master secret: yes", said)


def test_rfc9325_3_5_renegotiation_is_refused(site, gate, port, tools):
    done = tools.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "a.test", "-tls1_2"],
        b"R\nR\n",
    )
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stderr
    # Nobody else is the worse for it.
    assert "let in" in site.s_client(port)
    assert not gate.events("defect")


def test_no_early_data(site, port, tmp_path):
    said = site.s_client(port, "-tls1_3", "-sess_out", str(tmp_path / "session"))
    assert "let in" in said
    assert "Max Early Data: 0" in said
    early = tmp_path / "early"
    early.write_bytes(b"GET / HTTP/1.1\r\n")
    said = site.s_client(port, "-tls1_3", "-sess_in", str(tmp_path / "session"), "-early_data", str(early))
    assert "Early data was accepted" not in said


def test_rfc7507_fallback_is_seen(site, port):
    said = site.s_client(port, "-fallback_scsv", "-no_tls1_3")
    assert "alert inappropriate fallback" in said


def test_rfc9155_sha1_signatures_are_refused(site, port):
    said = site.s_client(
        port, "-tls1_2", "-cipher", "ECDHE+AESGCM:@SECLEVEL=0", "-sigalgs", "ECDSA+SHA1:RSA+SHA1"
    )
    assert "Cipher is (NONE)" in said
    assert "let in" not in said


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_groups(site, port, group):
    said = site.s_client(port, "-tls1_3", "-groups", group)
    assert "let in" in said


def test_weak_groups_are_refused(site, port):
    said = site.s_client(port, "-tls1_2", "-groups", "P-192", "-cipher", "ECDHE+AESGCM:@SECLEVEL=0")
    assert "let in" not in said
    assert "alert handshake failure" in said
