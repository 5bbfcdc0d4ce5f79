"""Retries over real sockets: origins record what they get, the client what it is answered.

Two endpoints run the same script: whoever gets a request first fails it in the way that its target says, whoever gets
it then answers. So what comes twice is seen, wherever it comes.
"""

import itertools
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.outbound.world import Probe

from headgate.testing.origin import Origin, connect

METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "X-OWN")
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
WITH_CONTENT = frozenset(("PUT", "DELETE", "POST", "PATCH", "X-OWN"))
CONTENT = b"0123456789" * 100
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
TIMEOUT = "700ms"


class Book:
    """What the origins got: for each request, how each time that its head came went on."""

    def __init__(self):
        self.lock = threading.Lock()
        self.arrivals = defaultdict(list)
        self.content = {}

    def arrived(self, identifier, use):
        """Note one, and return the how-manieth it is."""
        with self.lock:
            self.arrivals[identifier].append(use)
            return len(self.arrivals[identifier])


BOOK = Book()
IDENTIFIERS = itertools.count()


def answer(wire, head):
    wire.send(OK if head.words[0] == "HEAD" else OK + b"ok")


def fail(wire, head, how):
    """Fail a request; tell whether its connection goes on."""
    if how == "mid-request":
        wire.read_exactly(10)
        wire.reset()
    elif how == "close":
        wire.read_content(head)
    elif how == "reset":
        wire.read_content(head)
        wire.reset()
    elif how == "silent":
        wire.read_content(head)
        wire.ended()
    elif how == "garbage":
        wire.read_content(head)
        wire.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    elif how == "half-a-head":
        wire.read_content(head)
        wire.send(b"HTTP/1.1 200 OK\r\nConte")
    elif how == "cut":
        wire.read_content(head)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")
    else:
        wire.read_content(head)
        wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % (0 if head.words[0] == "HEAD" else 4))
        wire.send(b"" if head.words[0] == "HEAD" else b"busy")
        return True
    return False


def failing(wire):
    use = 0
    while head := wire.read_head():
        use += 1
        identifier = head.get("x-id")
        how = head.target.strip("/")
        first = BOOK.arrived(identifier, use) == 1
        if how == "reused":
            if use > 1:
                return  # it was idle, and was closing while the request was on its way
        elif first and how != "ok" and not fail(wire, head, how):
            return
        elif first and how != "ok":
            continue
        BOOK.content[identifier] = wire.read_content(head)
        answer(wire, head)


def deaf(wire):
    """Reset before a byte is read."""
    wire.reset()


CONFIGURATION = """
[[route]]
hosts = ["{name}.test"]
upstream = "{name}"
[upstream.{name}]
endpoints = [{urls}]
balance = "round-robin"
connect_timeout = "{timeout}"
head_timeout = "{timeout}"
body_idle = "{timeout}"
[upstream.{name}.retries]
attempts = 3
on = ["connect", "closed", "timeout", "invalid", "503"]
budget = "100%"
budget_floor = "100/s"
[upstream.{name}.pool]
max_idle = {idle}
[upstream.{name}.outliers]
consecutive_5xx = 0
consecutive_failures = 0
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    origins = [Origin(failing) for _ in range(3)]
    refusing = Origin(deaf)
    groups = {
        "two": [origin.url for origin in origins[:2]],
        "one": [origins[2].url],
        "storm": [origin.url for origin in origins],
        "dead": [f"http://127.0.0.1:{free_port()}", origins[2].url],
        "deaf": [refusing.url, origins[2].url],
    }
    text = "".join(
        CONFIGURATION.format(
            name=name,
            urls=", ".join(f'"{url}"' for url in urls),
            timeout=TIMEOUT,
            idle=8 if name in ("one", "storm") else 0,  # a reused connection has rules of its own
        )
        for name, urls in groups.items()
    )
    probe = Probe(folder)
    limits = '[listener.limits]\nper_client = 1000\nconnection_rate = "100000/s"\n'
    try:
        with Gate(folder, text, environ=probe.environ, listener_extra=limits) as gate:
            gate.probe = probe
            yield gate
            assert gate.events("defect") == []
    finally:
        for origin in [*origins, refusing]:
            origin.close()


def ask(gate, host, method, target, *, pieces=1, wire=None):
    """Send a request; return its identifier, and status and content or None when the answer was cut short."""
    identifier = f"r{next(IDENTIFIERS)}"
    content = CONTENT if method in WITH_CONTENT else b""
    head = f"{method} /{target} HTTP/1.1\r\nHost: {host}.test\r\nX-Id: {identifier}\r\n"
    if content:
        head += f"Content-Length: {len(content)}\r\n"
    own = wire or connect(gate.http_ports[0])
    try:
        if pieces == 1:
            own.send(head.encode() + b"\r\n" + content)
        else:
            own.send(head.encode() + b"\r\n" + content[:10])
            wait_for("the first piece at an origin", lambda: BOOK.arrivals.get(identifier))
            own.send(content[10:])
        answered, body = own.read_response(to_head=method == "HEAD")
        return identifier, (answered.status, body)
    except (EOFError, ConnectionError):
        return identifier, None
    finally:
        if wire is None:
            own.close()


HAD_IT = ("close", "reset", "garbage", "half-a-head", "503")


@pytest.mark.parametrize(
    ("how", "method"), [*itertools.product(HAD_IT, METHODS), ("silent", "PUT"), ("silent", "POST")]
)
def test_what_an_origin_had_is_sent_again_only_where_that_is_safe(gate, how, method):
    identifier, answered = ask(gate, "two", method, how)
    if method in IDEMPOTENT:
        assert answered == (200, b"" if method == "HEAD" else b"ok")
        assert len(BOOK.arrivals[identifier]) == 2
        assert BOOK.content[identifier] == (CONTENT if method in WITH_CONTENT else b"")
    else:
        assert answered[0] == {"silent": 504, "503": 503}.get(how, 502)
        assert len(BOOK.arrivals[identifier]) == 1


@pytest.mark.parametrize("method", sorted(WITH_CONTENT))
def test_mid_request(gate, method):
    identifier, answered = ask(gate, "two", method, "mid-request", pieces=2)
    if method in IDEMPOTENT:
        assert answered == (200, b"ok")
        assert BOOK.content[identifier] == CONTENT, "what was sent already, and the rest"
    else:
        assert answered is None or answered[0] == 502
        assert len(BOOK.arrivals[identifier]) == 1


@pytest.mark.parametrize("method", [method for method in METHODS if method != "HEAD"])
def test_an_answer_that_was_passed_on_is_final(gate, method):
    identifier, answered = ask(gate, "two", method, "cut")
    assert answered is None
    assert len(BOOK.arrivals[identifier]) == 1


@pytest.mark.parametrize("method", METHODS)
def test_who_cannot_be_reached_costs_nobody_anything(gate, method):
    for _ in range(4):
        identifier, answered = ask(gate, "dead", method, "ok")
        assert answered[0] == 200
        assert len(BOOK.arrivals[identifier]) == 1
        assert BOOK.content[identifier] == (CONTENT if method in WITH_CONTENT else b"")


@pytest.mark.parametrize("method", METHODS)
def test_who_resets_at_once_may_have_had_it_or_not(gate, method):
    """Whether the request went out before the reset came is a race: it is told apart, and safe either way."""
    for _ in range(6):
        identifier, answered = ask(gate, "deaf", method, "ok")
        assert answered[0] == 200 or (method not in IDEMPOTENT and answered[0] == 502)
        assert len(BOOK.arrivals[identifier]) <= 1


@pytest.mark.parametrize("method", METHODS)
def test_a_reused_connection_that_was_closing(gate, method):
    with connect(gate.http_ports[0]) as wire:
        assert ask(gate, "one", "GET", "ok", wire=wire)[1] == (200, b"ok")
        identifier, answered = ask(gate, "one", method, "reused", wire=wire)
    assert answered[0] == 200
    closing, fresh = BOOK.arrivals[identifier]
    assert closing > 1
    assert fresh == 1


def test_each_retry_is_in_the_log_and_counted(gate):
    key = 'headgate_upstream_retried_total{why="closed"}'
    before = gate.settled_metrics()[key]
    ask(gate, "two", "GET", "close")
    wait_for("the counter", lambda: gate.metrics()[key] > before)
    lines = wait_for("the line", lambda: [x for x in gate.access_lines() if x["target"] == "/close"])
    assert any(line["retries"] == 1 and line["status"] == 200 for line in lines)


def test_a_storm_of_failures_leaves_nothing_behind(gate):
    """Every method and every failure, from eight clients at once, some of which leave; then all is as it was."""
    begin = wait_for("a worker at rest", lambda: at_rest(gate))
    assert gate.settled_metrics()['headgate_held_bytes{limit="replay"}'] == 0
    work = list(itertools.product(METHODS, [*HAD_IT, "cut", "ok"])) * 3

    def one(number):
        method, how = work[number]
        if number % 7 == 0:
            with connect(gate.http_ports[0]) as wire:
                wire.send(
                    f"{method} /{how} HTTP/1.1\r\nHost: storm.test\r\nX-Id: left{number}\r\n\r\n".encode()
                )
            return
        identifier, _ = ask(gate, ("storm", "deaf", "dead")[number % 3], method, how)
        arrived = len(BOOK.arrivals.get(identifier, ()))
        assert arrived <= (4 if method in IDEMPOTENT else 2)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(len(work))))
    # Idle connections are no leak: they are what is kept. Everything else is as it was.
    wait_for("a worker at rest", lambda: at_rest(gate, begin))
    wait_for("no octet held", lambda: not [k for k, v in gate.metrics().items() if "held_bytes" in k and v])


def at_rest(gate, begin=None):
    """Return what the worker holds beside idle connections, once nothing is under way (and as at the beginning)."""
    held = gate.probe.look(gate.worker_pids()[0])
    idle = held["Pool.idle"]
    if held["UpstreamConnection"] != idle or held["Exchange"] or held["Attempt"]:
        return None
    held["descriptors"] -= idle
    rest = {name: value for name, value in held.items() if name not in ("Pool.idle", "UpstreamConnection")}
    return rest if begin is None or rest == begin else None
