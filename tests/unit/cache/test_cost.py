"""What a stored response is counted as, against what the process grows by."""

import subprocess
import sys

import pytest

MEASURE = """
import gc, sys
from headgate.cache.entry import MAX_KNOWN_NAMES, MemoryBody
from headgate.cache.memory import MemoryStore
from headgate.cache.pieces import (
    PartialBody,
)
from headgate.cache.purges import EVERYTHING, HOST, PREFIX, TAG, URL
from headgate.cache.policy import Policy
from headgate.cache.store.bodies import CheckedBody, OpenFiles
from headgate.cache.store.format import FileContent
from headgate.cache.storing import build
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.telemetry.process_stats import resident_bytes

count, chunks = 12_000, int(sys.argv[2])
policy, store, files = Policy(), MemoryStore(1 << 32), OpenFiles()
if sys.argv[1] == "names":
    count = 3_000
NAMES = [b"content-type", b"cache-control", b"date", b"content-length", b"etag", b"x-id", b"vary", b"cache-tag"]
ASKED = [b"host", b"accept-language"]

def put(number):
    texts = ["Content-Type: text/css", "Cache-Control: max-age=86400", f"Date: {number:029}", "Content-Length: 100"]
    asked = [f"Host: {number}"]
    if sys.argv[1] == "all":
        texts += [f'ETag: "{number:020}"', f"X-Id: {number:09}", "Vary: accept-language"]
        texts.append(f"Cache-Tag: p{number} q{number}")
        asked += [f"Accept-Language: de-{number}"]
    names = NAMES[: len(texts)]
    if sys.argv[1] == "names":
        names = [b"x-%d-%d" % (number, at) for at in range(16)]
        texts = [f"{name.decode()}: 1" for name in names]
    request = Request(b"GET", b"/", 11, Fields(ASKED[: len(asked)], [text.encode() for text in asked]))
    response = Response(200, b"OK", 11, Fields(names, [text.encode() for text in texts]))
    key = b"http://example.org/assets/%d" % number
    stored = build(key, request, response, policy, number, number)
    pieces = [b"%0100d" % number for _ in range(chunks)]
    stored.body = MemoryBody(pieces)
    if sys.argv[1] == "file":
        name = f"12345.{number:032x}"
        blocks = [0xFFFFFFFF - number - at for at in range(chunks)]
        content = FileContent(name.encode(), chunks << 18, blocks)
        stored.body = CheckedBody(f"/var/lib/headgate/cache/files/0a/{name}", content, files)
    if sys.argv[1] == "parts":
        stored.body = PartialBody()
        for at in range(chunks):
            stored.body.add(1000 * at, MemoryBody([pieces[at]]))
        stored.ranges = stored.body.ranges()
    assert store.put(stored)

put(count)
if sys.argv[1] == "names":
    for number in range(-MAX_KNOWN_NAMES, 0):
        put(number)
gc.collect()
resident, octets = resident_bytes(), store.octets
for number in range(count):
    put(number)
gc.collect()
print((store.octets - octets) / (resident_bytes() - resident))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "chunks"),
    [
        ("few", 1),
        ("all", 1),
        ("few", 16),
        ("parts", 1),
        ("parts", 8),
        ("file", 1),
        ("file", 40),
        ("names", 1),
    ],
)
def test_what_is_counted_is_what_is_used(fields, chunks):
    """The costs are constants: what they come to is what the process grows by, within a tenth."""
    command = [sys.executable, "-c", MEASURE, fields, str(chunks)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert 0.9 <= float(said) <= 1.1
