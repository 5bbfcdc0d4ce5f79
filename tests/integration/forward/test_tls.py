"""A proxy that is itself reached over TLS: plain requests and tunnels, TLS inside TLS, and client certificates."""

import pytest
from tests.integration.forward.conftest import PASSWORD, Proxy, rules

from headgate.testing.pki import Authority

HELLO = "hello from the mirror\n"


@pytest.fixture(scope="module")
def secure(tmp_path_factory, mirror):
    """Return a proxy with TLS, and the arguments that make curl trust it."""
    folder = tmp_path_factory.mktemp("secure")
    root = Authority.root("Proxy Root")
    people = Authority.root("People")
    leaf = root.leaf("127.0.0.1")
    alice = people.leaf("alice", client=True)
    (folder / "gate").mkdir()
    (folder / "gate/proxy.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    (folder / "gate/people.pem").write_bytes(people.pem)
    (folder / "root.pem").write_bytes(root.pem)
    (folder / "alice.pem").write_bytes(alice.chain_pem + alice.key_pem)
    tables = '[listener.tls]\nclient_auth = "optional"\nclient_ca = "people.pem"\n'
    tables += '[[certificate]]\nfiles = "proxy.pem"\n'
    with Proxy(
        folder / "gate",
        rules(mirror, "tls = true"),
        nameserver=mirror.names.address,
        users={"alice": PASSWORD},
        tables=tables,
    ) as proxy:
        yield proxy, ["--proxy-cacert", str(folder / "root.pem")], folder


def test_requests_and_tunnels_over_tls(secure, mirror):
    proxy, trust, _ = secure
    via = proxy.url("alice", PASSWORD).replace("http://", "https://")
    answer = proxy.curl(*trust, f"{mirror.http}/hello.txt", via=via)
    assert (answer.status, answer.text) == (200, HELLO)
    answer = proxy.curl(*trust, "--cacert", str(mirror.ca), f"{mirror.https}/hello.txt", via=via)
    assert (answer.status, answer.text) == (200, HELLO)
    answer = proxy.curl(*trust, f"{mirror.http}/hello.txt", via=proxy.url().replace("http://", "https://"))
    assert answer.status == 407
    lines = proxy.gate.access_lines()
    assert all(line["tls"] == "TLSv1.3" for line in lines)


def test_a_client_certificate_is_asked_for(secure, mirror):
    proxy, trust, folder = secure
    via = proxy.url("alice", PASSWORD).replace("http://", "https://")
    shown = ["--proxy-cert", str(folder / "alice.pem")]
    assert proxy.curl(*trust, *shown, f"{mirror.http}/hello.txt", via=via).status == 200


def test_who_speaks_plain_http_to_it_is_told(secure, mirror):
    proxy, _, _ = secure
    assert proxy.curl(f"{mirror.http}/hello.txt", user="alice", password=PASSWORD).status == 400
