"""`[upstream.NAME.retries]`: when a request is sent to another endpoint."""

from typing import Annotated, Final, Literal

from pydantic import Field

from headgate.config.table import Count, Table
from headgate.config.units import Rate, RateLimit, Share

Failure = Literal["connect", "closed", "timeout", "invalid", "429", "500", "502", "503", "504"]
STATUSES: Final = frozenset(("429", "500", "502", "503", "504"))


class Retries(Table):
    """What follows when an endpoint fails before the head of its answer. Only a request that cannot do its work twice
    is sent again: any method if the endpoint got nothing of it, else GET, HEAD, OPTIONS, TRACE, PUT and DELETE; with
    content as long as it is at most 64 KiB so far. Whatever stands here, a request that meets a closing
    connection is repeated once on a fresh one."""

    attempts: Annotated[Count, Field(ge=1, le=10)] = 3
    """How many endpoints are tried for one request, each once, the first included. `1`: no retries. Reason: the
    client waits for them one by one."""
    on: tuple[Failure, ...] = ("connect", "closed")
    """Failures that another endpoint is asked after: `connect` (not reached within `connect_timeout`), `closed` (the
    connection ended without an octet of an answer), `timeout` (`head_timeout` or `try_timeout` passed), `invalid`
    (what came is no HTTP, or ended inside the head), and statuses of answers: `429`, `500`, `502`, `503`, `504`. The
    last answer is passed on, whatever it is. An endpoint that answers 429 or 503 with Retry-After is left alone for
    as long as it asks, 60 s at most, if the status stands here and others are there."""
    budget: Share = 0.2
    """How many requests are sent again, as a share of all of the last seconds; where `attempts` is what one may cost,
    this is what all may. Failures to connect do not count. Reason: when everything fails, retries are the load that
    keeps it from coming back."""
    budget_floor: RateLimit = Rate(3)
    """And this many whatever the traffic, for each worker; `"0"`: none."""
