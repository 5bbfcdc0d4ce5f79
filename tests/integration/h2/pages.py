"""The origin that real clients visit: what each path is, one script for all."""

import base64
import hashlib
import json

from tests.integration.h2.calls import content

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# It asks for 100 things at once, and talks to the WebSocket of the site; then it says how they came, and what came.
PAGE = b"""<!doctype html><meta charset=utf-8><title>page</title><body><script>
const hex = (bytes) => Array.from(new Uint8Array(bytes), (b) => b.toString(16).padStart(2, '0')).join('');
async function one(n) {
  const got = await (await fetch('/b' + (n * 1000) + '-chromium')).arrayBuffer();
  return hex(await crypto.subtle.digest('SHA-256', got)).slice(0, 8);
}
async function posted() {
  const body = new Uint8Array(300000).fill(7);
  return (await (await fetch('/echo', { method: 'POST', body })).json()).size;
}
function talked() {
  return new Promise((done) => {
    const socket = new WebSocket('wss://' + location.host + '/ws');
    const heard = [];
    socket.onopen = () => { for (let n = 0; n < 5; n++) socket.send('word ' + n); };
    socket.onmessage = (event) => { if (heard.push(event.data) == 5) { done(heard.join(',')); socket.close(); } };
    socket.onerror = () => done('failed');
  });
}
async function all() {
  const sums = await Promise.all(Array.from({ length: 100 }, (_, n) => one(n)));
  const how = new Set(performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol));
  const said = { how: [...how], page: performance.getEntriesByType('navigation')[0].nextHopProtocol,
    sums: sums.join(' '), posted: await posted(), talked: await talked() };
  return JSON.stringify(said);
}
const say = (said) => fetch('/said', { method: 'POST', body: said });
all().then(say, (error) => say('"failed: ' + error + '"'));
</script></body>"""


def size_of(path):
    """The size that a path names: /b1000, or /b1000-anything where the same is asked for several times."""
    return int(path[2:].partition("-")[0])


def site(call):
    """Answer whatever the path asks for."""
    path = call.path.partition("?")[0]
    if path.startswith("/b"):
        data = content(size_of(path))
        call.respond(200, [("content-length", str(len(data)))])
        call.send(data)
    elif path == "/page":
        call.respond(200, [("content-type", "text/html"), ("content-length", str(len(PAGE)))])
        call.send(PAGE)
    elif path == "/echo":
        echo(call)
    elif path == "/trailers":
        call.respond(200)
        call.send(b"with trailers\n")
        call.end([("x-end", "yes")])
        return
    elif path == "/ws":
        websocket(call)
        return
    else:
        call.respond(404, [("content-length", "0")])
    call.end()


def echo(call):
    """Say what came."""
    digest, size = hashlib.sha256(), 0
    if call.get("expect"):
        call.proceed()
    while piece := call.read():
        digest.update(piece)
        size += len(piece)
    said = {
        "method": call.method,
        "fields": call.fields,
        "size": size,
        "sum": digest.hexdigest(),
        "trailers": call.trailers,
    }
    data = json.dumps(said).encode()
    call.respond(200, [("content-type", "application/json"), ("content-length", str(len(data)))])
    call.send(data)


def websocket(call):
    """A WebSocket of HTTP/1.1 (RFC 6455) that says in capitals what short texts it hears."""
    key = call.get("sec-websocket-key").encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    fields = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", accept)]
    call.inform(101, fields)
    call.keeps = False
    while True:
        first, second = call.wire.read_exactly(2)
        size = second & 127
        assert second & 128, "a client masks"
        assert size < 126, "only short ones"
        mask = call.wire.read_exactly(4)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(call.wire.read_exactly(size)))
        if first & 15 == 8:
            call.wire.send(bytes((0x88, len(data))) + data)
            return
        call.wire.send(bytes((0x81, len(data))) + data.upper())
