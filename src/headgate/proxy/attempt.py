"""What an exchange tries: one endpoint after another, what is kept so that a request can be sent again, and what
becomes of an answer that is not passed on.

`proxy/reverse` drives it. Whether a try may follow is decided in one place (`after`), by the rules of
`upstream/retries`; content is kept only where it may be of use, in bounds for each request and for the worker.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.exchange import Exchange
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_lane import Lane
from headgate.connection.upstream_stream import REFUSED, ResponseReceiver, UpstreamStream
from headgate.counters import (
    HELD_REPLAY,
    NOT_RETRIED_BUDGET,
    NOT_RETRIED_CONTENT,
    NOT_RETRIED_METHOD,
    NOT_RETRIED_NOBODY,
    RETRIED_FIRST,
)
from headgate.engine.events import Request, Response
from headgate.http.fields import Fields
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.retries import CLOSED, CONNECT, IDEMPOTENT, INVALID, REUSED, UNTOUCHED
from headgate.upstream.upstream import Upstream

# Content kept of one request, so that it can be sent again; nginx keeps 16 KiB in memory, Envoy 64 KiB.
MAX_REPLAY: Final = 64 * 1024
# And of all requests of a worker: five hundred of that size. Beyond it nothing more is kept, and nothing is refused.
MAX_REPLAY_TOTAL: Final = 32 * 1024 * 1024
# Of an answer that is not passed on, this much is read away so that its connection can be used again; with more to
# come it is cheaper to dial.
MAX_READ_AWAY: Final = 64 * 1024
# The origin is done with a connection, in one way or another.
ENDED: Final = frozenset(("closed", "econnreset", "epipe", "enotconn"))
# The same over TLS, by the many that send no close_notify; and a stream of HTTP/3 that was reset.
CLOSING: Final = ENDED | {"eof-without-close-notify"}
BROKEN_OFF: Final = CLOSING | {"reset"}
NOBODY: Final[list[Endpoint]] = []


@final
class Attempt:
    """The tries of an exchange; `endpoint` and `connection` are those of the one under way.

    `replay` is the content sent so far, None when it is not kept (then it cannot be sent again). `reused` says that
    the connection lay idle before, `repeated` that the one repetition on a fresh connection is under way or spent:
    from then on only fresh connections are taken.
    """

    def __init__(self, endpoint: Endpoint, now: float) -> None:
        self.endpoint = endpoint
        self.connection: UpstreamStream | None = None
        self.started = now  # the try under way; with content, the wait for its answer once all is sent
        self.trial = 0  # what `Upstream.began` returned
        self.tries = 1
        self.tried = NOBODY  # those that failed
        self.reused = False
        self.repeated = False
        self.replay: list[bytes] | None = None
        self.replay_size = 0
        self.replay_end = False
        self.replay_trailers: Fields | None = None
        self.sent_all = False
        self.came = (
            0  # octets of the client's content when the answer began, or when its silence was looked at last
        )

    def __repr__(self) -> str:
        return f"<Attempt {self.tries} at {self.endpoint.url}, {self.replay_size} octets kept>"

    # -- content

    def keep(self, request: Request, data: bytes, values: list[int]) -> None:
        """Keep content that is being sent, if it may have to be sent again and there is room."""
        replay = self.replay
        if replay is None:
            return
        size = len(data)
        connection = self.connection
        is_of_use = (
            self.reused
            or request.method in IDEMPOTENT
            or isinstance(connection, Lane)  # it may be refused unread
            or (connection is not None and not connection.touched)
        )
        if (
            not is_of_use
            or self.replay_size + size > MAX_REPLAY
            or values[HELD_REPLAY] + size > MAX_REPLAY_TOTAL
        ):
            self.forget(values)
            return
        self.replay_size += size
        values[HELD_REPLAY] += size
        replay.append(data)

    def forget(self, values: list[int]) -> None:
        """Let go of what was kept."""
        values[HELD_REPLAY] -= self.replay_size
        self.replay_size = 0
        self.replay = None

    def is_whole(self, request: Request) -> bool:
        """Tell whether all that was sent can be sent again."""
        return request.body == 0 or self.replay is not None

    # -- the next try

    def kind_of(self, connection: UpstreamStream, reason: str, method: bytes) -> int:
        """Return which kind of failure this is (see `upstream/retries`)."""
        if reason == REFUSED or not connection.touched:
            return UNTOUCHED
        if reason not in BROKEN_OFF or connection.answered:
            return INVALID
        if not self.reused or self.repeated or reason not in CLOSING:
            return CLOSED
        if isinstance(connection, Lane) and (method not in IDEMPOTENT or not connection.is_unheard):
            # RFC 9113 section 8.7, RFC 9114 section 4.1.1: these versions say what they have not looked at.
            return CLOSED
        return REUSED

    def after(
        self, kind: int, exchange: Exchange, upstream: Upstream, now: float, values: list[int]
    ) -> Endpoint | None:
        """Return who is tried after the endpoint failed in this way, and count it; None: nobody."""
        retries = upstream.retries
        if exchange.responded or self.tries >= retries.attempts or not retries.is_wanted(kind):
            return None
        if kind > CONNECT and exchange.request.method not in IDEMPOTENT:
            values[NOT_RETRIED_METHOD] += 1
            return None
        if not self.is_whole(exchange.request):
            values[NOT_RETRIED_CONTENT] += 1
            return None
        other = upstream.pick(exchange, [*self.tried, self.endpoint])
        if other is None:
            values[NOT_RETRIED_NOBODY] += 1
            return None
        if kind > CONNECT and not retries.budget.take(now):
            values[NOT_RETRIED_BUDGET] += 1
            return None
        values[RETRIED_FIRST + kind] += 1
        return other

    def renew(self, endpoint: Endpoint, now: float) -> None:
        """Begin another try."""
        self.tries += 1
        self.tried = [*self.tried, self.endpoint]
        self.endpoint = endpoint
        self.fresh(now)

    def repeat(self, now: float) -> None:
        """Begin the one repetition, at the same endpoint and on a fresh connection."""
        self.repeated = True
        self.fresh(now)

    def fresh(self, now: float) -> None:
        """Nothing is sent yet."""
        self.connection = None
        self.started = now
        self.reused = False
        self.sent_all = False


@final
class ReadAway(ResponseReceiver):
    """Reads the rest of an answer that is not passed on, so that the next request can have the connection."""

    def begin(self, connection: UpstreamStream, response: Response, is_sent: bool, until: float) -> None:
        """Take over a connection whose head was just delivered; `is_sent`: the request is complete."""
        connection.exchange = None
        owner = connection.owner
        if not is_sent or not isinstance(connection, UpstreamConnection) or not isinstance(owner, Endpoint):
            connection.close()
        elif response.body == 0:
            owner.give_back(connection)
        elif 0 < response.body <= MAX_READ_AWAY:
            connection.receiver = self
            connection.wait_until(until)
        else:
            connection.close()

    def upstream_response(self, connection: UpstreamStream, response: Response) -> None:
        pass  # a second head is a fault that the engine finds

    def upstream_data(self, connection: UpstreamStream, data: bytes) -> None:
        pass

    def upstream_end(self, connection: UpstreamStream, trailers: Fields | None) -> None:
        owner = connection.owner
        if isinstance(owner, Endpoint):
            owner.give_back(connection)

    def upstream_turn(self, connection: UpstreamStream) -> None:
        pass

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        pass  # it is closed, and nobody waits for it

    def upstream_drained(self, connection: UpstreamStream) -> None:
        pass

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        connection.close()


READ_AWAY: Final = ReadAway()
