"""One line for each exchange, whatever a peer put into it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.access_log import (
    BATCH,
    LINE_LIMIT,
    TARGET_LIMIT,
    AccessLog,
    connection_fields,
    text,
)

CONNECTION = connection_fields("203.0.113.7:51234", "[::]:443", "HTTP/1.1", "TLSv1.3", b"example.com")


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.lines = []
        self.writes = 0
        self.reopened = 0
        self.closed = 0

    def write(self, lines):
        self.writes += 1
        self.lines += lines

    def reopen(self):
        self.reopened += 1

    def close(self):
        self.closed += 1


def record(log, **changes):
    values = {
        "connection": CONNECTION,
        "wall": 1767323045.1239,
        "method": b"GET",
        "host": b"example.com",
        "target": b"/a?b=c",
        "status": 200,
        "bytes_in": 3,
        "bytes_out": 1234,
        "duration": 0.0123456,
        "upstream": "api",
        "endpoint": "10.0.0.1:8080",
        "upstream_duration": 0.01,
        "retries": 0,
        "route": "/api/",
        "reason": "",
        "user_agent": b"curl/8",
        "request_id": b"",
    }
    log.record(**(values | changes))


def one_line(**changes):
    kept = Kept()
    log = AccessLog(kept)
    record(log, **changes)
    log.flush()
    assert len(kept.lines) == 1
    return kept.lines[0]


def test_a_line_has_what_was_given_and_nothing_that_was_not():
    assert json.loads(one_line()) == {
        "time": "2026-01-02T03:04:05.123Z",
        "method": "GET",
        "host": "example.com",
        "target": "/a?b=c",
        "status": 200,
        "bytes_in": 3,
        "bytes_out": 1234,
        "duration_ms": 12.345,
        "upstream": "api",
        "endpoint": "10.0.0.1:8080",
        "upstream_ms": 10.0,
        "route": "/api/",
        "user_agent": "curl/8",
        "client": "203.0.113.7:51234",
        "listener": "[::]:443",
        "protocol": "HTTP/1.1",
        "tls": "TLSv1.3",
        "sni": "example.com",
    }


def test_what_is_rare_appears_when_it_is_there():
    line = json.loads(
        one_line(
            retries=1,
            reason="connect-timeout",
            request_id=b"abc",
            upstream="",
            upstream_duration=-1.0,
            upstream_protocol="HTTP/3.0",
        )
    )
    assert line["upstream_protocol"] == "HTTP/3.0"
    assert line["retries"] == 1
    assert line["reason"] == "connect-timeout"
    assert line["request_id"] == "abc"
    assert "upstream" not in line
    assert "upstream_ms" not in line


def test_the_second_is_remembered_and_renewed():
    kept = Kept()
    log = AccessLog(kept)
    for wall in (1767323045.0, 1767323045.999, 1767323046.0):
        record(log, wall=wall)
    log.flush()
    assert [json.loads(line)["time"][17:] for line in kept.lines] == ["05.000Z", "05.999Z", "06.000Z"]


def test_hostile_bytes_cannot_break_a_line_or_move_a_cursor():
    hostile = b'/\xff\xc2\x9b2J\x1b[31m"\\\r\n\x00\x7f\xe2\x80\xa8\xe2\x80\xae\xed\xa0\x80'
    line = one_line(target=hostile, user_agent=hostile, method=b"G\xffT", host=b"\x80")
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    shown = line[:-1].decode("utf-8")
    assert all(c >= " " and not "\x7f" <= c <= "\x9f" and c not in "\u2028\u2029\u202e" for c in shown)
    target = json.loads(line)["target"]
    assert target.startswith('/\\xff\\u009b2J\x1b[31m"\\\r\n\x00\\u007f\\u2028\\u202e')
    assert target.endswith("\\xed\\xa0\\x80")


def test_valid_utf8_is_shown_as_it_is():
    assert json.loads(one_line(target="/käse/チーズ".encode()))["target"] == "/käse/チーズ"


def test_a_target_at_the_limit_is_whole_and_one_more_is_cut():
    whole = json.loads(one_line(target=b"/" * TARGET_LIMIT))
    assert len(whole["target"]) == TARGET_LIMIT
    assert "cut" not in whole
    cut = json.loads(one_line(target=b"/" * (TARGET_LIMIT + 1)))
    assert len(cut["target"]) == TARGET_LIMIT
    assert cut["cut"] is True


@given(
    st.binary(max_size=40),
    st.sampled_from([b"\x01", b"\xff", b'"', "\u2028".encode(), b"a"]),
    st.sampled_from(["\udc80", "é", "x"]),
)
def test_no_line_exceeds_an_atomic_write(start, filler, own):
    peer = start + filler * 70_000
    line = one_line(
        connection=connection_fields(own * 300, own * 300, own * 300, own * 300, peer),
        method=peer,
        host=peer,
        target=peer,
        user_agent=peer,
        request_id=peer,
        route=own * 3000,
        upstream=own * 3000,
        endpoint=own * 3000,
        reason=own * 3000,
    )
    assert len(line) <= LINE_LIMIT
    assert json.loads(line)["cut"] is True


def test_a_name_of_ours_with_lone_surrogates_is_logged():
    assert json.loads(one_line(route="caf\udce9"))["route"].startswith("caf\\x")


@given(st.binary(max_size=200))
def test_text_can_always_be_encoded(value):
    assert text(value).encode("utf-8") is not None


def test_a_full_batch_is_written_without_being_asked():
    kept = Kept()
    log = AccessLog(kept)
    for _ in range(BATCH - 1):
        record(log)
    assert kept.writes == 0
    record(log)
    assert (kept.writes, len(kept.lines)) == (1, BATCH)


def test_off_keeps_nothing():
    log = AccessLog(None)
    assert not log.enabled
    for _ in range(BATCH + 1):
        record(log)
    log.flush()
    log.reopen()
    log.close()


def test_reopen_and_close_flush_first():
    kept = Kept()
    log = AccessLog(kept)
    record(log)
    log.reopen()
    assert (len(kept.lines), kept.reopened) == (1, 1)
    record(log)
    log.close()
    assert (len(kept.lines), kept.closed) == (2, 1)
    record(log)
    log.flush()
    assert len(kept.lines) == 2
