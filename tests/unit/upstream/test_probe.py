"""Probes against real sockets: answers that say or do not say that all is well, TLS, Unix sockets, silence."""

import asyncio
import contextlib
import errno
import os
import ssl

import pytest
from tests.integration.origins.h2_origin import H2Origin

from headgate.net.dialer import Dialer
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.testing.pki import Authority
from headgate.testing.relay import BlackHole, Refusing
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.upstream.probe import MAX_BODY, Prober, ProbeSettings, Target

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def probe(port, *, host="127.0.0.1", scheme="http", tls=None, at="", **settings):
    """Send one probe; return its result."""

    async def run():
        names = Resolver(ResolverSettings(hosts_path="/nonexistent", resolv_conf_path="/nonexistent"))
        prober = Prober(ProbeSettings(**settings), Dialer(names), tls)
        try:
            return await prober(Target("url", scheme, host, port, at or host))
        finally:
            await names.close()

    return run()


@contextlib.asynccontextmanager
async def serving(answer, *, path="", context=None):
    """Serve one answer for each connection; gives the port, and the heads that came."""
    heads = []
    handlers = set()

    async def client(reader, writer):
        handlers.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    if path:
        server = await asyncio.start_unix_server(client, path)
        port = 0
    else:
        server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
    try:
        yield port, heads
    finally:
        server.close()
        await server.wait_closed()
        _, late = await asyncio.wait(handlers, timeout=5) if handlers else ((), ())
        assert not late


def probed(answer, **settings):
    async def main():
        async with serving(answer) as (port, heads):
            return await probe(port, **settings), heads, port

    return asyncio.run(main())


def test_an_expected_status_is_well():
    result, heads, port = probed(OK, path="/healthz?deep=1")
    assert result.is_well
    assert result.why == "status 200"
    assert result.address == f"127.0.0.1:{port}"
    assert heads[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


def test_the_host_and_the_method_are_those_that_were_asked_for():
    _, heads, _ = probed(OK, authority="app.example", method="HEAD")
    assert heads[0].startswith(b"HEAD / HTTP/1.1\r\nHost: app.example\r\n")


def test_a_preface_comes_before_the_request():
    _, heads, _ = probed(OK, preface=b"PROXY UNKNOWN\r\n")
    assert heads[0].startswith(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n")


def test_a_preface_comes_before_the_handshake():
    tls = ClientTls(ClientTlsSettings(verify=False))

    async def main():
        async with serving(b"") as (port, heads):
            await probe(
                port, kind="tls", scheme="https", tls=tls, timeout=0.3, preface=b"PROXY UNKNOWN\r\n\r\n"
            )
            return heads

    assert asyncio.run(main()) == [b"PROXY UNKNOWN\r\n\r\n"]


def test_another_status_is_not():
    result, _, _ = probed(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", statuses=((200, 299), (404, 404)))
    assert not result.is_well
    assert result.why == "status 503, expected 200-299, 404"


@pytest.mark.parametrize(("text", "is_well"), [(b"hell", True), (b"heaven", False)])
def test_a_text_is_looked_for(text, is_well):
    result, _, _ = probed(OK, body=text)
    assert result.is_well == is_well


@pytest.mark.parametrize(("before", "is_well"), [(MAX_BODY - 4, True), (MAX_BODY - 3, False)])
def test_a_text_is_looked_for_in_so_much_of_an_answer(before, is_well):
    body = b"x" * before + b"well" + b"x" * MAX_BODY
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    result, _, _ = probed(answer, body=b"well")
    assert result.is_well == is_well


def test_without_a_text_the_body_is_not_waited_for():
    result, _, _ = probed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
    assert result.is_well


def test_what_is_no_answer_is_not():
    result, _, _ = probed(b"SSH-2.0-x\r\n")
    assert not result.is_well
    assert result.why.startswith("protocol: ")


def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "app.sock")

    async def main():
        async with serving(OK, path=path) as (_, heads):
            return await probe(0, host="localhost", at=f"unix:{path}"), heads

    result, heads = asyncio.run(main())
    assert result.is_well
    assert result.address == f"unix:{path}"
    assert b"\r\nHost: localhost\r\n" in heads[0]


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_port_that_refuses(kind):
    with Refusing() as closed:
        result = asyncio.run(probe(closed.port, kind=kind))
    assert not result.is_well
    assert result.errno == errno.ECONNREFUSED
    assert result.address == f"127.0.0.1:{closed.port}"


def test_a_port_that_is_silent():
    with BlackHole() as hole:
        result = asyncio.run(probe(hole.port, kind="tcp", timeout=0.3))
    assert not result.is_well
    assert result.errno == errno.ETIMEDOUT


def test_a_connection_is_enough_for_tcp():
    async def main():
        async with serving(b"") as (port, _):
            return await probe(port, kind="tcp")

    assert asyncio.run(main()).is_well


@pytest.fixture(scope="module")
def authority():
    return Authority.root()


def server_context(authority, tmp_path, name):
    leaf = authority.leaf(name)
    path = tmp_path / "leaf.pem"
    path.write_bytes(leaf.chain_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.fspath(path))
    return context


@pytest.mark.parametrize("kind", ["http", "tls"])
@pytest.mark.parametrize(("name", "is_well"), [("app.example", True), ("other.example", False)])
def test_tls_is_verified_as_the_upstream_says(authority, tmp_path, kind, name, is_well):
    tls = ClientTls(ClientTlsSettings(authorities=authority.pem, name="app.example"))

    async def main():
        context = server_context(authority, tmp_path, name)
        async with serving(OK, context=context) as (port, _):
            return await probe(port, kind=kind, scheme="https", tls=tls)

    result = asyncio.run(main())
    assert result.is_well == is_well
    if not is_well:
        assert "certificate-name-mismatch" in result.why
        assert result.why.startswith("tls: ")


def test_a_handshake_that_never_ends():
    tls = ClientTls(ClientTlsSettings(verify=False))

    async def main():
        async with serving(b"") as (port, _):
            return await probe(port, kind="tls", scheme="https", tls=tls, timeout=0.3)

    result = asyncio.run(main())
    assert not result.is_well
    assert "no handshake within 0.3 s" in result.why


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_endpoint_of_h2_alone_is_probed_in_h2(authority, tmp_path, scheme):
    leaf = authority.leaf("localhost")
    context = None
    if scheme == "https":
        path = tmp_path / "leaf.pem"
        path.write_bytes(leaf.chain_pem + leaf.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
    tls = ClientTls(ClientTlsSettings(authorities=authority.pem, alpn=(b"h2",)))
    with H2Origin(context) as origin:
        result = asyncio.run(
            probe(
                origin.port,
                host="localhost",
                scheme=scheme,
                tls=tls,
                h2=True,
                body=b'"protocol": "h2"',
                path="/p",
            )
        )
        assert (result.is_well, result.why) == (True, "status 200")
        assert origin.asked == [(0, "GET", "/p")]
        result = asyncio.run(
            probe(origin.port, host="localhost", scheme=scheme, tls=tls, h2=True, path="/reset")
        )
        assert not result.is_well
        assert "INTERNAL_ERROR" in result.why
        result = asyncio.run(
            probe(origin.port, host="localhost", scheme=scheme, tls=tls, h2=True, path="/kill")
        )
        assert not result.is_well


def test_an_endpoint_that_is_to_speak_h2_and_does_not_is_not_well():
    async def run():
        async with serving(OK) as (port, _):
            return await probe(port, h2=True)

    result = asyncio.run(run())
    assert not result.is_well
    assert result.why.startswith("protocol: ")
