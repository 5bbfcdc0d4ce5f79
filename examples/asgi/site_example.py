"""An ASGI application without a framework: HTTP, WebSocket and lifespan, each at its smallest."""

import time


async def app(scope, receive, send):
    """Answer one connection scope."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        since = time.monotonic() - scope["state"]["began"]
        body = f"{scope['method']} {scope['path']} for {scope['client'][0]}, up for {since:.0f} s\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def lifespan(scope, receive, send):
    """Open what all requests share, and close it again."""
    await receive()
    scope["state"]["began"] = time.monotonic()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def echo(receive, send):
    """Send back what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
