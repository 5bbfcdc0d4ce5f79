"""A QUIC endpoint: admission, demultiplexing, answers without a connection."""

from headgate.server.quic_endpoint import EndpointKeys


def test_keys_do_not_show_in_logs():
    assert "secret" not in repr(EndpointKeys(b"secret", b"secret", b"secret"))
