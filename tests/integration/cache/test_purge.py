"""Purges by `headgate purge` and the admin API, through a gate of two workers."""

import json
import subprocess
from collections import Counter

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import Gate, wait_for

from headgate.admin.client import AdminClient

TEXT = """
[cache]
enabled = true
[[route]]
path = "/counted"
upstream = "origin"
[route.cache]
query = "without"
query_names = ["utm_*"]
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
WORKERS = 2
LIVES = "Cache-Control: max-age=600"


GIVEN = Counter()  # the purges of this module, by kind


def purge(gate, *arguments, run=Gate.call):
    done = run(gate, "purge", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["purged"]
    assert (answer["workers"], answer["behind"]) == (2, [])
    GIVEN[answer["kind"]] += 1
    return answer


def fill(gate, story, path, *lines):
    """Have both workers store what is at a path; return a function that tells how often the origin was asked."""
    story.tell(path, b"old", LIVES, 'ETag: "1"', *lines)
    admin = AdminClient(gate.runtime / "admin.sock")
    url = f"http://127.0.0.1:{gate.http_ports[0]}{path}"

    def stored():
        ask(gate, path)  # the kernel deals connections out to the workers
        return all(row["stored"] for row in admin.explain(url, "GET", []))

    wait_for("both workers to have it", stored)
    return lambda: len(story.asked(path))


KINDS = ["{url}", "--prefix {base}/{name}", "--host {host}", "--tag {name}", "--everything"]


def named(gate, kind, path):
    """Return the path and the words of a command for one of KINDS; the path's tag is its name."""
    name = path[1:]
    host = f"127.0.0.1:{gate.http_ports[0]}"
    base = f"http://{host}"
    return kind.format(url=base + path, base=base, host=host, name=name).split()


def path_of(kind, start):
    return f"/{start}-{kind.split()[0].strip('{}-')}"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_purges_in_all_workers(gate, story, kind):
    path = path_of(kind, "hard")
    asked = fill(gate, story, path, f"Cache-Tag: red, {path[1:]}")
    before = asked()
    story.tell(path, b"new", LIVES, 'ETag: "2"')
    purge(gate, *named(gate, kind, path))
    assert {ask(gate, path).body for _ in range(8)} == {b"new"}
    assert before < asked() <= before + 2


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_purges_softly(gate, story, kind):
    path = path_of(kind, "soft")
    asked = fill(gate, story, path, f"Cache-Tag: red, {path[1:]}")
    before = asked()
    assert purge(gate, *named(gate, kind, path), "--soft")["soft"] is True
    replies = [ask(gate, path) for _ in range(8)]
    assert {reply.body for reply in replies} == {b"old"}
    assert "fwd=stale" in replies[0].cache
    assert "detail=purged" in replies[0].cache
    assert before < asked() <= before + 2
    assert {head.get("if-none-match") for head in story.asked(path)[before:]} == {'"1"'}
    # What is marked may stand in for an origin that is silent, and is confirmed once it speaks again.
    purge(gate, *named(gate, kind, path), "--soft")
    story.answers[path].drops = True
    reply = ask(gate, path)
    assert (reply.status, reply.body) == (200, b"old")
    assert "detail=unreachable" in reply.cache
    story.tell(path, b"new", LIVES, 'ETag: "2"')
    assert {ask(gate, path).body for _ in range(8)} == {b"new"}


@pytest.mark.parametrize("kind", KINDS[:4])
def test_what_is_not_meant_is_not_confirmed(gate, story, kind):
    path = path_of(kind, "meant")
    asked = fill(gate, story, "/other", "Cache-Tag: red")
    before = asked()
    words = named(gate, kind, path)
    if "--host" in words:
        words[-1] = "127.0.0.2"
    purge(gate, *words, "--soft")
    assert all("hit" in ask(gate, "/other").cache for _ in range(6))
    assert asked() == before


def test_purges_are_counted_by_kind(gate):
    purge(gate, "--everything", run=Gate.run)
    purge(gate, "--tag", "none")

    def counted():
        now = gate.metrics()
        kinds = ("everything", "host", "prefix", "tag", "url")
        found = {kind: now[f'headgate_cache_purges_total{{kind="{kind}"}}'] for kind in kinds}
        return found == {kind: GIVEN[kind] for kind in kinds}

    wait_for("the keeper's figures", counted)
    total = json.loads(gate.call("cache", "--json").stdout)["cache"][-1]
    assert total["purges"] == {kind: GIVEN[kind] for kind in total["purges"]}
    (line,) = [line for line in gate.call("cache").stdout.splitlines() if line.startswith("purges: ")]
    assert f"{total['purges']['everything']} everything" in line


def test_others_stay(gate, story):
    fill(gate, story, "/stays", "Surrogate-Key: other")
    host = f"127.0.0.1:{gate.http_ports[0]}"
    for arguments in (["--tag", "blue"], ["--prefix", f"http://{host}/sta/"], ["--host", "other.example"]):
        purge(gate, *arguments)
    assert all("hit" in ask(gate, "/stays").cache for _ in range(6))


def test_a_url_is_purged_under_the_keys_that_routes_make_of_it(gate, story):
    path = "/counted?a=1"
    fill(gate, story, path)
    story.tell(path, b"new", LIVES)
    purge(gate, f"http://127.0.0.1:{gate.http_ports[0]}{path}&utm_source=mail")
    assert {ask(gate, path).body for _ in range(8)} == {b"new"}


def test_an_answer_under_way_is_purged_too(gate, story):
    answer = story.tell("/under-way", b"old" * 100, LIVES, "Cache-Tag: late")
    answer.middle.clear()
    fills = gate.settled_metrics()["headgate_cache_fills_total"]
    reader = subprocess.Popen(
        ["curl", "-sS", f"http://127.0.0.1:{gate.http_ports[0]}/under-way"], stdout=subprocess.PIPE
    )
    wait_for("the origin asked", lambda: story.asked("/under-way"))
    wait_for("the head there", lambda: gate.metrics()["headgate_cache_fills_total"] > fills)
    purge(gate, "--tag", "late")
    answer.middle.set()
    assert reader.communicate(timeout=20)[0] == b"old" * 100
    story.tell("/under-way", b"new", LIVES)
    assert {ask(gate, "/under-way").body for _ in range(8)} == {b"new"}


def totals(gate):
    done = gate.call("cache", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["cache"]


def test_what_the_caches_have_done(gate, story):
    fill(gate, story, "/table")
    gate.settle()
    before = totals(gate)[-1]
    story.tell("/kept", b"k" * 1000, LIVES)
    story.tell("/passed", b"p" * 500, "Cache-Control: no-store")
    for path in ("/kept", "/kept", "/kept", "/kept", "/passed"):
        ask(gate, path)
    assert len(story.asked("/kept")) == 1
    url = f"http://127.0.0.1:{gate.http_ports[0]}/kept"
    # One worker has it of the origin; the other may have a copy of that, which is no octet from the origin.
    copies = sum(
        bool(row["stored"]) for row in AdminClient(gate.runtime / "admin.sock").explain(url, "GET", [])
    )

    gate.settle()
    after = totals(gate)[-1]
    assert sum(after["outcomes"].values()) - sum(before["outcomes"].values()) == 5
    grown = {
        word: after[word] - before[word]
        for word in (
            "fills",
            "stored",
            "refused",
            "evicted",
            "filled_octets",
            "passed_octets",
            "served_octets",
        )
    }
    assert grown == {
        "fills": copies,
        "stored": copies,
        "refused": 0,
        "evicted": 0,
        "filled_octets": 1000,
        "passed_octets": 500,
        "served_octets": 4000,
    }
    fetched = after["filled_octets"] + after["passed_octets"]
    sent = after["served_octets"] + after["passed_octets"]
    assert after["octets_hit_ratio"] == pytest.approx(1 - fetched / sent)
    assert 0.0 < after["hit_ratio"] <= 1.0
    rows = totals(gate)
    assert [row["name"] for row in rows] == ["worker 0", "worker 1", "all"]
    assert rows[2]["objects"] == rows[0]["objects"] + rows[1]["objects"] >= 1
    assert "purges" not in rows[0]
    assert "disk" not in rows[2]


def test_the_tables(gate, story):
    fill(gate, story, "/table")
    shown = gate.run("cache")
    assert shown.returncode == 0
    words = [
        "worker",
        "hits",
        "stale",
        "confirmed",
        "collapsed",
        "misses",
        "bypassed",
        "504",
        "hit",
        "ratio",
        "of",
        "octets",
        "served",
        "fetched",
    ]
    lines = [line.split() for line in shown.stdout.splitlines() if line]
    assert lines[0] == words
    assert lines[4][:9] == [
        "worker",
        "objects",
        "memory",
        "fills",
        "stored",
        "refused",
        "broken",
        "off",
        "evicted",
    ]
    assert [line[0] for line in lines[1:4]] == [line[0] for line in lines[5:8]] == ["worker", "worker", "all"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing was named"),
        (["/path"], "it begins with http"),
        (["--tag", ""], "visible characters"),
    ],
)
def test_what_is_not_clear_is_refused(gate, arguments, said):
    done = gate.call("purge", *arguments)
    assert done.returncode != 0
    assert said in done.stderr


def test_rfc9111_4_4_what_an_unsafe_request_makes_old_no_worker_serves(gate, story):
    """The kernel deals connections out: in twenty of them are some of each worker."""
    for number in range(3):
        path = f"/unsafe{number}"
        fill(gate, story, path)
        story.tell(path, b"new", LIVES, 'ETag: "2"')
        assert ask(gate, path, "POST").status == 200
        assert {ask(gate, path).body for _ in range(20)} == {b"new"}
