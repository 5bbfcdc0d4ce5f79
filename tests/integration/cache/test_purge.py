"""Purges by `headgate purge` and the admin API, through a gate of two workers."""

import json
import subprocess

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import wait_for

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


def command(gate, *words):
    return gate.run(*words)


def purge(gate, *arguments):
    done = command(gate, "purge", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["purged"]
    assert (answer["workers"], answer["behind"]) == (2, [])
    return answer


def fill(gate, story, path, *lines):
    """Have both workers store what is at a path; return a function that tells how often the origin was asked."""
    story.tell(path, b"old", LIVES, 'ETag: "1"', *lines)
    hits = 0
    while hits < 6:  # in a row: the kernel spreads connections over the workers
        hits = hits + 1 if "hit" in ask(gate, path).cache else 0
    return lambda: len(story.asked(path))


@pytest.mark.parametrize(
    "arguments",
    [
        ["{url}"],
        ["--prefix", "{base}/one"],
        ["--host", "{host}"],
        ["--tag", "blue"],
        ["--everything"],
    ],
)
def test_each_kind_purges_in_all_workers(gate, story, arguments):
    host = f"127.0.0.1:{gate.http_ports[0]}"
    base = f"http://{host}"
    path = "/one" + arguments[0].strip("{}-")
    asked = fill(gate, story, path, "Cache-Tag: red, blue")
    before = asked()
    story.tell(path, b"new", LIVES, 'ETag: "2"', "Cache-Tag: red, blue")
    purge(gate, *(word.format(url=base + path, base=base, host=host) for word in arguments))
    assert {ask(gate, path).body for _ in range(8)} == {b"new"}
    assert before < asked() <= before + 2


def test_others_stay(gate, story):
    fill(gate, story, "/stays", "Surrogate-Key: other")
    host = f"127.0.0.1:{gate.http_ports[0]}"
    for arguments in (["--tag", "blue"], ["--prefix", f"http://{host}/sta/"], ["--host", "other.example"]):
        purge(gate, *arguments)
    assert all("hit" in ask(gate, "/stays").cache for _ in range(6))


def test_what_was_purged_softly_is_confirmed(gate, story):
    asked = fill(gate, story, "/soft", "Cache-Tag: soft")
    before = asked()
    purge(gate, "--tag", "soft", "--soft")
    first = ask(gate, "/soft")
    assert (first.body, "detail=purged" in first.cache) == (b"old", True)
    assert story.asked("/soft")[-1].get("if-none-match") == '"1"'
    assert before < asked() <= before + 2


def test_a_url_is_purged_under_the_keys_that_routes_make_of_it(gate, story):
    path = "/counted?a=1"
    fill(gate, story, path)
    story.tell(path, b"new", LIVES)
    purge(gate, f"http://127.0.0.1:{gate.http_ports[0]}{path}&utm_source=mail")
    assert {ask(gate, path).body for _ in range(8)} == {b"new"}


def test_an_answer_under_way_is_purged_too(gate, story):
    answer = story.tell("/under-way", b"old" * 100, LIVES, "Cache-Tag: late")
    answer.middle.clear()
    reader = subprocess.Popen(
        ["curl", "-sS", f"http://127.0.0.1:{gate.http_ports[0]}/under-way"], stdout=subprocess.PIPE
    )
    wait_for("the origin asked", lambda: story.asked("/under-way"))
    wait_for("the head there", lambda: gate.metrics()["headgate_cache_fills_total"] > 0)
    purge(gate, "--tag", "late")
    answer.middle.set()
    assert reader.communicate(timeout=20)[0] == b"old" * 100
    story.tell("/under-way", b"new", LIVES)
    assert {ask(gate, "/under-way").body for _ in range(8)} == {b"new"}


def test_the_table(gate, story):
    fill(gate, story, "/table")
    shown = command(gate, "cache")
    assert shown.returncode == 0
    assert "hit ratio" in shown.stdout
    rows = json.loads(command(gate, "cache", "--json").stdout)["cache"]
    assert [row["name"] for row in rows] == ["worker 0", "worker 1", "all"]
    total = rows[2]
    assert total["objects"] == rows[0]["objects"] + rows[1]["objects"] >= 1
    assert 0.0 < total["hit_ratio"] <= 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing was named"),
        (["/path"], "it begins with http"),
        (["--tag", ""], "visible characters"),
    ],
)
def test_what_is_not_clear_is_refused(gate, arguments, said):
    done = command(gate, "purge", *arguments)
    assert done.returncode != 0
    assert said in done.stderr
