"""`[upstream.NAME.pool]`: connections that are kept for requests to come."""

from typing import Annotated

from pydantic import Field

from headgate.config.table import Count, Table
from headgate.config.units import Duration


class Pool(Table):
    """Connections to the endpoints that no request uses now; for each endpoint and worker. How long one may be idle
    is `idle_timeout` of the upstream."""

    max_idle: Annotated[Count, Field(ge=0, le=65536)] = 1024
    """How many are kept; beyond it the oldest is closed. `0`: each request has a connection of its own. Reason: the
    connections of one burst serve the next."""
    max_age: Duration = 3600.0
    """How old a connection gets, in use or not: it is closed when it is idle then, a little earlier for some, so that
    not all end at once. Reason: what a name or a balancer in front of the endpoint says now is found again."""
    prewarm: Annotated[Count, Field(ge=0, le=256)] = 0
    """How many are kept ready for requests to come, dialled in the background when fewer are idle. A dial that fails
    is tried again after 1 s, twice as long each time it fails again, 60 s at most. HTTP/1.1 only."""
