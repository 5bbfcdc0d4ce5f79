"""Purges as people write them, and who has obeyed."""

import asyncio
import itertools

import pytest

from headgate.cache.purges import EVERYTHING, HOST, PREFIX, TAG, URL
from headgate.clock import SystemClock
from headgate.process.cache_view import MAX_PATTERN, PurgeError, Purger, pattern_of


@pytest.mark.parametrize(
    ("kind", "text", "read"),
    [
        ("url", "HTTPS://Example.COM:443/a/../b?q=1", (URL, "https://example.com/b?q=1")),
        ("url", "http://example.com", (URL, "http://example.com/")),
        ("url", "http://example.com:8080/", (URL, "http://example.com:8080/")),
        ("prefix", "HTTP://Example.com/News/", (PREFIX, "http://example.com/News/")),
        ("host", "Example.com:8443", (HOST, "example.com:8443")),
        ("tag", "Product-7", (TAG, "Product-7")),
        ("everything", "true", (EVERYTHING, "")),
    ],
)
def test_patterns_become_what_keys_have(kind, text, read):
    assert pattern_of(kind, text) == read


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("url", "/path"),
        ("url", "ftp://example.com/"),
        ("url", "https://exa mple.com/"),
        ("prefix", "example.com/"),
        ("host", "example.com/path"),
        ("tag", ""),
        ("tag", "a\nb"),
        ("tag", "a" * (MAX_PATTERN + 1)),
        ("all", "x"),
    ],
)
def test_what_cannot_be_read_is_said(kind, text):
    with pytest.raises(PurgeError, match=kind):
        pattern_of(kind, text)


def test_a_pattern_at_the_limit_is_taken():
    assert pattern_of("tag", "a" * MAX_PATTERN)[0] == TAG


def test_all_workers_have_obeyed():
    sent = []

    async def run():
        purger = Purger(sent.append, SystemClock(), itertools.count(1).__next__)
        running = {0: 100, 1: 101}
        task = asyncio.ensure_future(purger.purge(TAG, "a", False, lambda: running, 10))
        await asyncio.sleep(0)
        purger.obeyed(0, sent[0]["generation"])
        purger.obeyed(1, sent[0]["generation"])
        first = await task
        late = await purger.purge(TAG, "b", True, lambda: running, 0.01)
        return first, late

    first, late = asyncio.run(run())
    assert (first["workers"], first["behind"]) == (2, [])
    assert (late["workers"], late["behind"]) == (0, ["worker 0", "worker 1"])
    assert sent[1]["generation"] > sent[0]["generation"]


def test_a_worker_that_ends_is_not_waited_for():
    async def run():
        purger = Purger(lambda purge: None, SystemClock(), itertools.count(1).__next__)
        running = {0: 100}
        task = asyncio.ensure_future(purger.purge(TAG, "a", False, lambda: running, 10))
        await asyncio.sleep(0)
        del running[0]
        purger.changed()
        return await asyncio.wait_for(task, 5)

    assert asyncio.run(run())["behind"] == []
