"""Durations, sizes, rates, shares: what is taken, what is refused and with which advice, and the way back to text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.units import (
    Rate,
    format_duration,
    format_rate,
    format_share,
    format_size,
    parse_duration,
    parse_rate,
    parse_share,
    parse_size,
)


def refusal(parse, value):
    with pytest.raises(ValueError) as caught:
        parse(value)
    return caught.value.context


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("2d", 172_800),
        ("0s", 0),
        ("1m1s1ms", 61.001),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "10", "s", "10 s", "-1s", "1s1s", "1s1m", "1e3s", "0.1ms", "3651d", "10S", 10, 1.5, True]
)
def test_what_is_no_duration(value):
    assert "duration" in refusal(parse_duration, value)["expected"]


def test_a_number_without_a_unit_is_told_how_seconds_are_written():
    assert refusal(parse_duration, 10)["hint"] == 'write "10s" for seconds'
    assert refusal(parse_duration, "10")["hint"] == 'write "10s" for seconds'
    assert refusal(parse_duration, -10)["hint"] == refusal(parse_duration, "-10")["hint"] == ""
    assert refusal(parse_duration, True)["hint"] == ""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("64KiB", 65_536),
        ("1.5MiB", 1_572_864),
        ("1kB", 1000),
        ("1KB", 1000),
        ("7B", 7),
        ("2GB", 2 * 10**9),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value", ["", "64k", "64", "-1B", "0.5B", "64 KiB", "64kib", "9000TiB", 64, True, None]
)
def test_what_is_no_size(value):
    assert refusal(parse_size, value)["expected"]


def test_a_short_unit_is_told_why_it_is_refused():
    assert "1024" in refusal(parse_size, "64k")["hint"]
    assert refusal(parse_size, 64)["hint"] == 'write "64B" for bytes'
    assert refusal(parse_size, 0)["hint"] == 'write "0" in quotes'


@pytest.mark.parametrize(("text", "per_second"), [("500/s", 500), ("30/m", 0.5), ("36/h", 0.01), ("0", 0)])
def test_rates(text, per_second):
    rate = parse_rate(text)
    assert rate.per_second == per_second
    assert rate.limited == (text != "0")
    assert str(rate) == text


@pytest.mark.parametrize(
    "value", ["500", "0/s", "1/d", "1.5/s", "/s", "-1/s", "1000000001/s", "9" * 5000 + "/s", 500]
)
def test_what_is_no_rate(value):
    assert "rate" in refusal(parse_rate, value)["expected"]


@pytest.mark.parametrize("value", ["0%", "101%", "80", "8.5%", "-1%", 0.8, "9" * 5000 + "%"])
def test_what_is_no_share(value):
    assert refusal(parse_share, value)["expected"] == 'a share from "1%" to "100%"'


@given(st.integers(0, 3650 * 86_400_000))
def test_a_duration_survives_its_text(milliseconds):
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 2**53))
def test_a_size_survives_its_text(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(1, 10**9), st.sampled_from([1, 60, 3600]))
def test_a_rate_survives_its_text(count, period):
    assert parse_rate(format_rate(Rate(count, period))) == Rate(count, period)


@given(st.integers(1, 100))
def test_a_share_survives_its_text(percent):
    assert parse_share(format_share(percent / 100)) == percent / 100


def test_texts_are_short():
    assert [format_duration(s) for s in (60.0, 90.0, 300.0, 43_200.0, 0.25)] == [
        "60s",
        "90s",
        "5m",
        "12h",
        "250ms",
    ]
    assert [format_size(s) for s in (0, 1, 65_536, 65_537, 10 * 1024**2)] == [
        "0",
        "1B",
        "64KiB",
        "65537B",
        "10MiB",
    ]
