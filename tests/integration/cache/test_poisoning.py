"""Nobody makes the cache give one client's answer to another, or give up what it has: through a gate, by hand-made
requests. Each is a way by which caches of other make have been poisoned.

The origin mirrors what it was asked with, so whatever a request could smuggle in would be seen in the next answer.
"""

import socket

import pytest
from tests.integration.gate import Gate

from headgate.testing.origin import Origin

TEXT = """
[cache]
enabled = true
memory = "4MiB"
[[route]]
upstream = "mirror"
[[route]]
path = "/parts"
upstream = "mirror"
[route.cache]
key_headers = ["asked-host", "slice"]
[upstream.mirror]
endpoints = ["{url}"]
"""


class Mirror:
    """Answers with everything that it was asked with, storable for a minute; counts what it was asked."""

    def __init__(self):
        self.targets = []
        self.origin = Origin(self._serve)

    def _serve(self, wire):
        while head := wire.read_head():
            wire.read_content(head)
            self.targets.append(head.target)
            body = head.raw.replace(b"\r\n", b"\n")
            lines = [
                "HTTP/1.1 200 OK",
                f"Content-Length: {len(body)}",
                "Cache-Control: max-age=60",
                'ETag: "1"',
            ]
            if "/vary" in head.target:
                lines.append("Vary: X-Kind")
            if "/long" in head.target:
                body = b"0123456789" * 1000
                lines[1] = f"Content-Length: {len(body)}"
            wire.send("\r\n".join([*lines, "", ""]).encode())
            if head.words[0] != "HEAD":
                wire.send(body)

    def asked(self, target):
        return self.targets.count(target)


@pytest.fixture(scope="module")
def mirror():
    found = Mirror()
    with found.origin:
        yield found


@pytest.fixture(scope="module")
def gate(mirror, tmp_path_factory):
    with Gate(tmp_path_factory.mktemp("gate"), TEXT.format(url=mirror.origin.url)) as running:
        yield running


def ask(gate, target, *lines, host="a.test", method="GET"):
    """One raw request; the status and everything that came behind the status line."""
    head = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *lines]
    head += ["Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall("\r\n".join(head).encode("latin-1"))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer


def is_hit(answer):
    return b"cache-status: headgate; hit" in answer.lower()


UNKEYED = (
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Scheme: evil",
    "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6;host=evil.test",
    "X-Host: evil.test",
    "X-Original-URL: /evil",
    "X-Rewrite-URL: /evil",
    "X-HTTP-Method-Override: PURGE",
)
# What only the gate says of a client, and never repeats after it.
OWN = ("evil.test", "gopher", "6.6.6.6")


def test_a_client_cannot_say_for_the_gate_where_it_came_from(gate):
    """X-Forwarded-* and Forwarded are in no key, so what an origin reads in them must be the gate's own word."""
    _, poisoned = ask(gate, "/unkeyed", *UNKEYED[:4], UNKEYED[5], UNKEYED[6])
    _, next_one = ask(gate, "/unkeyed")
    assert is_hit(next_one)
    for word in OWN:
        assert word.encode() not in poisoned, word
        assert word.encode() not in next_one, word


@pytest.mark.parametrize("line", UNKEYED)
def test_the_key_is_no_header_s_to_choose(gate, mirror, line):
    """No such field makes another path, host or method of a request."""
    ask(gate, "/chosen")
    status, answer = ask(gate, "/chosen", line)
    assert status == 200
    assert is_hit(answer)
    assert mirror.asked("/evil") == 0


HOSTS = ("a.test:81", "A.TEST", "a.test:80", "a.test.", "a.test:", "b.test")


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_are_kept_apart(gate, host):
    """Spellings of one host too: an origin may build links of Host as it came, and that leads nowhere."""
    target = f"/host-{HOSTS.index(host)}"
    _, poisoned = ask(gate, target, host=host)
    status, answer = ask(gate, target, host="a.test")
    assert status == 200
    assert f"Host: {host}\n".encode() in poisoned
    assert not is_hit(answer)
    assert f"Host: {host}\n".encode() not in answer
    _, again = ask(gate, target, host=host)
    assert is_hit(again)


def test_a_field_in_the_key_is_no_part_of_ours(gate):
    """What a client writes into a field that the route has in its keys never looks like what a proxy has said."""
    target = "/parts/forged"
    _, forged = ask(gate, target, "Asked-Host: b.test")
    _, answer = ask(gate, target, "X-Forwarded-Host: b.test")
    assert not is_hit(forged)
    assert not is_hit(answer)


TRICKS = (
    "a.test, b.test",
    "a.test b.test",
    "a.test/evil",
    "a.test#",
    "user@a.test",
    "a.test:99999",
    "a.test\x00",
)


@pytest.mark.parametrize("host", TRICKS)
def test_a_host_that_can_be_read_in_two_ways_is_refused(gate, mirror, host):
    before = len(mirror.targets)
    status, _ = ask(gate, "/trick", host=host)
    assert status == 400
    assert len(mirror.targets) == before


def test_two_hosts_are_refused(gate):
    status, _ = ask(gate, "/trick", "Host: b.test")
    assert status == 400


def test_a_target_with_a_host_is_that_host_s(gate):
    """RFC 9112 section 3.2.2: the target's authority counts, and Host is as if it were that."""
    ask(gate, "http://b.test/absolute", host="a.test")
    _, theirs = ask(gate, "/absolute", host="b.test")
    _, other = ask(gate, "/absolute", host="a.test")
    assert is_hit(theirs)
    assert not is_hit(other)


SPELLINGS = (
    ("/spelt/../spelt/a", "/spelt/a"),
    ("/spelt/./b", "/spelt/b"),
    ("/spelt/%63", "/spelt/c"),
)


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_two_spellings_of_a_path_have_one_key_and_one_meaning(gate, mirror, one, other):
    """The origin gets the path that the key has: neither sees more than the other."""
    ask(gate, one)
    _, answer = ask(gate, other)
    assert is_hit(answer)
    assert mirror.asked(other) == 1
    assert mirror.asked(one) == 0


APART = (
    "/apart?a=1&b=2",
    "/apart?b=2&a=1",
    "/apart?a=1;b=2",
    "/apart?",
    "/apart",
    "/apart//",
    "/apart/",
    "/APART",
)


def test_what_an_origin_might_tell_apart_is_kept_apart(gate):
    for target in APART:
        _, answer = ask(gate, target)
        assert not is_hit(answer), target
        assert target.encode() in answer


def test_a_get_with_content_is_not_answered_from_the_cache_nor_stored(gate, mirror):
    """Content is in no key (fat GET)."""
    target = "/fat"
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
            head = f"GET {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
            sock.sendall(head.encode() + b"evil")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert not is_hit(answer)
    assert mirror.asked(target) == 2
    _, clean = ask(gate, target)
    assert not is_hit(clean)
    assert b"Content-Length: 4" not in clean


def test_an_oversize_head_leaves_nothing_behind(gate):
    """An error that a client provokes by its own head is nobody else's (CPDoS)."""
    status, _ = ask(gate, "/oversize", "X-Large: " + "a" * 100_000)
    assert status in (400, 431)
    status, answer = ask(gate, "/oversize")
    assert status == 200
    assert not is_hit(answer)


METACHARACTERS = ("X-Meta: a\x07b", "X-Meta: a\x00b", "X Meta: a", "X-Meta : a")


@pytest.mark.parametrize("line", METACHARACTERS)
def test_a_malformed_line_leaves_nothing_behind(gate, line):
    target = f"/meta-{METACHARACTERS.index(line)}"
    status, _ = ask(gate, target, line)
    assert status == 400
    assert ask(gate, target)[0] == 200


RANGES = (
    "bytes=" + ",".join(f"{at}-" for at in range(100)),
    "bytes=0-0," * 500 + "1-1",
    "bytes=" + ",".join("0-9999" for _ in range(16)),
    "bytes=-0",
    "bytes=18446744073709551616-",
    "bytes=5-2",
)


@pytest.mark.parametrize("value", RANGES)
def test_ranges_cost_no_more_than_the_whole(gate, mirror, value):
    """RFC 9110 section 17.15: no answer is longer than the representation and some part heads; the origin hears
    nothing of it."""
    ask(gate, "/long")
    before = mirror.asked("/long")
    status, answer = ask(gate, "/long", f"Range: {value}")
    assert status in (200, 206, 416)
    assert len(answer) < 10_000 + 4096
    assert mirror.asked("/long") == before


def test_a_range_does_not_become_the_whole(gate):
    """A part that somebody asked for first is never the answer to who wants all."""
    ask(gate, "/long-part", "Range: bytes=0-4")
    status, answer = ask(gate, "/long-part")
    assert status == 200
    assert answer.endswith(b"0123456789" * 1000)


def test_variants_of_one_key_are_bounded(gate, mirror):
    """Whoever makes up values for a field that Vary names fills one key, and no more."""
    for number in range(300):
        ask(gate, "/vary/many", f"X-Kind: {number}")
    ask(gate, "/other")
    assert 1 <= gate.settled_metrics()["headgate_cache_objects"] < 200
    _, newest = ask(gate, "/vary/many", "X-Kind: 299")
    _, oldest = ask(gate, "/vary/many", "X-Kind: 0")
    _, other = ask(gate, "/other")
    assert is_hit(newest)
    assert not is_hit(oldest)
    assert is_hit(other)


def test_a_variant_goes_to_those_who_asked_for_it(gate):
    ask(gate, "/vary/own", "X-Kind: evil")
    _, answer = ask(gate, "/vary/own", "X-Kind: good")
    assert b"evil" not in answer
    _, absent = ask(gate, "/vary/own")
    assert b"evil" not in absent
    assert b"good" not in absent


def test_an_answer_to_credentials_is_its_owner_s(gate):
    ask(gate, "/mine", "Authorization: Bearer secret")
    _, answer = ask(gate, "/mine")
    assert b"secret" not in answer
    assert not is_hit(answer)


@pytest.mark.parametrize("method", ["PURGE", "BAN", "REFRESH"])
def test_no_method_purges(gate, method):
    """Purging is the admin API's, whatever a client sends: it makes a response be confirmed, not go."""
    target = f"/method-{method.lower()}"
    ask(gate, target)
    ask(gate, target, method=method)
    _, answer = ask(gate, target)
    assert b'if-none-match: "1"' in answer.lower()
