"""Starlette, FastAPI and Django as they come from PyPI, in a process of their own and in the worker."""

import hashlib
import json
import threading

import pytest
from tests.integration.asgi.conftest import ask
from tests.integration.gate import wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

STARLETTE = """
import asyncio, hashlib
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

done = []
rooms = set()


@asynccontextmanager
async def lifespan(app):
    yield {"opened": "by lifespan"}


async def about(request):
    return JSONResponse({
        "method": request.method, "url": str(request.url), "client": list(request.client),
        "query": dict(request.query_params), "state": request.state.opened, "root": request.scope["root_path"],
        "version": request.scope["http_version"],
    })


async def upload(request):
    digest = hashlib.sha256()
    size = 0
    async for piece in request.stream():
        digest.update(piece)
        size += len(piece)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def form(request):
    async with request.form() as form:
        file = form["file"]
        return JSONResponse({"name": file.filename, "size": len(await file.read()), "word": form["word"]})


async def stream(request):
    async def pieces():
        for number in range(100):
            yield f"{number}\\n"
            await asyncio.sleep(0)
    return StreamingResponse(pieces(), media_type="text/plain")


async def file(request):
    return FileResponse(__file__)


async def later(request):
    async def work():
        await asyncio.sleep(0.05)
        done.append("worked")
    return PlainTextResponse(",".join(done), background=BackgroundTask(work))


async def fails(request):
    raise ValueError("in a view")


async def room(websocket):
    if websocket.query_params.get("token") == "bad":
        await websocket.close(4403)
        return
    await websocket.accept(subprotocol="chat" if "chat" in websocket.scope["subprotocols"] else None)
    rooms.add(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for one in list(rooms):
                await one.send_text(text)
    except WebSocketDisconnect as left:
        done.append(f"left {left.code}")
    finally:
        rooms.discard(websocket)


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = "1"
        return response


app = Starlette(
    routes=[
        Route("/about/{rest:path}", about, methods=["GET", "PUT"]),
        Route("/upload", upload, methods=["POST"]), Route("/form", form, methods=["POST"]),
        Route("/stream", stream), Route("/file", file), Route("/later", later), Route("/fails", fails),
        Mount("/sub", routes=[Route("/about", about)]),
        WebSocketRoute("/room", room),
    ],
    middleware=[Middleware(Stamp), Middleware(GZipMiddleware, minimum_size=500)],
    lifespan=lifespan,
)
"""
FASTAPI = """
from fastapi import Depends, FastAPI, HTTPException, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
import time

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


def blocking():
    time.sleep(0.01)
    return "from a thread"


@app.post("/items/{number}")
async def item(number: int, item: Item, word: str = Depends(blocking)):
    return {"number": number, "item": item, "word": word}


@app.get("/sync")
def sync():
    time.sleep(0.3)
    return {"slept": True}


@app.get("/absent")
async def absent():
    raise HTTPException(404, "no such item")


@app.post("/files")
async def files(file: UploadFile):
    return {"name": file.filename, "size": len(await file.read())}


@app.websocket("/count")
async def count(websocket: WebSocket):
    await websocket.accept()
    await websocket.send_json({"hello": websocket.headers["host"]})
    await websocket.send_bytes(await websocket.receive_bytes() * 2)
    await websocket.close(4000, "enough")
"""
DJANGO = """
import asyncio
import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(DEBUG=False, SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)


def sync(request):
    return JsonResponse({
        "path": request.path, "query": request.GET.dict(), "secure": request.is_secure(),
        "address": request.META["REMOTE_ADDR"], "host": request.get_host(),
    })


async def slow(request):
    await asyncio.sleep(0.05)
    return HttpResponse(f"{request.method} {len(request.body)}", status=202, headers={"X-View": "slow"})


async def pieces(request):
    async def numbers():
        for number in range(10):
            yield f"{number},"
    return StreamingHttpResponse(numbers())


def cookies(request):
    response = HttpResponse(request.COOKIES.get("a", "none"))
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def fails(request):
    raise ValueError("in a view")


from django.views.decorators.csrf import csrf_exempt
urlpatterns = [
    path("sync/", sync), path("slow/", csrf_exempt(slow)), path("pieces/", pieces), path("cookies/", cookies),
    path("fails/", fails),
]
app = get_asgi_application()
"""


def unchunk(data):
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        whole += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return whole


def multipart(**parts):
    body = b""
    for name, (filename, content) in parts.items():
        extra = f'; filename="{filename}"' if filename else ""
        body += (
            f'--mark\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    return body + b"--mark--\r\n"


MULTIPART = "Content-Type: multipart/form-data; boundary=mark"


@pytest.fixture
def starlette(hosted, where):
    return hosted(STARLETTE, where)


def test_starlette_routes(starlette):
    port = starlette.http_ports[0]
    answer = ask(port, "/about/a%20b?x=1&y=%C3%BC", method="PUT")
    assert answer.json == {
        "method": "PUT",
        "url": "http://shop.example/about/a b?x=1&y=%C3%BC",  # Starlette builds it from the decoded path
        "client": ["127.0.0.1", answer.json["client"][1]],
        "query": {"x": "1", "y": "ü"},
        "state": "by lifespan",
        "root": "",
        "version": "1.1",
    }
    assert answer.fields["x-stamp"] == "1"
    assert ask(port, "/sub/about").json["root"] == "/sub"
    assert ask(port, "/about/", method="DELETE").status == 405
    assert ask(port, "/nowhere").status == 404
    assert ask(port, "/about/", method="HEAD").body == b""


def test_starlette_uploads(starlette):
    port = starlette.http_ports[0]
    body = bytes(range(256)) * 16_384  # 4 MiB
    expected = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert ask(port, "/upload", method="POST", body=body).json == expected
    chunked = b"".join(b"%x\r\n%b\r\n" % (65536, body[at : at + 65536]) for at in range(0, len(body), 65536))
    fields = ["Transfer-Encoding: chunked", "Expect: 100-continue"]
    assert ask(port, "/upload", method="POST", fields=fields, raw=chunked + b"0\r\n\r\n").json == expected
    form = multipart(file=("a.bin", b"x" * 100_000), word=("", b"hello"))
    answer = ask(port, "/form", method="POST", body=form, fields=[MULTIPART])
    assert answer.json == {"name": "a.bin", "size": 100_000, "word": "hello"}


def test_starlette_streams_and_files(starlette):
    port = starlette.http_ports[0]
    streamed = ask(port, "/stream")
    assert streamed.fields["transfer-encoding"] == "chunked"
    assert unchunk(streamed.body).split() == [b"%d" % number for number in range(100)]
    whole = ask(port, "/file")
    assert whole.body.startswith(b"\nimport asyncio")
    part = ask(port, "/file", fields=["Range: bytes=1-6"])
    assert (part.status, part.body) == (206, b"import")
    zipped = ask(port, "/file", fields=["Accept-Encoding: gzip"])
    assert zipped.fields["content-encoding"] == "gzip"


def test_starlette_background_and_errors(starlette):
    port = starlette.http_ports[0]
    assert ask(port, "/later").body == b""
    wait_for("the background task", lambda: b"worked" in ask(port, "/later").body)
    assert ask(port, "/fails").status == 500
    [event] = wait_for("the event", lambda: starlette.events("app-error"))  # told after the answer
    assert event["error"].startswith("ValueError: in a view")


def test_starlette_chat(starlette):
    url = f"ws://127.0.0.1:{starlette.http_ports[0]}/room"
    with connect(url, subprotocols=["chat"]) as one, connect(url) as other:
        assert one.subprotocol == "chat"
        one.send("hello")
        assert (one.recv(10), other.recv(10)) == ("hello", "hello")
        long = "ü" * 200_000
        other.send(long)
        assert one.recv(10) == long
        other.close(4001, "bye")
        wait_for("the leaving", lambda: b"left 4001" in ask(starlette.http_ports[0], "/later").body)
        one.send("alone")
        assert one.recv(10) == "alone"
    with pytest.raises(InvalidStatus) as refused:
        connect(url + "?token=bad")
    assert refused.value.response.status_code == 403
    wait_for("the log", lambda: [line for line in starlette.access_lines() if line["status"] == 101])


def test_fastapi(hosted, where):
    gate = hosted(FASTAPI, where)
    port = gate.http_ports[0]
    body = json.dumps({"name": "tea", "price": 2.5}).encode()
    fields = ["Content-Type: application/json"]
    answer = ask(port, "/items/7", method="POST", body=body, fields=fields)
    assert answer.json == {"number": 7, "item": {"name": "tea", "price": 2.5}, "word": "from a thread"}
    assert ask(port, "/items/x", method="POST", body=body, fields=fields).status == 422
    assert (ask(port, "/absent").status, ask(port, "/absent").json) == (404, {"detail": "no such item"})
    assert "paths" in ask(port, "/openapi.json").json
    upload = multipart(file=("a.bin", b"x" * 100_000))
    assert ask(port, "/files", method="POST", body=upload, fields=[MULTIPART]).json["size"] == 100_000
    # Ten views that sleep in threads take no longer than a few.
    threads = [threading.Thread(target=ask, args=(port, "/sync")) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2.0)
        assert not thread.is_alive()
    with connect(f"ws://127.0.0.1:{port}/count") as sock:
        assert json.loads(sock.recv(10)) == {"hello": f"127.0.0.1:{port}"}
        sock.send(b"ab")
        assert sock.recv(10) == b"abab"
        with pytest.raises(ConnectionClosed) as closed:
            sock.recv(10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "enough")
    assert gate.events("app-error") == []


def test_django(hosted, where):
    gate = hosted(DJANGO, where)
    port = gate.http_ports[0]
    expected = {
        "path": "/sync/",
        "query": {"a": "1"},
        "secure": False,
        "address": "127.0.0.1",
        "host": "shop.example",
    }
    assert ask(port, "/sync/?a=1").json == expected
    slow = ask(port, "/slow/", method="POST", body=b"x" * 100_000)
    assert (slow.status, slow.body, slow.fields["x-view"]) == (202, b"POST 100000", "slow")
    assert unchunk(ask(port, "/pieces/").body) == b"0,1,2,3,4,5,6,7,8,9,"
    answer = ask(port, "/cookies/", fields=["Cookie: a=mine"])
    assert answer.body == b"mine"
    assert answer.raw.lower().count(b"\r\nset-cookie: ") == 2
    assert ask(port, "/fails/").status == 500
    assert ask(port, "/nowhere/").status == 404
    assert gate.stop() == 0
    assert gate.events("app-without-lifespan")  # Django knows no lifespan


def test_an_application_behind_tls_and_a_mount(hosted, where):
    gate = hosted(STARLETTE, where + '\nroot_path = "/mounted"', top='trusted_proxies = ["127.0.0.0/8"]')
    fields = ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example"]
    answer = ask(gate.http_ports[0], "/mounted/about/x", fields=fields)
    assert answer.json["url"] == "https://shop.example/mounted/about/x"
    assert answer.json["client"] == ["203.0.113.7", 0]
    assert answer.json["root"] == "/mounted"
