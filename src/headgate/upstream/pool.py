"""The idle connections of one endpoint, in one worker: what is kept, for how long, and what is never handed out.

A plain list, newest last. The newest is taken: it is the one least likely to have been closed by the origin
meanwhile, and what is not needed any more falls out at the front. There is nothing to wait for: who finds no
idle connection dials one. A connection leaves

    by its origin      it is watched while it lies here: an end, or octets that nobody asked for, close it at once
    by its time        idle for `idle_timeout`, or as old as `max_age` (a name that moved is found again); both are
                       looked at when it comes back and in the sweep
    by its number      more than `max_idle` here, or more than `IdleTotal` allows in all pools of the worker: then the
                       fullest pool gives up its oldest eighth (pools of a few: one each), so that nobody starves who
                       comes late

Between the origin's end and our being woken there is a gap. Who has content to send would lose it there when it is
too long to be repeated; so for a request with content, and for whatever lay here longer than `CAREFUL_SECONDS`, the
socket is asked first. Anything else that meets a closing connection is repeated (see `proxy/attempt`).

Spare connections. `spare` connections are kept ready beyond those that requests leave behind, dialled by the sweep in
the background; a dial that fails is followed by a rest, doubled each time (`BACKOFF_SECONDS`, `MAX_BACKOFF_SECONDS`).
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.context import ConnectionContext
from headgate.connection.stream_driver import NEVER
from headgate.connection.upstream import UpstreamConnection
from headgate.counters import POOL_CLOSED_AGE, POOL_CLOSED_ROOM, UPSTREAM_IDLE
from headgate.net.poller import Poller

# Idle connections kept for each endpoint and worker: as many as may be dialled at once, since clients of HTTP/3 ask
# for hundreds of things at a time, and the connections of one burst serve the next. Go's default of 2 starves.
MAX_IDLE: Final = 1024
# And of all endpoints of a worker together: a fifth of the connections that clients may have by default, each of them
# a descriptor and, with TLS, some 30 KiB. HAProxy keeps a quarter of its descriptors.
MAX_IDLE_TOTAL: Final = 4096
# And where each endpoint has a few: what is given up at once is this part of it.
_PART: Final = 64
# Younger idle connections are not asked whether they still stand, unless it matters: a busy pool turns over faster.
CAREFUL_SECONDS: Final = 1.0
# How much a connection's age may fall short of `max_age`: those of one burst shall not all end at once.
SPREAD: Final = 0.2
# Fractional parts of its multiples lie evenly in [0, 1): a spread without a random number.
GOLDEN: Final = 0.6180339887498949
# Spare connections dialled for one endpoint in one sweep: thirty handshakes a second are nobody's burden.
MAX_WARMING: Final = 16
BACKOFF_SECONDS: Final = 1.0
MAX_BACKOFF_SECONDS: Final = 60.0


@final
class PoolSettings:
    """What the pools of one upstream keep; times in seconds. `max_age` NEVER: no bound; `spare`: see above."""

    def __init__(
        self,
        *,
        idle_timeout: float = 60.0,
        max_idle: int = MAX_IDLE,
        max_age: float = NEVER,
        spare: int = 0,
    ) -> None:
        self.idle_timeout = idle_timeout
        self.max_idle = max_idle
        self.max_age = max_age
        self.spare = spare


@final
class IdleTotal:
    """All pools of a worker, which share one limit. How many connections they hold is a gauge: `UPSTREAM_IDLE`."""

    def __init__(self, limit: int = MAX_IDLE_TOTAL) -> None:
        self.limit = limit
        self.pools: list[Pool] = []

    def __repr__(self) -> str:
        return f"<IdleTotal {sum(len(pool.idle) for pool in self.pools)} of {self.limit}>"

    def shed(self) -> None:
        """There are too many: the fullest pool gives up its oldest eighth.

        Finding it costs a look at each pool. Where an eighth is nothing, each that is as full gives up one, at most
        a `_PART` of the limit in all, so that the look is not for one connection only.
        """
        fullest = self.pools[0]
        for pool in self.pools:
            if len(pool.idle) > len(fullest.idle):
                fullest = pool
        most = len(fullest.idle)
        if most >= 8:
            fullest.shed(most // 8)
            return
        left = max(1, self.limit // _PART)
        for pool in self.pools:
            if len(pool.idle) == most:
                pool.shed(1)
                left -= 1
                if left == 0:
                    return


@final
class Pool:
    """`idle`, newest last, and what is known about dialling spare ones."""

    def __init__(
        self,
        settings: PoolSettings,
        poller: Poller,
        values: list[int],
        total: IdleTotal | None = None,
    ) -> None:
        self.settings = settings
        self.idle_timeout = settings.idle_timeout
        self.max_idle = settings.max_idle
        self.spare = settings.spare  # 0 from when the worker drains
        self.idle: list[UpstreamConnection] = []
        self.closed = False
        self.warming = 0
        self.rest_until = 0.0
        self._poller = poller
        self._values = values
        self._total = total if total is not None else IdleTotal()
        self._total.pools.append(self)
        self._fresh = settings.idle_timeout - min(CAREFUL_SECONDS, settings.idle_timeout / 2)
        self._opened = 0
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Pool {len(self.idle)} idle, {self.warming} dialled as spare>"

    def take(self, careful: bool) -> UpstreamConnection | None:
        """Return the newest idle connection that stands; `careful`: ask its socket in any case."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            connection.pooled = False
            self._values[UPSTREAM_IDLE] -= 1
            if self._stands(connection, careful):
                return connection
        return None

    def take_of(self, client: ConnectionContext, careful: bool) -> UpstreamConnection | None:
        """The same of those that were opened for `client`: the origin was told who it is, and knows nobody else."""
        idle = self.idle
        place = len(idle)
        while place > 0:
            place -= 1
            connection = idle[place]
            if (
                connection.client is client
                and connection.told_peer == client.peer
                and connection.told_port == client.port
            ):
                del idle[place]
                connection.pooled = False
                self._values[UPSTREAM_IDLE] -= 1
                if self._stands(connection, careful):
                    return connection
        return None

    def _stands(self, connection: UpstreamConnection, careful: bool) -> bool:
        if careful or connection.deadline - self._poller.now < self._fresh:
            connection.on_readable()  # an end, or octets, close it
        return not connection.closed

    def keep(self, connection: UpstreamConnection) -> None:
        """Take a connection that can carry another request."""
        now = self._poller.now
        until = now + self.idle_timeout
        if connection.expires < until:
            until = connection.expires
            if until <= now:
                self._values[POOL_CLOSED_AGE] += 1
                connection.close()
                return
        client = connection.client
        if self.closed or (client is not None and client.closed):
            connection.close()
            return
        connection.deadline = until
        connection.pooled = True
        self.idle.append(connection)
        values = self._values
        values[UPSTREAM_IDLE] += 1
        if len(self.idle) > self.max_idle:
            self.shed(1)
        elif values[UPSTREAM_IDLE] > self._total.limit:
            self._total.shed()

    def shed(self, count: int) -> None:
        """Close the oldest; there are too many."""
        for connection in self.idle[:count]:
            self._values[POOL_CLOSED_ROOM] += 1
            connection.close()

    def lost(self, connection: UpstreamConnection) -> None:
        """It was closed, whoever did it."""
        if connection.pooled:
            connection.pooled = False
            self._values[UPSTREAM_IDLE] -= 1
            self.idle.remove(connection)

    def opened(self, connection: UpstreamConnection) -> None:
        """It is new: say how old it may get."""
        max_age = self.settings.max_age
        if max_age < NEVER:
            self._opened += 1
            connection.expires = self._poller.now + max_age * (1.0 - SPREAD * (self._opened * GOLDEN % 1.0))

    def close(self) -> None:
        """Close all; what comes back until `open` is closed as well, and nothing is dialled as spare."""
        if not self.closed:
            self.closed = True
            self._total.pools.remove(self)
        for connection in self.idle[:]:
            connection.close()

    def open(self) -> None:
        """Keep connections again: its endpoint is back in its group."""
        if self.closed:
            self.closed = False
            self._total.pools.append(self)

    # -- spare connections

    def missing(self, now: float) -> int:
        """Return how many spare connections are to be dialled now, and count them as being dialled."""
        if self.closed or now < self.rest_until:
            return 0
        count = min(self.spare - len(self.idle) - self.warming, MAX_WARMING)
        if count <= 0:
            return 0
        self.warming += count
        return count

    def warmed(self) -> None:
        """One of them is there."""
        self.warming -= 1
        self._failures = 0
        self.rest_until = 0.0

    def warming_failed(self) -> float:
        """One of them failed: return how many seconds none is dialled, 0.0 when that was said already."""
        self.warming -= 1
        now = self._poller.now
        if now < self.rest_until:
            return 0.0
        seconds = min(BACKOFF_SECONDS * (1 << min(self._failures, 10)), MAX_BACKOFF_SECONDS)
        self._failures += 1
        self.rest_until = now + seconds
        return seconds
