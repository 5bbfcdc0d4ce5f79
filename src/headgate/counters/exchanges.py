"""Counters of requests: how they were answered, in what time, and the bytes they took."""

from typing import Final

from headgate.counters.table import TABLE, counter

_REQUESTS = "Requests answered, by status class."
REQUESTS_1XX: Final = counter("requests_total", _REQUESTS, status="1xx")
REQUESTS_2XX: Final = counter("requests_total", _REQUESTS, status="2xx")
REQUESTS_3XX: Final = counter("requests_total", _REQUESTS, status="3xx")
REQUESTS_4XX: Final = counter("requests_total", _REQUESTS, status="4xx")
REQUESTS_5XX: Final = counter("requests_total", _REQUESTS, status="5xx")
_BYTES = "Body and head bytes, by side and direction."
DOWNSTREAM_READ: Final = counter("bytes_total", _BYTES, side="downstream", direction="read")
DOWNSTREAM_WRITTEN: Final = counter("bytes_total", _BYTES, side="downstream", direction="written")
UPSTREAM_READ: Final = counter("bytes_total", _BYTES, side="upstream", direction="read")
UPSTREAM_WRITTEN: Final = counter("bytes_total", _BYTES, side="upstream", direction="written")

# -- latency: a histogram is its buckets, not cumulative; the last one is +Inf
LATENCY_BOUNDS: Final[tuple[float, ...]] = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
LATENCY_FIRST: Final = len(TABLE)
for _bound in (*LATENCY_BOUNDS, float("inf")):
    counter("request_seconds", "From the request's head to the response's last byte.", le=str(_bound))
LATENCY_MICROSECONDS: Final = counter(
    "request_microseconds_sum", "Sum of request durations, in microseconds."
)

_LATENCIES: Final[list[float]] = list(LATENCY_BOUNDS)


def count_exchange(values: list[int], status: int, seconds: float) -> None:
    """Count an exchange that is over, by its status (0: none was sent) and by how long it took."""
    if 100 <= status <= 599:
        values[REQUESTS_1XX + status // 100 - 1] += 1
    bucket = 0
    while bucket < len(_LATENCIES) and seconds > _LATENCIES[bucket]:
        bucket += 1
    values[LATENCY_FIRST + bucket] += 1
    values[LATENCY_MICROSECONDS] += int(seconds * 1e6)
