"""What a limit keeps from being stored is counted, and told once with the route."""

from tests.integration.cache.test_poisoning import ask, is_hit
from tests.integration.gate import wait_for

TEXT = """
[cache]
enabled = true
memory = "4MiB"
[[route]]
upstream = "origin"
[route.cache]
max_variants = 2
key_headers = ["x-part"]
[[route]]
path = "/many"
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
MINUTE = "Cache-Control: max-age=60"


def told(gate, limit):
    return [e["detail"] for e in gate.events("cache-limit") if limit in e["detail"]]


def counted(gate, limit, number):
    name = f'headgate_cache_limited_total{{limit="{limit}"}}'
    wait_for(f"{name} to be {number}", lambda: gate.metrics().get(name) == number)


def test_keys_that_are_too_long(gate, story):
    story.tell("/" + "k" * 8000, b"x", MINUTE)
    for part in ("a" * 100, "b" * 100):
        ask(gate, "/" + "k" * 8000, f"X-Part: {part}")  # kept
    story.tell("/" + "k" * 8180, b"x", MINUTE)
    for part in ("a" * 100, "b" * 100):
        _, answer = ask(gate, "/" + "k" * 8180, f"X-Part: {part}")
        assert b"detail=bypassed" in answer
    counted(gate, "key", 2)
    assert len(told(gate, "a key of more than 8192")) == 1
    assert "route " in told(gate, "a key of more than 8192")[0]


def test_a_vary_that_is_too_long(gate, story):
    for count, path in ((16, "/vary-16"), (17, "/vary-17")):
        story.tell(path, b"x", MINUTE, "Vary: " + ", ".join(f"X-{n}" for n in range(count)))
        for _ in range(2):
            _, answer = ask(gate, path)
        assert is_hit(answer) is (count == 16)
    story.tell("/vary-any", b"x", MINUTE, "Vary: *")
    ask(gate, "/vary-any")
    counted(gate, "vary", 2)
    assert len(told(gate, "a Vary of more than 16")) == 1


def test_one_variant_too_many(gate, story):
    story.tell("/variants", b"x", MINUTE, "Vary: X-Kind")
    for kind in range(2):
        ask(gate, "/variants", f"X-Kind: {kind}")
    gate.settle()
    counted(gate, "variants", 0)
    assert told(gate, "more variants than fit") == []
    for kind in range(2, 5):
        ask(gate, "/variants", f"X-Kind: {kind}")
    counted(gate, "variants", 3)
    assert len(told(gate, "more variants than fit")) == 1


def test_each_route_has_a_limit_of_its_own(gate, story):
    """The other one lets a key have 32."""
    for path in ("/few", "/many"):
        story.tell(path, b"x", MINUTE, "Vary: X-Kind")
        for kind in range(3):
            ask(gate, path, f"X-Kind: {kind}")
    hits = [is_hit(ask(gate, path, "X-Kind: 0")[1]) for path in ("/few", "/many")]
    assert hits == [False, True]
