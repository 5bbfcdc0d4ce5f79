"""The demo's little server: what a proxy sends is understood, what is too much ends the connection."""

import asyncio

import pytest

from headgate.demo.web import BODY_LIMIT, HEAD_LIMIT, Answer, converse


def talk(data, answer):
    """Send `data` on one connection; return everything that comes back until its end."""

    async def main():
        async def serve(reader, writer):
            await converse(reader, writer, answer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD_LIMIT)
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(data)
            writer.write_eof()
            got = await reader.read()
            writer.close()
            return got

    return asyncio.run(main())


def echo(request):
    return Answer(f"{request.method} {request.target} {request.body!r} {request.field('x-a')}".encode())


async def pieces():
    yield b"one"
    yield b"two"


def test_requests_one_after_the_other():
    got = talk(
        b"GET /a HTTP/1.1\r\nX-A: 1\r\n\r\n"
        b"POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz"
        b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;e=1\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n"
        b"HEAD /d HTTP/1.1\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n",
        echo,
    )
    assert [part.split(b"\r\n\r\n")[-1] for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [
        b"GET /a b'' 1",
        b"POST /b b'xyz' ",
        b"POST /c b'abc' ",
        b"",
    ]


def test_a_stream_goes_out_in_chunks():
    got = talk(b"GET / HTTP/1.1\r\n\r\n", lambda _: Answer(pieces()))
    assert got.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nA: " + b"a" * HEAD_LIMIT + b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1),
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (BODY_LIMIT + 1),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_what_it_does_not_take_ends_the_connection(data):
    assert talk(data, echo) == b""
