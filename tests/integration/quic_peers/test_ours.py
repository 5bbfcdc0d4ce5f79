"""The pair that stands in for both sides, with itself."""

from tests.integration.quic_peers.ours import OurClient, OurServer, content, digest


def test_get_and_post():
    with OurServer() as server, OurClient(server.address) as client:
        assert client.get(b"/b1000000") == (200, content(1_000_000))
        assert client.post(b"/x", content(300_000)) == (200, digest(content(300_000)).encode())
