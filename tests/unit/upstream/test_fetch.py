"""The small client against servers of every kind of bad manners; each ends in an answer or in a clear FetchError."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import threading
import time

import pytest
import uvloop

from headgate import __version__
from headgate.http.fetch import FetchError, FetchRequest
from headgate.net.dialer import Dialed, Dialer
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.testing.dns import DnsServer
from headgate.testing.pki import Authority
from headgate.testing.relay import Behaviour, BlackHole, Refusing, Relay, bind, bind_same_port
from headgate.upstream.fetch import MAX_HEAD, READ_SIZE, Fetcher

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


def fetch(url, *, resolver=None, authorities=b"", runs=1, **options):
    """Fetch `url`; the last of `runs` outcomes is returned, or its error raised. No descriptor may be left over."""
    options.setdefault("timeout", 10.0)
    request = FetchRequest(options.pop("method", "GET"), url, **options)

    async def run():
        names = Resolver(
            resolver or ResolverSettings(hosts_path="/nonexistent", resolv_conf_path="/nonexistent")
        )
        fetcher = Fetcher(Dialer(names), authorities=authorities)
        try:
            for _ in range(runs - 1):
                with contextlib.suppress(FetchError):
                    await fetcher(request)
            return await fetcher(request)
        finally:
            await names.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))
        return runner.run(run())


def failure(url, **options):
    """Fetch what must fail; return the error, having looked at what every error must have."""
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetch(url, **options)
    error = caught.value
    assert time.monotonic() - began < options.get("timeout", 10.0) + 5
    assert error.detail
    assert (error.address == "") == (not error.attempts)
    assert str(error).startswith(error.stage)
    return error


@contextlib.contextmanager
def serving(answer, behaviour=Behaviour.ANSWER, **options):
    with Relay(behaviour=behaviour, answer=answer, **options) as relay:
        yield relay, f"http://{relay.address}/path?query"


# -- answers


def test_get():
    with serving(OK) as (relay, url):
        answer = fetch(url, accept="application/ocsp-response")
    assert (answer.status, answer.body, answer.address) == (200, b"hello", relay.address)
    assert answer.headers == {"content-type": "text/plain", "content-length": "5"}
    assert [(a.address, a.errno) for a in answer.attempts] == [(relay.address, 0)]
    assert 0 <= answer.milliseconds < 10_000
    assert relay.requests == [
        f"GET /path?query HTTP/1.1\r\nHost: {relay.address}\r\nUser-Agent: headgate/{__version__}\r\n"
        "Accept: application/ocsp-response\r\nConnection: close\r\n\r\n".encode()
    ]


def test_post():
    with serving(OK) as (relay, url):
        fetch(url, method="POST", body=b"\x30\x00", content_type="application/ocsp-request")
    head, _, body = relay.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /path?query HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/ocsp-request\r\nContent-Length: 2\r\n" in head
    assert body == b"\x30\x00"


def test_rfc9110_8_6_post_without_content_says_so():
    with serving(OK) as (relay, url):
        fetch(url, method="POST")
    assert b"\r\nContent-Length: 0\r\n" in relay.requests[0]


def test_ipv6_literal_and_default_target():
    with Relay(host="::1", behaviour=Behaviour.ANSWER, answer=OK) as relay:
        assert fetch(f"http://[::1]:{relay.port}").body == b"hello"
    assert relay.requests[0].startswith(f"GET / HTTP/1.1\r\nHost: [::1]:{relay.port}\r\n".encode())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"HTTP/1.1 200 OK\r\n\r\nwhat nobody asked for",
    ],
    ids=["chunked", "until-close", "http10", "interim", "more-behind-it"],
)
def test_framings(answer):
    with serving(answer) as (_, url):
        assert fetch(url).body == b"hello"


@pytest.mark.parametrize("status", [204, 304, 302, 404, 503])
def test_any_status_is_an_answer_and_no_redirect_is_followed(status):
    answer = b"HTTP/1.1 %d Word\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" % status
    with serving(answer) as (relay, url):
        assert fetch(url).status == status
        assert relay.accepted == 1


def test_repeated_fields_are_joined():
    with serving(b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\na: 2\r\n\r\n") as (_, url):
        assert fetch(url).headers["a"] == "1, 2"


def test_slow_is_fine_within_the_timeout():
    with serving(OK, Behaviour.TRICKLE, trickle_bytes=20, trickle_seconds=0.01, delay=0.1) as (_, url):
        assert fetch(url).body == b"hello"


def test_large_request_body_is_written_in_pieces():
    with serving(OK) as (relay, url):
        assert fetch(url, method="POST", body=b"x" * 400_000).status == 200
    assert relay.accepted == 1


# -- limits


def test_limit_of_the_body():
    limit = 1000
    for framing in (b"Content-Length: %d\r\n\r\n%b", b"Connection: close\r\n\r\n%b"):
        for size, fits in ((limit, True), (limit + 1, False)):
            values = (size, b"x" * size) if framing.count(b"%") == 2 else (b"x" * size,)
            with serving(b"HTTP/1.1 200 OK\r\n" + framing % values) as (_, url):
                if fits:
                    assert len(fetch(url, max_body=limit).body) == size
                else:
                    error = failure(url, max_body=limit)
                    assert (error.stage, error.errno) == ("too-large", 0)
                    assert str(limit) in error.detail


def test_announced_size_is_refused_before_it_is_read():
    with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", Behaviour.ANSWER) as (_, url):
        assert failure(url).stage == "too-large"


def test_limit_of_the_head():
    bare = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nPad: %b\r\n\r\n"
    pad = MAX_HEAD - (len(bare) - 2) + 4  # the empty line does not count
    with serving(bare % (b"x" * pad)) as (_, url):
        assert fetch(url).status == 200
    with serving(bare % (b"x" * (pad + 1))) as (_, url):
        assert failure(url).stage == "too-large"


def test_limit_of_what_framing_may_add():
    """One octet at a time, each chunk with an extension: the body stays small, the bytes do not."""
    chunk = b"1;" + b"x" * 200 + b"\r\ny\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 9_000 + b"0\r\n\r\n"
    with serving(answer) as (_, url):
        error = failure(url, max_body=10_000)
    assert error.stage == "protocol"
    assert "chunk extensions" in error.detail


# -- servers that fail


def test_closes_before_any_byte():
    with serving(b"", Behaviour.CLOSE_AFTER_REQUEST) as (relay, url):
        error = failure(url)
    assert (error.stage, error.address) == ("head", relay.address)
    assert error.attempts[-1].address == relay.address


def test_closes_at_once():
    with serving(b"", Behaviour.CLOSE) as (_, url):
        assert failure(url).stage in ("head", "send")


def test_resets():
    with serving(b"", Behaviour.RESET_AFTER_REQUEST) as (_, url):
        error = failure(url)
    assert (error.stage, error.errno) == ("head", errno.ECONNRESET)


@pytest.mark.parametrize(
    ("answer", "stage"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "body"),
    ],
)
def test_closes_too_early(answer, stage):
    with serving(answer) as (_, url):
        assert failure(url).stage == stage


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x00" * 100,
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    ],
)
def test_garbage(answer):
    with serving(answer) as (relay, url):
        error = failure(url)
    assert (error.stage, error.address) == ("protocol", relay.address)


@pytest.mark.parametrize(
    ("answer", "stage", "came"),
    [(b"", "head", "nothing came"), (OK[:30], "head", "bytes came"), (OK[:-1], "body", "bytes came")],
)
def test_trickles_or_is_silent(answer, stage, came):
    behaviour = Behaviour.TRICKLE if answer else Behaviour.SILENT
    options = {"trickle_bytes": max(1, len(answer) - 1), "trickle_seconds": 3600.0}
    with serving(answer, behaviour, **options) as (relay, url):
        error = failure(url, timeout=0.4)
    assert (error.stage, error.errno, error.address) == (stage, errno.ETIMEDOUT, relay.address)
    assert came in error.detail
    assert error.milliseconds >= 390


def test_endless_answer_does_not_outlast_the_timeout():
    """Bytes keep coming all the time, one by one: the timeout is for the whole answer."""
    with serving(OK * 100, Behaviour.TRICKLE, trickle_seconds=0.02) as (_, url):
        assert failure(url, timeout=0.4).stage in ("head", "body")


class Connected:
    """A dialer whose one socket already has the whole answer waiting in it."""

    def __init__(self, answer):
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.sendall(answer)

    async def dial(self, host, port, **_):
        return Dialed(self.ours, "127.0.0.1:80", ())


def test_server_that_never_pauses_does_not_hold_the_loop():
    """The socket is never found empty, so nothing waits: others get their turn between two reads all the same."""
    size = 8 * READ_SIZE
    turns = []

    async def other():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def run():
        connected = Connected(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        running = asyncio.ensure_future(other())
        with connected.theirs:
            answer = await Fetcher(connected)(FetchRequest("GET", "http://127.0.0.1/", 30.0, max_body=size))
        running.cancel()
        return len(answer.body)

    assert asyncio.run(run()) == size
    assert len(turns) >= 8


# -- no connection


def test_refused():
    with Refusing() as refusing:
        error = failure(f"http://{refusing.address}/")
    assert (error.stage, error.address, error.errno) == ("connect", refusing.address, errno.ECONNREFUSED)
    assert [a.errno for a in error.attempts] == [errno.ECONNREFUSED]
    assert str(error).startswith(f"connect at {refusing.address}: ")
    assert f"(errno {errno.ECONNREFUSED})" in str(error)


def test_black_hole():
    with BlackHole() as hole:
        error = failure(f"http://{hole.address}/", timeout=0.4)
    assert (error.stage, error.address, error.errno) == ("connect", hole.address, errno.ETIMEDOUT)


def test_localhost_tries_both_families():
    socks = bind_same_port("::1", "127.0.0.1")
    with (
        Refusing(sock=socks[0]) as refusing,
        Relay(sock=socks[1], behaviour=Behaviour.ANSWER, answer=OK) as relay,
    ):
        answer = fetch(f"http://localhost:{relay.port}/")
    assert [(a.address, a.errno) for a in answer.attempts] == [
        (refusing.address, errno.ECONNREFUSED),
        (relay.address, 0),
    ]


def test_avoided_address_comes_last():
    socks = bind_same_port("::1", "127.0.0.1")
    with (
        Relay(sock=socks[0], behaviour=Behaviour.ANSWER, answer=OK) as six,
        Relay(sock=socks[1], behaviour=Behaviour.ANSWER, answer=OK) as four,
    ):
        url = f"http://localhost:{six.port}/"
        assert fetch(url).address == six.address
        assert fetch(url, avoid=frozenset({six.address})).address == four.address


def test_refused_address():
    with serving(OK) as (relay, url):
        error = failure(url, allow=lambda ip: not ip.startswith("127."))
        assert relay.accepted == 0
    assert error.stage == "refused-address"
    assert relay.address in error.detail


def test_name_that_does_not_resolve():
    with DnsServer() as server:
        settings = ResolverSettings(nameservers=(server.address,), hosts_path="/nonexistent")
        error = failure("http://ocsp.example/", resolver=settings)
    assert error.stage == "resolve"
    assert f"NXDOMAIN from {server.address}" in error.detail


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://127.0.0.1/", "scheme"),
        ("ldap:///CN=x", "scheme"),
        ("", "octets"),
        ("http://", "host"),
        ("http:///x", "host"),
        ("http://127.0.0.1:0/", "port"),
        ("http://127.0.0.1:65536/", "ort"),
        ("http://127.0.0.1:x/", "ort"),
        ("http://a@127.0.0.1/", "user information"),
        ("http://127.0.0.1/\r\nX: y", "octets"),
        ("http://127.0.0.1/ x", "octets"),
        ("http://bücher.example/", "octets"),
        ("http://[::1/", "IPv6"),
    ],
)
def test_urls_that_cannot_be_fetched(url, why):
    error = failure(url)
    assert error.stage == "resolve"
    assert why in error.detail


def test_no_descriptor_is_left_behind():
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for answer, behaviour in (
        (OK, Behaviour.ANSWER),
        (b"x", Behaviour.ANSWER),
        (b"", Behaviour.RESET_AFTER_REQUEST),
    ):
        with serving(answer, behaviour) as (_, url), contextlib.suppress(FetchError):
            fetch(url, runs=20)
    deadline = time.monotonic() + 5
    while (now := count()) > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert now <= before


# -- https


@pytest.fixture(scope="module")
def authority():
    return Authority.root()


class HttpsServer:
    """Answers every request with `OK`; `abrupt` ends without close_notify."""

    def __init__(self, leaf, tmp_path, *, answer=OK, abrupt=False):
        chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
        chain.write_bytes(leaf.chain_pem)
        key.write_bytes(leaf.key_pem)
        self.names = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        context.sni_callback = lambda sock, name, context: self.names.append(name)
        self.context = context
        self.answer = answer
        self.abrupt = abrupt
        self.listening = bind("127.0.0.1")
        self.listening.listen()
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while True:
            try:
                conn, _ = self.listening.accept()
            except OSError:
                return  # shut down
            conn.settimeout(10)
            with conn, contextlib.suppress(OSError), self.context.wrap_socket(conn, server_side=True) as tls:
                seen = b""
                while b"\r\n\r\n" not in seen and (data := tls.recv(4096)):
                    seen += data
                tls.sendall(self.answer)
                if not self.abrupt:
                    tls.unwrap()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.thread.join(20)
        self.listening.close()


def named(tmp_path, name="secure.example"):
    (tmp_path / "hosts").write_text(f"127.0.0.1 {name}\n")
    return ResolverSettings(hosts_path=str(tmp_path / "hosts"))


def test_https_by_name(authority, tmp_path):
    with HttpsServer(authority.leaf("secure.example"), tmp_path) as server:
        url = f"https://secure.example.:{server.port}/"
        answer = fetch(url, resolver=named(tmp_path), authorities=authority.pem)
    assert answer.body == b"hello"
    assert server.names == ["secure.example"]


def test_https_by_address_sends_no_name(authority, tmp_path):
    with HttpsServer(authority.leaf("127.0.0.1"), tmp_path) as server:
        assert fetch(f"https://127.0.0.1:{server.port}/", authorities=authority.pem).body == b"hello"
    assert server.names == [None]


def test_https_many_records(authority, tmp_path):
    body = os.urandom(60_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with HttpsServer(authority.leaf("127.0.0.1"), tmp_path, answer=answer) as server:
        assert fetch(f"https://127.0.0.1:{server.port}/", authorities=authority.pem).body == body


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2"])
def test_https_wrong_name(authority, tmp_path, name):
    with HttpsServer(authority.leaf(name), tmp_path) as server:
        url = f"https://secure.example:{server.port}/"
        error = failure(url, resolver=named(tmp_path), authorities=authority.pem)
    assert error.stage == "tls"
    assert "secure.example" in error.detail
    assert error.address == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("trust", ["system", "another authority"])
def test_https_untrusted(authority, tmp_path, trust):
    authorities = b"" if trust == "system" else Authority.root("Another", fresh_key=True).pem
    with HttpsServer(authority.leaf("127.0.0.1"), tmp_path) as server:
        error = failure(f"https://127.0.0.1:{server.port}/", authorities=authorities)
    assert error.stage == "tls"
    assert "certificate" in error.detail


def test_https_expired(authority, tmp_path):
    with HttpsServer(authority.leaf("127.0.0.1", not_after=1_600_000_000), tmp_path) as server:
        error = failure(f"https://127.0.0.1:{server.port}/", authorities=authority.pem)
    assert error.stage == "tls"


def test_https_truncated_body_is_no_answer(authority, tmp_path):
    """A body that ends with the connection must end with close_notify, or somebody may have cut it."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nhello"
    with HttpsServer(authority.leaf("127.0.0.1"), tmp_path, answer=answer, abrupt=True) as server:
        error = failure(f"https://127.0.0.1:{server.port}/", authorities=authority.pem)
    assert error.stage == "body"


def test_https_to_a_server_that_speaks_plain_http(authority):
    with serving(OK) as (relay, url):
        error = failure(url.replace("http:", "https:"), authorities=authority.pem)
    assert (error.stage, error.address) == ("tls", relay.address)


def test_https_handshake_that_never_ends(authority):
    with serving(b"", Behaviour.SILENT) as (relay, url):
        error = failure(url.replace("http:", "https:"), authorities=authority.pem, timeout=0.4)
    assert (error.stage, error.errno, error.address) == ("tls", errno.ETIMEDOUT, relay.address)


def test_https_with_authorities_that_are_none():
    with serving(OK) as (_, url):
        error = failure(url.replace("http:", "https:"), authorities=b"nothing in PEM")
    assert error.stage == "tls"
