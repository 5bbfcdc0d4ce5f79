"""From configuration to probes: targets, what is sent of verdicts, and when the file is written."""

import asyncio

import orjson
import pytest

from headgate.config.loader import loads
from headgate.counters import SIZE
from headgate.process.probes import (
    FORGET_SECONDS,
    MAX_FOLLOWED,
    REFRESH_SECONDS,
    SAVE_SECONDS,
    Probes,
    target_of,
    targets_of,
)
from headgate.process.verdicts import BATCH, decode_verdicts, encode_verdict
from headgate.testing.clock import FakeClock, settle
from headgate.upstream.checks import Verdict
from headgate.upstream.health import DOWN, PENDING, UP
from headgate.upstream.probe import Target

ILL = Verdict(DOWN, "refused", 5.0)
URL = "http://10.0.0.1:80"
TEXT = """
[[listener]]
addresses = ["127.0.0.1:0"]
mode = "http"
[[route]]
upstream = "api"
[upstream.api]
endpoints = ["http://10.0.0.1", "http://10.0.0.2"]
[upstream.shop]
endpoints = ["http://10.0.0.3"]
[upstream.quiet]
endpoints = ["http://10.0.0.4"]
[upstream.quiet.health]
kind = "off"
"""


class Room:
    def __init__(self, folder, tables="[upstream.api.health]\n", known=None):
        text = f'state_dir = "{folder}"\n{TEXT}{tables}'
        self.clock = FakeClock()
        self.told = []
        self.published = 0
        self.probes = Probes(
            loads(text, environ={}, files=False),
            {},
            known or {},
            None,
            self.clock,
            lambda: 0.5,
            [0] * SIZE,
            self,
            lambda name, error: None,
            self._published,
        )
        self.file = folder / "health.json"

    def wait(self, seconds):
        asyncio.run(self.clock.advance(seconds))

    def _published(self):
        self.published += 1

    def event(self, name, level="info", *, limit_key="", **fields):
        self.told.append((name, fields))


def test_only_those_with_a_table_are_probed(tmp_path):
    groups = Room(tmp_path).probes.checks.groups
    assert list(groups) == ["api"]
    assert list(groups["api"].checks) == [URL, "http://10.0.0.2:80"]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://10.0.0.1:80", Target("http://10.0.0.1:80", "http", "10.0.0.1", 80, "10.0.0.1")),
        ("https://[::1]:443", Target("https://[::1]:443", "https", "::1", 443, "::1")),
        ("unix:/run/app.sock", Target("unix:/run/app.sock", "http", "localhost", 0, "unix:/run/app.sock")),
    ],
)
def test_targets(url, target):
    assert target_of(url) == target


@pytest.mark.parametrize(
    ("asgi", "places"),
    [("", ["unix"]), ("processes = 2", ["unix", "unix"]), ("in_worker = true", [])],
)
def test_each_process_of_an_application_is_a_target(tmp_path, asgi, places):
    text = f'state_dir = "{tmp_path}"\nruntime_dir = "{tmp_path}"\n{TEXT}'
    text += f'[upstream.app]\nendpoints = ["asgi:shop:app"]\n[upstream.app.asgi]\n{asgi}\n'
    config = loads(text, environ={}, files=False)
    found = targets_of("app", config.upstream["app"], config.runtime_dir)
    assert [target.at.partition(":")[0] for target in found] == places
    assert len({target.url for target in found}) == len(places)


def test_what_is_known_is_where_probes_begin(tmp_path):
    room = Room(tmp_path, known={"api": {URL: encode_verdict(ILL)}})
    checks = room.probes.checks.groups["api"].checks
    assert [check.verdict for check in checks.values()] == [DOWN, PENDING]
    assert room.probes.next_message() is None


def test_who_is_known_and_gone_is_taken_back(tmp_path):
    room = Room(tmp_path, known={"api": {"http://10.0.0.9:80": encode_verdict(ILL)}})
    assert room.probes.next_message() == {"name": "api", "endpoints": {"http://10.0.0.9:80": None}}


NAMED = """
[upstream.named]
endpoints = [{ url = "https://app.internal:8443", resolve = "each" }, "https://10.0.0.5"]
[upstream.named.health]
start = "wait-for-first-check"
"""
FOUND = "https://10.1.0.1:8443"


def test_endpoints_of_names_are_those_that_workers_have(tmp_path):
    room = Room(tmp_path, NAMED, known={"named": {FOUND: encode_verdict(ILL)}})
    checks = room.probes.checks.groups["named"].checks
    assert list(checks) == ["https://10.0.0.5:443"]
    assert room.probes.next_message() is None  # what is known of others is kept until they show up
    room.probes.follow([("named", FOUND, "app.internal"), ("api", "http://10.9.9.9:80", "x")])
    assert checks[FOUND].target == Target(FOUND, "https", "app.internal", 8443, "10.1.0.1")
    assert checks[FOUND].verdict == DOWN
    assert "api" not in room.probes.checks.groups


def test_an_endpoint_that_no_worker_has_is_forgotten_after_a_while(tmp_path):
    room = Room(tmp_path, NAMED, known={"named": {FOUND: encode_verdict(ILL)}})
    room.probes.follow([("named", FOUND, "app.internal")])
    room.wait(FORGET_SECONDS - 1)
    room.probes.follow([])
    assert FOUND in room.probes.checks.groups["named"].checks
    room.wait(1.0)
    room.probes.follow([])
    assert FOUND not in room.probes.checks.groups["named"].checks
    assert room.probes.next_message() == {"name": "named", "endpoints": {FOUND: None}}


def test_endpoints_of_names_at_the_limit_and_one_more(tmp_path):
    room = Room(tmp_path, NAMED)
    places = [f"https://10.2.{n // 256}.{n % 256}:8443" for n in range(MAX_FOLLOWED + 1)]
    room.probes.follow([("named", url, "app.internal") for url in places])
    assert len(room.probes.checks.groups["named"].checks) == MAX_FOLLOWED + 1  # and the one without a name


def test_the_first_round_waits_until_names_stand_for_somebody(tmp_path):
    async def scenario():
        room = Room(tmp_path, NAMED.replace(', "https://10.0.0.5"', ""))
        round_ = asyncio.ensure_future(room.probes.first_round())
        await settle()
        assert not round_.done()
        room.probes.follow([("named", FOUND, "app.internal")])
        await settle()
        assert not round_.done()  # it is known now, and not probed yet
        room.probes.checks.set_targets("named", [])
        await settle()
        round_.cancel()

    asyncio.run(scenario())


def test_verdicts_are_sent_in_batches_by_upstream_and_newer_replace_older(tmp_path):
    room = Room(tmp_path)
    for number in range(BATCH + 1):
        room.probes._publish("api", f"u{number}", ILL)
    room.probes._publish("shop", "s", None)
    room.probes._publish("api", "u0", Verdict(UP, "status 200", 6.0))
    assert room.published == BATCH + 3
    messages = []
    while (message := room.probes.next_message()) is not None:
        messages.append(message)
    assert [(m["name"], len(m["endpoints"])) for m in messages] == [("api", BATCH), ("api", 1), ("shop", 1)]
    assert decode_verdicts(messages[0]["endpoints"])["u0"].verdict == UP
    assert messages[2]["endpoints"] == {"s": None}
    assert len(orjson.dumps(messages[0])) < 128 * 1024


def test_the_file_is_written_soon_after_a_change_and_now_and_then_else(tmp_path):
    room = Room(tmp_path)
    room.probes._publish("api", URL, ILL)
    room.probes.sweep()
    assert not room.file.exists()
    room.wait(SAVE_SECONDS)
    room.probes.sweep()
    first = orjson.loads(room.file.read_bytes())
    assert first["upstreams"] == {"api": {URL: encode_verdict(ILL)}}
    room.wait(REFRESH_SECONDS - 1)
    room.probes.sweep()
    assert orjson.loads(room.file.read_bytes()) == first
    room.wait(1.0)
    room.probes.sweep()
    assert orjson.loads(room.file.read_bytes())["at"] > first["at"]


def test_what_is_known_is_repeated_once_a_minute(tmp_path):
    room = Room(tmp_path, known={"api": {URL: encode_verdict(ILL)}})
    room.wait(REFRESH_SECONDS - 1)
    room.probes.sweep()
    assert room.probes.next_message() is None
    room.wait(1.0)
    room.probes.sweep()
    assert room.probes.next_message() == {"name": "api", "endpoints": {URL: encode_verdict(ILL)}}


def test_without_probes_no_file_is_written(tmp_path):
    room = Room(tmp_path, tables="")
    room.probes.save()
    assert not room.file.exists()


def test_a_disk_that_fails_is_told(tmp_path):
    room = Room(tmp_path)
    room.file.mkdir()
    room.probes.save()
    ((name, fields),) = room.told
    assert name == "health-not-saved"
    assert fields["errno"]
    assert fields["next"]
