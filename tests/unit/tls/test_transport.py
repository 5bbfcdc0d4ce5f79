"""TLS on a socket: hellos in pieces, data in both directions, every way to end, and floods."""

import select
import socket
import time

import pytest
from OpenSSL import SSL

from headgate.counters import REFUSED_RENEGOTIATION
from headgate.errors import TransportError
from headgate.net.transport import DONE, WANT_READ
from headgate.tls.policy import TlsPolicy
from headgate.tls.transport import MAX_PEEKS, MAX_QUIET_EVENTS, TlsTransport, _handshake_reason, _word


@pytest.fixture
def gate(kit, ecdsa):
    return kit.Gate([kit.identity_of(ecdsa)])


@pytest.fixture
def opened(kit, gate):
    """A server transport and a client connection after their handshake."""
    server, client = kit.socket_pair()
    outcome = kit.run_handshake(gate.tls.accept(server), kit.Client().open(client, b"a.test"))
    assert outcome.done
    return outcome.server, outcome.client


def readable(transport: TlsTransport, wait: float = 5.0) -> bool:
    return bool(select.select([transport.fileno()], [], [], wait)[0])


def read_until(transport: TlsTransport, size: int) -> bytes:
    got = b""
    until = time.monotonic() + 10
    while len(got) < size and time.monotonic() < until:
        if not transport.pending():
            readable(transport)
        got += transport.read(256 * 1024) or b""
    return got


def fail_handshake(transport: TlsTransport) -> TransportError:
    """Drive a handshake that must fail within a bounded number of wake-ups."""
    for _ in range(MAX_PEEKS + 1):
        assert readable(transport)
        try:
            assert transport.handshake() == WANT_READ
        except TransportError as error:
            return error
    raise AssertionError("it goes on")


# -- before OpenSSL


def test_rest_of_a_hello_is_waited_for_without_being_woken(kit, gate):
    server, client = kit.socket_pair()
    transport = gate.tls.accept(server)
    conn = kit.Client().open(None, b"a.test")
    with pytest.raises(SSL.WantReadError):
        conn.do_handshake()
    hello = conn.bio_read(65536)
    assert transport.handshake() == WANT_READ
    for cut in ((0, 3), (3, 100), (100, len(hello) - 1)):
        client.send(hello[slice(*cut)])
        if cut[0] == 0:
            assert readable(transport)
            assert transport.handshake() == WANT_READ
        elif cut[0] == 3:
            assert readable(transport)  # the header is whole: now the size is known
            assert transport.handshake() == WANT_READ
            assert not readable(transport, 0.05)
        else:
            assert not readable(transport, 0.05)
    assert transport._conn is None  # nothing was allocated for it yet
    client.send(hello[-1:])
    assert readable(transport)
    assert transport.handshake() == WANT_READ
    assert transport._conn is not None
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    conn.bio_write(client.recv(65536))
    conn.do_handshake()
    client.send(conn.bio_read(65536))
    assert readable(transport)
    assert transport.handshake() == DONE
    assert transport.handshake() == DONE


def test_a_hello_that_ends_early_is_seen_in_a_bounded_number_of_peeks(kit, gate):
    server, client = kit.socket_pair()
    transport = gate.tls.accept(server)
    client.send(b"\x16\x03\x01\x02\x00abc")
    client.close()
    assert fail_handshake(transport).reason == "closed-in-handshake"


@pytest.mark.parametrize("family", [socket.AF_UNIX])
def test_sockets_without_a_low_water_mark_still_get_through(kit, gate, family):
    server, client = socket.socketpair(family)
    server.setblocking(False)
    client.setblocking(False)
    outcome = kit.run_handshake(gate.tls.accept(server), kit.Client().open(client, b"a.test"))
    assert outcome.done
    outcome.close()


def test_plain_http_gets_a_400_that_says_so(kit, gate):
    server, client = kit.socket_pair()
    transport = gate.tls.accept(server)
    client.send(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
    assert readable(transport)
    with pytest.raises(TransportError) as caught:
        transport.handshake()
    assert caught.value.reason == "plain-http-to-tls"
    transport.shutdown()
    transport.close()
    client.setblocking(True)
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in head
    assert b"\r\nContent-Length: %d" % len(body) in head


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00" * 64, "not-tls"),
        (b"SSH-2.0-x\r\n", "not-tls"),
        (b"\x80\x2e\x01\x00\x02", "not-tls"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", None),  # TLS, and malformed: OpenSSL's to name
        (b"\x16\x03\x01\xff\xff" + b"x" * 64, None),
    ],
)
def test_garbage_is_refused_with_a_reason(kit, gate, data, reason):
    server, client = kit.socket_pair()
    transport = gate.tls.accept(server)
    client.send(data)
    client.shutdown(socket.SHUT_WR)
    error = fail_handshake(transport)
    assert error.reason == reason or (reason is None and error.reason)
    transport.close()


def test_closing_before_a_byte_and_resetting(kit, gate):
    server, client = kit.socket_pair()
    client.close()
    with pytest.raises(TransportError, match="closed-in-handshake"):
        gate.tls.accept(server).handshake()
    server, client = kit.socket_pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    with pytest.raises(TransportError) as caught:
        gate.tls.accept(server).handshake()
    assert (caught.value.reason, caught.value.errno) == ("econnreset", 104)


def test_a_failure_leaves_nothing_behind_that_blames_the_next_connection(kit, gate, opened):
    server, client = opened
    for _ in range(3):
        other, peer = kit.socket_pair()
        peer.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        refused = gate.tls.accept(other)
        with pytest.raises(TransportError):
            refused.handshake()
        assert server.read(100) is None
    client.send(b"still here")
    assert read_until(server, 10) == b"still here"


def test_alerts_are_named_alike_in_every_release():
    assert _word("sslv3 alert bad certificate") == "alert-bad-certificate"
    assert _word("ssl/tls alert bad certificate") == "alert-bad-certificate"
    assert _word("tlsv1 alert unknown ca") == "alert-unknown-ca"
    assert _word("tlsv13 alert certificate required") == "alert-certificate-required"
    assert _word("no shared cipher") == "no-shared-cipher"
    assert _word("http request") == "plain-http-to-tls"
    assert _handshake_reason(SSL.SysCallError(32, "EPIPE")) == "epipe"
    assert _handshake_reason(SSL.Error([])) == "tls-error"
    assert _handshake_reason(ValueError()) == "tls-error"


def test_a_clients_alert_is_the_reason(kit, gate):
    server, client = kit.socket_pair()
    stranger = kit.Client()
    stranger.context.set_verify(SSL.VERIFY_PEER)
    stranger.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    outcome = kit.run_handshake(gate.tls.accept(server), stranger.open(client, b"a.test"))
    assert outcome.server_error.reason == "alert-unknown-ca"


# -- data


def test_data_both_ways_and_nothing_there(opened, kit):
    server, client = opened
    assert server.read(65536) is None
    assert not server.pending()
    client.send(b"ping")
    assert readable(server)
    assert server.read(65536) == b"ping"
    assert server.write(b"") == 0
    assert server.write(b"pong") == 4
    assert kit.receive(client, 4) == b"pong"


def test_a_small_limit_leaves_the_rest_pending(opened):
    server, client = opened
    client.send(b"x" * 1000)
    assert readable(server)
    assert server.read(400) == b"x" * 400
    assert server.pending()
    assert not readable(server, 0)
    assert server.read(600) == b"x" * 600
    assert not server.pending()


def test_full_records_are_read_together(opened):
    server, client = opened
    data = bytes(range(256)) * 64 * 5
    sent = 0
    while sent < len(data):
        sent += client.send(data[sent:])
    while len(server._sock.recv(200_000, socket.MSG_PEEK)) < len(data):
        pass
    assert server.read(256 * 1024) == data
    assert server.read(256 * 1024) is None


@pytest.mark.parametrize("limit", [1, 16384, 16385, 40_000, 10**9])
def test_any_limit_reads_everything_in_order(opened, limit):
    server, client = opened
    data = bytes(range(251)) * 300
    sent = 0
    while sent < len(data):
        sent += client.send(data[sent:])
    got = bytearray()
    while len(got) < len(data):
        if not server.pending():
            assert readable(server)
        piece = server.read(limit)
        if piece is not None:
            assert len(piece) <= limit
            got += piece
    assert bytes(got) == data


def test_a_full_socket_takes_part_and_the_rest_later(opened, kit):
    server, client = opened
    server._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    data = bytes(range(256)) * 4 * 1024 * 8
    got = bytearray()
    sent = server.write(data)
    assert 0 < sent < len(data)
    assert server.write(data[sent:]) == 0
    blocked = 0
    until = time.monotonic() + 20
    while sent < len(data) and time.monotonic() < until:
        try:
            got += client.recv(65536)
        except SSL.WantReadError:
            pass
        taken = server.write(data[sent:])  # another object with the same bytes
        blocked += taken == 0
        sent += taken
    got += kit.receive(client, len(data) - len(got))
    assert blocked > 0
    assert bytes(got) == data


def test_what_went_out_before_a_failure_is_told_first(opened):
    """The first record meets a closed socket, whose reset the second one finds."""
    server, client = opened
    with pytest.raises(SSL.WantReadError):
        client.recv(1)  # tickets: closed with something unread it would reset at once
    client._socket.close()
    data = b"POST" * 10_000
    taken = server.write(data)
    assert 0 < taken < len(data)
    for _ in range(2):
        with pytest.raises(TransportError) as caught:
            server.write(data[taken:])
        assert caught.value.reason in ("closed", "econnreset", "epipe")  # as the release has it


# -- the end


def test_close_notify_is_the_end_of_the_stream(opened):
    server, client = opened
    client.send(b"last")
    client.shutdown()
    assert read_until(server, 4) == b"last"
    readable(server)
    assert server.read(100) == b""
    assert server.read(100) == b""
    assert server.write(b"an answer still goes out") == 24


def test_end_behind_full_records_is_told_after_them(opened):
    server, client = opened
    data = b"z" * 32768
    client.send(data[:16384])
    client.send(data[16384:])
    client.shutdown()
    client._socket.shutdown(socket.SHUT_WR)
    while len(server._sock.recv(200_000, socket.MSG_PEEK)) < len(data) + 60:
        pass
    assert server.read(65536) == data
    assert server.pending()
    assert server.read(65536) == b""


def test_end_without_close_notify_is_an_error(opened):
    server, client = opened
    client.send(b"half a ")
    client._socket.shutdown(socket.SHUT_WR)
    assert read_until(server, 7) == b"half a "
    assert readable(server)
    with pytest.raises(TransportError) as caught:
        server.read(100)
    assert caught.value.reason == "eof-without-close-notify"


def test_reset_while_open_has_its_errno(opened):
    server, client = opened
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client._socket.close()
    assert readable(server)
    with pytest.raises(TransportError) as caught:
        server.read(100)
    assert (caught.value.reason, caught.value.errno) == ("econnreset", 104)
    with pytest.raises(TransportError) as caught:
        server.write(b"x")
    assert caught.value.reason in ("closed", "epipe")  # as the release has it


def test_a_damaged_record_is_an_error_with_a_reason(opened):
    server, client = opened
    client._socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert readable(server)
    with pytest.raises(TransportError) as caught:
        server.read(100)
    assert caught.value.reason == "decryption-failed-or-bad-record-mac"


def test_shutdown_says_close_notify(opened):
    server, client = opened
    server.write(b"bye")
    server.shutdown()
    server.shutdown()
    client._socket.setblocking(True)
    assert client.recv(100) == b"bye"
    with pytest.raises(SSL.ZeroReturnError):
        client.recv(100)


def test_close_twice_and_use_after_close(opened):
    server, _ = opened
    server.close()
    server.close()
    server.shutdown()
    for use in (lambda: server.read(1), lambda: server.write(b"x")):
        with pytest.raises(TransportError, match="closed"):
            use()
    assert (server.alpn(), server.server_name(), server.version(), server.cipher()) == (b"", b"", "", "")
    assert server.connection is None
    assert repr(server) == "<TlsTransport fd=-1 closed>"


def test_facts_after_the_handshake(opened):
    server, _ = opened
    assert server.version() == "TLSv1.3"
    assert server.cipher() == "TLS_AES_128_GCM_SHA256"
    assert server.server_name() == b"a.test"
    assert not server.resumed


# -- floods


def test_one_read_takes_one_key_update_and_too_many_are_refused(opened, gate):
    # The real thing, with openssl's client, is in tests/integration/tls/test_floods.py; this is the bound itself.
    server, client = opened
    server._events.events = MAX_QUIET_EVENTS
    assert server.read(100) is None
    client.send(b"data resets the count")
    assert read_until(server, 21)
    server._events.events = MAX_QUIET_EVENTS
    assert server.read(100) is None
    server._events.events = 1
    with pytest.raises(TransportError) as caught:
        server.read(100)
    assert caught.value.reason == "key-update-flood"
    assert gate.count(REFUSED_RENEGOTIATION) == 1


def test_rfc9325_3_5_renegotiation_is_refused(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a"))
    server, client = kit.socket_pair()
    outcome = kit.run_handshake(
        gate.tls.accept(server), kit.Client(max_version=SSL.TLS1_2_VERSION).open(client, b"a.test")
    )
    outcome.client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        outcome.client.do_handshake()
    assert readable(outcome.server)
    assert outcome.server.read(100) is None
    assert outcome.server._quiet >= 1
    client.setblocking(True)
    with pytest.raises(SSL.Error, match="no renegotiation"):
        outcome.client.do_handshake()
