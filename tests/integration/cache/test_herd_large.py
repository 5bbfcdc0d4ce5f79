"""Large objects and slices for all workers together, through a gate of two with a disk."""

import asyncio
import os
from contextlib import suppress

from tests.integration.cache.test_herd import LISTENER, WORKERS, answered
from tests.integration.gate import wait_for

from headgate.admin.client import AdminClient

__all__ = ["LISTENER", "WORKERS"]

TEXT = """
[cache]
enabled = true
memory = "16MiB"
max_object = "1MiB"
disk = "256MiB"
[[route]]
path = "/sliced"
upstream = "origin"
[route.cache]
slice = "64KiB"
slice_prefetch = 1
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
LIVES = "Cache-Control: max-age=600"


def test_what_is_larger_than_memory_is_asked_for_once(gate, story):
    body = os.urandom(3 << 20)
    for slot in (0, 1):
        path = f"/large-{slot}"
        story.tell(path, body, LIVES)
        clients = asyncio.run(answered(gate, path, 24))
        assert all(client.body == body for client in clients)
        assert len(story.asked(path)) == 1


def test_what_memory_can_have_is_on_the_disk_once(gate, story):
    body = os.urandom(300_000)
    files = gate.state / "cache"

    def there():
        """Count files of this size: those of other tests may be on their way there, or away, just now."""
        count = 0
        for found in files.rglob("*"):
            with suppress(FileNotFoundError):
                count += len(body) <= found.stat().st_size <= len(body) + 4096
        return count

    assert there() == 0
    path = "/once"
    story.tell(path, body, LIVES)
    clients = asyncio.run(answered(gate, path, 60))
    assert all(client.body == body for client in clients)
    wait_for("the file", lambda: there() > 0)
    assert (there(), len(story.asked(path))) == (1, 1)


def test_slices_are_asked_for_once(gate, story):
    body = os.urandom(400_000)
    for slot in (0, 1):
        path = f"/sliced/once-{slot}"
        answer = story.tell(path, body, LIVES, 'ETag: "1"')
        answer.ranges = True
        clients = asyncio.run(answered(gate, path, 40))
        assert all(client.body == body for client in clients)
        ranges = [head.get("range") for head in story.asked(path)]
        assert len(ranges) == len(set(ranges)) == 7


def test_what_changes_between_slices_is_got_anew_by_all(gate, story):
    admin = AdminClient(gate.runtime / "admin.sock")
    for slot in (0, 1):
        path = f"/sliced/new-{slot}"
        for version in range(3):
            body = os.urandom(200_000)
            answer = story.tell(path, body, "Cache-Control: max-age=600", f'ETag: "{version}"')
            answer.ranges = True
            admin.purge("url", f"http://site{path}", is_soft=False)
            clients = asyncio.run(answered(gate, path, 20))
            assert {client.body for client in clients} == {body}


def test_an_origin_without_ranges_is_found_out_by_each_worker(gate, story):
    for slot in (0, 1):
        path = f"/sliced/never-{slot}"
        body = os.urandom(200_000)
        story.tell(path, body, LIVES)
        clients = asyncio.run(answered(gate, path, 40))
        assert {client.body for client in clients} == {body}
        # Each asks for a slice once and is told, and all of it is asked for once.
        ranges = [head.get("range") for head in story.asked(path)]
        assert ranges.count(None) == 1
        assert len(ranges) <= 4
