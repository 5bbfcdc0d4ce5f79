"""How requests are shared out, as it stands in a file: what is taken, what contradicts itself."""

import pytest
from gate_text import config_of, edited, told

ENDPOINTS = 'endpoints = ["http://10.0.0.1:8080"]'
TCP = 'endpoints = ["tcp://10.0.0.1:5432"]'
TWO = 'endpoints = ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]'
RING = '\nbalance = "ring-hash"\nhash_by = '


def upstream(text):
    return config_of(edited((ENDPOINTS, text))).upstream["api"]


def faults(text):
    return [line.partition(": ")[2] for line in told(edited((ENDPOINTS, text)))]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("client", "client"),
        ("path", "path"),
        ("header:X-Tenant", "header:x-tenant"),
        ("cookie:SID", "cookie:SID"),
    ],
)
def test_what_is_hashed(text, kept):
    assert upstream(f'{ENDPOINTS}{RING}"{text}"').hash_by == kept


@pytest.mark.parametrize("text", ["query", "client:x", "header", "header:", "header:a b", "cookie:a;b", ""])
def test_what_cannot_be_hashed(text):
    (line,) = faults(f'{ENDPOINTS}{RING}"{text}"')
    assert line.startswith('upstream.api.hash_by: expected "client", "path", "header:NAME" or "cookie:NAME"')


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (ENDPOINTS + '\nhash_by = "path"', 'hash_by: has no effect without balance = "ring-hash"'),
        (TWO + '\nbalance = "first"', "balance: first without max_requests"),
        (ENDPOINTS + "\n[upstream.api.queue]\nsize = 5", "queue: has no effect without max_requests"),
        ('endpoints = [{ url = "http://a", backup = true }]', "endpoints: all of them are backups"),
        (
            'endpoints = [{ url = "http://10.0.0.1", resolve = "each" }]',
            "endpoints.resolve: http://10.0.0.1:80",
        ),
        (
            'endpoints = [{ url = "unix:/run/a", resolve = "each" }]',
            "endpoints.resolve: unix:/run/a has no",
        ),
        (
            'endpoints = [{ url = "http://api.test", resolve = "srv" }]',
            "endpoints.resolve: srv of api.test",
        ),
        (
            'endpoints = [{ url = "http://_http._tcp.a", resolve = "each" }]',
            "endpoints.resolve: each of _http",
        ),
        (
            'endpoints = [{ url = "https://a.test", resolve = "each" }]\nprotocols = ["h3"]',
            "endpoints.resolve: not built yet: HTTP/3",
        ),
        (TCP + RING + '"path"', "hash_by: path with tcp:// endpoints"),
        (TCP + '\nsticky_cookie = "a"', "sticky_cookie: has no effect with tcp:// endpoints"),
        (ENDPOINTS + '\nsticky_cookie = "a b"', "sticky_cookie: expected the name of a cookie"),
    ],
)
def test_what_contradicts_itself(text, line):
    found = [fault for fault in faults(text) if not fault.startswith("route.")]
    assert [fault.startswith(f"upstream.api.{line}") for fault in found] == [True]


def test_what_goes_together():
    text = 'endpoints = ["http://a", { url = "http://b", max_requests = 0 }]\nmax_requests = 9\nbalance = "first"'
    made = upstream(text + '\n[upstream.api.queue]\ntimeout = "2s"')
    assert [endpoint.max_requests for endpoint in made.endpoints] == [None, 0]
    assert (made.max_requests, made.queue.size, made.queue.timeout) == (9, 1024, 2.0)
