"""Events are told, floods are not, and nothing of it can raise or wait."""

import json
import os
import pty
import time

import pytest

from headgate.telemetry.event_log import BURST, LINE_LIMIT, WATCHED_LIMIT, WINDOW, EventLog


class SetClock:
    def __init__(self):
        self.time = 100.0

    def now(self):
        return self.time

    def wall(self):
        return 1767323045.5 + self.time - 100.0


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def pipe():
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass


def read_lines(read):
    got = b""
    try:
        while chunk := os.read(read, 1 << 20):
            got += chunk
    except BlockingIOError:
        pass
    return [json.loads(line) for line in got.splitlines()]


def make(pipe, clock, **options):
    return EventLog(pipe[1], "worker-0", clock=clock, **options)


def test_an_event_is_one_json_line(pipe, clock):
    make(pipe, clock).event(
        "dial-failed", "warning", address="[::1]:80", errno="ECONNREFUSED", ms=1.5, tries=[1, b"x"]
    )
    assert read_lines(pipe[0]) == [
        {
            "time": "2026-01-02T03:04:05.500Z",
            "level": "warning",
            "event": "dial-failed",
            "process": "worker-0",
            "address": "[::1]:80",
            "errno": "ECONNREFUSED",
            "ms": 1.5,
            "tries": [1, "x"],
        }
    ]


def test_fields_cannot_replace_who_and_when(pipe, clock):
    make(pipe, clock).event("x", event="forged", time="then", process="other", kept=1)
    (line,) = read_lines(pipe[0])
    assert (line["event"], line["process"], line["kept"]) == ("x", "worker-0", 1)


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "value", ["\udcff", b"\xff\x9b", 2**80, float("nan"), {1: 2}, None, OSError(2, "gone")]
)
def test_any_value_is_written(pipe, clock, value):
    make(pipe, clock).event("odd", value=value)
    assert read_lines(pipe[0])[0]["event"] == "odd"


def test_what_cannot_be_written_is_counted_and_told_with_the_next(pipe, clock):
    log = make(pipe, clock)
    log.event("odd", value=Unprintable())
    assert log.lost == 1
    log.event("fine")
    log.event("fine")
    assert [line.get("events_lost") for line in read_lines(pipe[0])] == [1, None]


def test_a_stuck_reader_costs_events_not_time(pipe, clock):
    log = make(pipe, clock, burst=1_000_000)
    began = time.monotonic()
    while not log.lost:
        log.event("flood", filler="x" * 500)
    assert time.monotonic() - began < 5
    read_lines(pipe[0])
    lost = log.lost
    log.event("again")
    assert read_lines(pipe[0])[0]["events_lost"] == lost


def test_a_reader_that_went_away_does_no_harm(pipe, clock):
    log = make(pipe, clock)
    os.close(pipe[0])
    log.event("x")
    assert log.lost == 1


@pytest.mark.parametrize("filler", ["x", '"', "\x00", "é", "\u2028", "\udcff"])
def test_a_line_is_bounded(pipe, clock, filler):
    log = make(pipe, clock)
    log.event("long", **{f"f{n}": filler * 10_000 for n in range(100)})
    raw = os.read(pipe[0], 1 << 20)
    assert len(raw) <= LINE_LIMIT
    line = json.loads(raw)
    assert line["cut"] is True
    assert line["f0"]


def test_a_flood_is_cut_and_summed_up(pipe, clock):
    log = make(pipe, clock)
    for n in range(BURST + 5):
        log.event("flood", "error", n=n)
    log.event("other")
    lines = read_lines(pipe[0])
    assert [line["event"] for line in lines] == ["flood"] * BURST + ["other"]
    clock.time += WINDOW
    log.sweep()
    (line,) = read_lines(pipe[0])
    assert line["event"] == "events-suppressed"
    assert (line["of"], line["suppressed"], line["level"]) == ("flood", 5, "error")
    log.event("flood", n=0)
    assert read_lines(pipe[0])[0]["event"] == "flood"
    clock.time += WINDOW
    log.sweep()
    assert read_lines(pipe[0]) == []


def test_the_sum_comes_before_the_next_of_its_kind(pipe, clock):
    log = make(pipe, clock, burst=1)
    log.event("flood")
    log.event("flood")
    clock.time += WINDOW
    log.event("flood")
    assert [line["event"] for line in read_lines(pipe[0])] == ["flood", "events-suppressed", "flood"]


def test_events_with_keys_are_limited_apart(pipe, clock):
    log = make(pipe, clock, burst=1)
    for name in ("a", "b", "a"):
        log.event("fetch-failed", limit_key=name, certificate=name)
    log.close()
    lines = read_lines(pipe[0])
    assert [line["certificate"] for line in lines[:2]] == ["a", "b"]
    assert (lines[2]["event"], lines[2]["key"], lines[2]["suppressed"]) == ("events-suppressed", "a", 1)


def test_the_watch_is_bounded(pipe, clock):
    log = make(pipe, clock)
    for n in range(WATCHED_LIMIT + 1):
        log.event("x", limit_key=str(n))
        if n % 100 == 0:
            read_lines(pipe[0])
    assert len(log._windows) == WATCHED_LIMIT


def test_a_terminal_gets_readable_lines_without_foreign_controls(clock):
    master, slave = pty.openpty()
    try:
        log = EventLog(slave, "worker-0", clock=clock)
        log.event("bad-request", "info", target=b"/\x1b[2J\xc2\x9b", why="two words")
        shown = os.read(master, 4096)
    finally:
        os.close(master)
        os.close(slave)
    assert shown == b'03:04:05 info    worker-0 bad-request target=/\\x1b[2J\\u009b why="two words"\r\n'
