"""Who is served which certificate, and which hosts a connection may be asked for."""

import socket
import ssl

import pytest


@pytest.fixture(scope="module")
def site(shared_site):
    return shared_site


@pytest.fixture(scope="module")
def gate(site, tools):
    site.certificate("a", "a.test", "also.a.test")
    site.certificate("b", "b.test")
    site.certificate("w", "*.wild.test")
    site.certificate("x", "exact.wild.test")
    below_rsa = site.root.intermediate("RSA Intermediate", "rsa")
    below_ec = site.root.intermediate("EC Intermediate")
    site.certificate("two-rsa", "two.test", key="rsa", issuer=below_rsa)
    site.certificate("two-ec", "two.test", issuer=below_ec)
    site.strict, text = tools.listener(tls='unknown_name = "reject"')
    with site.gate(tools.hello + text) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "common"),
    [
        ("a.test", "a.test"),
        ("A.Test", "a.test"),
        ("also.a.test", "a.test"),
        ("b.test", "b.test"),
        ("one.wild.test", "*.wild.test"),
        ("exact.wild.test", "exact.wild.test"),
    ],
)
def test_each_name_gets_its_certificate(site, gate, tools, name, common):
    with site.connect(gate.https_ports[0], name) as sock:
        assert dict(pair[0] for pair in sock.getpeercert()["subject"])["commonName"] == common
        assert tools.request(sock, name).startswith(b"HTTP/1.1 200 ")


def test_a_wildcard_covers_one_label_only(site, gate):
    for name in ("wild.test", "two.labels.wild.test"):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname mismatch"):
            site.connect(gate.https_ports[0], name)


def test_unknown_name_first_serves_the_first_certificate(site, gate, tools):
    for name in ("nobody.test", None):
        with site.connect(gate.https_ports[0], name, site.client(ca=False)) as sock:
            assert b"a.test" in sock.getpeercert(True)
            assert tools.request(sock, "a.test").startswith(b"HTTP/1.1 200 ")


def test_rfc6066_3_unknown_name_reject_is_an_alert_and_the_known_are_served(site, gate, tools):
    for options in (("-tls1_2",), ("-tls1_3",)):
        said = site.s_client(site.strict, *options, name="nobody.test")
        assert "tlsv1 unrecognized name" in said
        assert "SSL alert number 112" in said
    assert "SSL alert number 112" in site.s_client(site.strict, name="")
    assert "let in" in site.s_client(site.strict)
    tools.counted(gate, 'headgate_handshakes_total{kind="failed"}', 3)
    failed = [e for e in gate.events("connection-failed") if e["reason"] == "unrecognized-name"]
    assert failed
    assert failed[0]["detail"]
    assert failed[0]["listener"].endswith(str(site.strict))


def test_rfc9110_15_5_20_host_of_nobody_is_421(site, gate, tools):
    with site.connect(gate.https_ports[0], "a.test") as sock:
        answer = tools.request(sock, "elsewhere.example")
    assert answer.startswith(b"HTTP/1.1 421 ")
    tools.counted(gate, 'headgate_refused_total{limit="misdirected"}')


def test_a_host_that_the_same_certificate_covers_is_served(site, gate, tools):
    for sni, host in [("a.test", "also.a.test"), ("also.a.test", "A.TEST"), ("x.wild.test", "y.wild.test")]:
        with site.connect(gate.https_ports[0], sni) as sock:
            assert tools.request(sock, host).startswith(b"HTTP/1.1 200 "), (sni, host)
    with site.connect(gate.https_ports[0], "a.test") as sock:
        assert tools.request(sock, f"a.test:{gate.https_ports[0]}").startswith(b"HTTP/1.1 200 ")


def test_rfc7301_alpn(site, gate):
    port = gate.https_ports[0]
    # In our order of preference, whatever the client's is.
    assert "ALPN protocol: h2" in site.s_client(port, "-alpn", "http/1.1,h2")
    assert "ALPN protocol: http/1.1" in site.s_client(port, "-alpn", "http/1.1,spdy/3")
    assert "No ALPN negotiated" in site.s_client(port)
    said = site.s_client(port, "-alpn", "h2c,spdy/3")
    assert "alert no application protocol" in said
    assert "SSL alert number 120" in said
    assert any(e["reason"] == "no-application-protocol" for e in gate.events("connection-failed"))


def test_curl_speaks_http_1_1_and_the_log_knows_the_tls(site, gate, tools):
    done = site.curl(gate.https_ports[0], "-v", "--http1.1")
    assert done.stdout == "let in", done.stderr
    assert "HTTP/1.1 200 OK" in done.stderr
    lines = tools.wait_for("the log", lambda: [line for line in gate.access_lines() if "curl" in str(line)])
    line = lines[-1]
    assert (line["tls"], line["sni"], line["status"]) == ("TLSv1.3", "a.test", 200)


def test_hanging_up_between_requests_is_no_failure_and_within_one_is(site, gate, tools):
    """Most clients end without close_notify; it says something only where a message is cut (RFC 8446 section 6.1)."""
    port = gate.https_ports[0]
    ended = lambda: [e for e in gate.events("connection-failed") if e["reason"].startswith("eof")]  # noqa: E731
    for header in ("close", "keep-alive"):
        with site.connect(port) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: {header}\r\n\r\n".encode())
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
            sock.shutdown(socket.SHUT_WR)
    with site.connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a.te")
        sock.shutdown(socket.SHUT_WR)
    tools.wait_for("the one that was cut", ended)
    assert len(ended()) == 1


def test_plain_http_to_the_tls_port_is_told_so(site, gate, tools):
    done = site.curl(gate.https_ports[0], "-i", scheme="http")
    assert done.stdout.startswith("HTTP/1.1 400 Bad Request")
    assert "https://" in done.stdout
    tools.counted(gate, 'headgate_refused_total{limit="plain-http-to-tls"}')


def test_garbage_on_the_tls_port_is_closed_and_named(site, gate):
    with socket.create_connection(("127.0.0.1", gate.https_ports[0]), 5) as sock:
        sock.sendall(b"\x00\x01\x02 what is this")
        try:
            assert sock.recv(100) == b""
        except ConnectionResetError:
            pass  # closed with bytes unread
    assert any(e["reason"] == "not-tls" for e in gate.events("connection-failed"))


CHOICES = [
    (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "RSA"),
    (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "EC"),
    (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256:ecdsa_secp384r1_sha384"), "RSA"),
    (("-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256:rsa_pkcs1_sha256"), "EC"),
]


@pytest.mark.parametrize(("options", "kind"), CHOICES)
def test_rsa_or_ecdsa_the_client_picks_and_gets_that_chain(site, gate, options, kind):
    said = site.s_client(gate.https_ports[0], "-verify_return_error", "-showcerts", *options, name="two.test")
    assert "Verification: OK" in said, said
    assert ("Peer signature type: ECDSA" in said) is (kind == "EC")
    assert f"i:CN = {kind} Intermediate" in said
    assert f"CN = {'EC' if kind == 'RSA' else 'RSA'} Intermediate" not in said
    assert said.count("BEGIN CERTIFICATE") == 2, "the leaf and its own intermediate"
