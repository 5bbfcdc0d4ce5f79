"""What HTTP/2 connections count stands in the counters."""

from headgate.connection.h2_counts import count_client, count_client_end, count_origin, count_origin_end
from headgate.counters import (
    H2_CLOSED_FIRST,
    H2_CODES,
    H2_GIVEN_UP,
    H2_REASONS,
    H2_RESET_FIRST,
    SIZE,
    UPSTREAM_H2_CLOSED_FIRST,
    UPSTREAM_H2_RESET_FIRST,
)
from headgate.engine.h2 import errors


def moved(values):
    return {index: value for index, value in enumerate(values) if value}


def test_resets_are_taken_over_once():
    values = [0] * SIZE
    sent = {errors.REFUSED_STREAM: 3, errors.NO_ERROR: 1, 0xFA: 2}
    count_client(sent, 5, values)
    count_client(sent, 0, values)
    assert moved(values) == {
        H2_GIVEN_UP: 5,
        H2_RESET_FIRST + errors.REFUSED_STREAM: 3,
        H2_RESET_FIRST: 1,
        H2_RESET_FIRST + H2_CODES.index("other"): 2,
    }


def test_resets_towards_origins():
    values = [0] * SIZE
    count_origin({errors.CANCEL: 2}, values)
    assert moved(values) == {UPSTREAM_H2_RESET_FIRST + errors.CANCEL: 2}


def test_the_codes_are_those_of_the_engine():
    names = [name.lower().replace("_", "-") for name in errors.NAMES]
    assert list(H2_CODES) == [*names, "other"]


def test_ends_by_reason():
    values = [0] * SIZE
    count_client_end("ping-flood", values)
    count_client_end("never heard of", values)
    count_origin_end("frame-size", values)
    assert moved(values) == {
        H2_CLOSED_FIRST + H2_REASONS.index("ping-flood"): 1,
        H2_CLOSED_FIRST + H2_REASONS.index("other"): 1,
        UPSTREAM_H2_CLOSED_FIRST + H2_REASONS.index("frame-size"): 1,
    }
