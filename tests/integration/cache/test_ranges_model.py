"""Ranges, conditions and slices through a gate against a naive reference: whatever several clients ask while objects
change and are purged, each answer has one version's octets, at their places, and a status that this version allows.

Which requests are made is a matter of the seed; when they meet a change or a purge is not.
"""

import email
import http.client
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from tests.integration.gate import Gate

KIB = 1024
SLICE = 64 * KIB
OLD = "Sat, 01 Jan 2022 00:00:00 GMT"
PATHS = ("/film", "/song", "/note")
SIZES = {"/film": 5 * SLICE + 777, "/song": 2 * SLICE, "/note": 3000}
CLIENTS = 3
REQUESTS = 40
CHANGES = 8
# RFC 9110 section 15.3.7.2: what lies between two ranges may be sent where that is shorter than the head of a part.
GAP = 80
DISK = 'disk = "64MiB"'
TEXT = """
[cache]
enabled = true
memory = "8MiB"
{disk}
[[route]]
upstream = "origin"
[route.cache]
{slice}
[upstream.origin]
endpoints = ["{url}"]
"""


class Version:
    """What an object is for a while."""

    def __init__(self, path, number):
        # Every other one has the length of the one before.
        self.body = random.Random(f"{path}{number}").randbytes(SIZES[path] + 1000 * (number // 2 % 3))
        self.tag = f'"{path[1:]}-{number}"'
        self.modified = f"Sat, 01 Jan 2022 00:00:{number:02} GMT"


class World:
    """The objects, all their versions, and since which one something may come from the cache."""

    def __init__(self):
        self.lock = threading.Lock()
        self.versions = {path: [Version(path, 0)] for path in PATHS}
        self.floor = dict.fromkeys(PATHS, 0)

    def newest(self, path):
        with self.lock:
            return len(self.versions[path]) - 1

    def change(self, path):
        with self.lock:
            self.versions[path].append(Version(path, len(self.versions[path])))


class Origin(BaseHTTPRequestHandler):
    """Answers conditions and single ranges; several ranges get the whole (RFC 9110 section 14.2)."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and content in one piece

    def do_GET(self):
        world = self.server.world
        with world.lock:
            version = world.versions[self.path][-1]
        fields = {name.lower(): value for name, value in self.headers.items()}
        status, start, end = reference(self.command, fields, version)
        if status == 206 and start is None:
            status, start, end = 200, 0, len(version.body)
        self.send_response(status)
        self.send_header("Cache-Control", "max-age=600")
        self.send_header("ETag", version.tag)
        self.send_header("Last-Modified", version.modified)
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(version.body)}")
        elif status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(version.body)}")
        content = version.body[start:end] if status in (200, 206) else b""
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *words):
        """Say nothing."""


def reference(method, fields, version):
    """The status that one version gives a request, and its one range; None where there are several."""
    whole = (200, 0, len(version.body))
    if "if-match" in fields and fields["if-match"] not in ("*", version.tag):
        return 412, 0, 0
    if "if-none-match" in fields:
        if version.tag in fields["if-none-match"].replace("W/", "").split(", "):
            return 304, 0, 0
    elif fields.get("if-modified-since", "") >= version.modified:  # dates of one minute sort as they are
        return 304, 0, 0
    if method == "HEAD" or "range" not in fields:
        return whole
    if "if-range" in fields and fields["if-range"] not in (version.tag, version.modified):
        return whole
    ranges = satisfiable(fields["range"], len(version.body))
    if not ranges:
        return 416, 0, 0
    return (206, *ranges[0]) if len(ranges) == 1 else (206, None, None)


def satisfiable(value, length):
    """What a Range asks for of so many octets: pairs of start and end."""
    found = []
    for spec in value.removeprefix("bytes=").split(","):
        first, last = spec.strip().split("-")
        if not first:
            pair = (max(length - int(last), 0), length)
        else:
            pair = (int(first), min(int(last) + 1, length) if last else length)
        if pair[0] < pair[1]:
            found.append(pair)
    return found


def some_range(chance, length):
    """A Range: inside, over edges of slices, suffixes, beyond the end, several, overlapping, huge."""

    def spec():
        kind = chance.randrange(7)
        at = chance.choice([chance.randrange(length), chance.randrange(0, length, SLICE), length - 1, 0])
        if kind == 0:
            return f"-{chance.choice([1, 5, SLICE, 2 * length, 10**30])}"
        if kind == 1:
            return f"{at}-"
        if kind == 2:
            return f"{length + chance.choice([0, 1, SLICE, 10**12, 10**30])}-"
        if kind == 3:
            return f"{at}-{at + chance.choice([SLICE, 2 * SLICE, 10**30])}"
        return f"{at}-{at + chance.choice([0, 9, 100, SLICE - 1])}"

    return "bytes=" + ",".join(spec() for _ in range(chance.choice([1, 1, 1, 2, 3])))


def some_request(chance, path, world):
    """A method and fields, with validators of versions that are, were, or never will be."""
    versions = world.versions[path]
    known = chance.choice(versions[-2:])
    method = "HEAD" if chance.random() < 0.1 else "GET"
    fields = {}
    if chance.random() < 0.75:
        fields["range"] = some_range(chance, len(known.body))
        if chance.random() < 0.4:
            fields["if-range"] = chance.choice(
                [known.tag, known.tag, "W/" + known.tag, '"no"', known.modified, OLD]
            )
    if chance.random() < 0.2:
        fields["if-none-match"] = chance.choice([known.tag, "W/" + known.tag, f'"no", {known.tag}', '"no"'])
    elif chance.random() < 0.1:
        fields["if-modified-since"] = known.modified
    elif chance.random() < 0.05:
        fields["if-match"] = chance.choice([known.tag, '"no"'])
    return method, fields


class Client(threading.Thread):
    """Asks one thing after the other and checks what comes; `wrong` has the first thing that was."""

    def __init__(self, gate, world, seed, slices):
        super().__init__()
        self.gate, self.world, self.slices = gate, world, slices
        self.chance = random.Random(seed)
        self.seen = Counter()
        self.wrong = None

    def run(self):
        try:
            for _ in range(REQUESTS):
                self.ask()
        except Exception as error:  # a thread's: the test raises it
            self.wrong = error

    def ask(self):
        path = self.chance.choice(("/film", *PATHS))
        method, fields = some_request(self.chance, path, self.world)
        with self.world.lock:
            floor = self.world.floor[path]
        connection = http.client.HTTPConnection("127.0.0.1", self.gate.http_ports[0], timeout=20)
        is_cut = False
        try:
            connection.request(method, path, headers=fields)
            reply = connection.getresponse()
            try:
                body = reply.read()
            except http.client.IncompleteRead as error:
                body, is_cut = error.partial, True
        finally:
            connection.close()
        versions = self.world.versions[path][floor : self.world.newest(path) + 1]
        told = f"{method} {path} {fields}: {reply.status}, {dict(reply.headers)}, {len(body)} octets, cut {is_cut}"
        # Only what has changed meanwhile breaks off, and only slices do.
        assert not is_cut or (self.slices and len(versions) > 1), told
        fits = [one for one in versions if is_of(one, method, fields, reply, body, is_cut)]
        assert fits, f"{told}; versions {[one.tag for one in versions]}"
        kind = "several" if reply.headers.get_content_type() == "multipart/byteranges" else str(reply.status)
        self.seen[kind] += 1
        self.seen["asked"] += 1
        self.seen["cut"] += is_cut
        self.seen["hit"] += "; hit" in (reply.headers["cache-status"] or "")


def is_of(version, method, fields, reply, body, is_cut):
    """Tell whether an answer is one that this version allows."""
    status, start, end = reference(method, fields, version)
    got = reply.status
    length = len(version.body)
    if got == 416:
        return status == 416 and reply.headers["content-range"] == f"bytes */{length}"
    if got in (304, 412):
        return status == got and not body and reply.headers["etag"] in (version.tag, None)
    if reply.headers["etag"] != version.tag:
        return False
    if method == "HEAD":
        return (status, got, body) == (200, 200, b"") and reply.headers["content-length"] == str(length)
    if got == 200:
        # RFC 9110 section 14.2: Range may be ignored, but where it cannot be obeyed.
        is_whole = version.body.startswith(body) if is_cut else version.body == body
        return status in (200, 206) and is_whole and reply.headers["content-length"] == str(length)
    if got != 206 or status != 206:
        return False
    asked = satisfiable(fields["range"], length)
    if reply.headers.get_content_type() != "multipart/byteranges":
        first, last, total = placed(reply.headers["content-range"])
        return (
            total == length
            and version.body[first : last + 1].startswith(body)
            and (is_cut or len(body) == last + 1 - first)
            and (start is None or (first, last + 1) == (start, end))
            and is_covered(asked, [(first, last + 1)])
        )
    return is_cut or is_covered(asked, parts_of(version, reply, body))


def placed(value):
    """What a Content-Range says: first and last position, and the length."""
    span, _, total = value.removeprefix("bytes ").partition("/")
    first, _, last = span.partition("-")
    return int(first), int(last), int(total)


def parts_of(version, reply, body):
    """The ranges of the parts of a multipart answer, each with its octets; [] where one has others."""
    head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
    found = []
    # Octets that are no text: each part ends where its Content-Range says.
    boundary = email.message_from_bytes(head).get_boundary().encode()
    rest = body
    while not rest.startswith(b"--" + boundary + b"--"):
        line, _, rest = rest.partition(b"\r\n\r\n")
        fields = email.message_from_bytes(line.partition(b"\r\n")[2] + b"\r\n\r\n")
        if not line.startswith(b"--" + boundary):
            return []
        first, last, total = placed(fields["content-range"])
        size = last + 1 - first
        if total != len(version.body) or rest[: size + 2] != version.body[first : last + 1] + b"\r\n":
            return []
        found.append((first, last + 1))
        rest = rest[size + 2 :]
    return found if rest == b"--" + boundary + b"--\r\n" else []


def is_covered(asked, sent):
    """Tell whether all that was asked for is sent, no octet twice, and no more than lies between two ranges."""
    wanted = sorted(asked)
    useful = between = behind = 0
    for start, end in wanted:
        if behind:
            between += min(max(start - behind, 0), GAP)
        useful += max(end - max(start, behind), 0)
        behind = max(end, behind)
    parts = sorted(sent)
    return (
        all(one[1] <= other[0] for one, other in pairwise(parts))
        and all(any(low <= start and end <= high for low, high in parts) for start, end in wanted)
        and sum(end - start for start, end in parts) - useful <= between
    )


def start_origin(world):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    server.world = world
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slices", "disk", "workers"),
    [(False, "", 1), (False, DISK, 2), (True, "", 2), (True, DISK, 1), (True, DISK, 2)],
)
def test_every_answer_has_the_octets_of_one_version(tmp_path, slices, disk, workers):
    world = World()
    server = start_origin(world)
    kind = f'slice = "{SLICE // KIB}KiB"\nslice_prefetch = 1' if slices else ""
    text = TEXT.format(disk=disk, slice=kind, url=f"http://127.0.0.1:{server.server_address[1]}")
    try:
        with Gate(tmp_path, text, workers=workers) as gate:
            clients = [Client(gate, world, f"{seed}{slices}{disk}", slices) for seed in range(CLIENTS)]
            for client in clients:
                client.start()
            disturb(gate, world, clients)
            for client in clients:
                client.join(60)
    finally:
        server.shutdown()
        server.server_close()
    for client in clients:
        if client.wrong is not None:
            raise client.wrong
    seen = sum((client.seen for client in clients), Counter())
    assert not {kind for kind in ("200", "206", "several", "304", "416", "hit") if not seen[kind]}, seen
    assert seen["cut"] < CLIENTS * REQUESTS // 4, seen


def disturb(gate, world, clients):
    """Let objects change while clients ask, and purge some of those that have."""
    chance = random.Random(1)
    done = 0
    while any(client.is_alive() for client in clients):
        asked = sum(client.seen["asked"] for client in clients)
        if done < CHANGES and asked > done * CLIENTS * REQUESTS // (CHANGES + 1):
            done += 1
            path = chance.choice(("/film", *PATHS))
            world.change(path)
            if done % 3 == 0:
                newest = world.newest(path)
                assert gate.call("purge", f"http://127.0.0.1:{gate.http_ports[0]}{path}").returncode == 0
                with world.lock:
                    world.floor[path] = newest
        clients[0].join(0.01)
