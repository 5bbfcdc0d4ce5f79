"""Collapsed forwarding across workers: who misses claims the key (`cache/claims`) and goes to the origin; who finds
that another worker has claimed it, or has the response, asks that one, its home.

To the flight that asks, the home is an origin: its answer is streamed to whoever waits here and stored by the
ordinary rules, with the age that it has there; a 304 confirms what is here. The home answers with what it has or is
fetching (`proxy/peer_gate`), so all workers together make one request to the origin. Where it has nothing it says so,
and the one who asks claims the key, or finds who was quicker. Nobody waits for a flight that itself waits for another
worker, and no claim is held by one who waits: there are no circles.

Nothing depends on the home. Where it is not there, gives no sign of life in time, is busy, has not heard of a purge,
or says that what comes is not stored, the flight goes on and asks the origin itself; so it does in mid-wait when the
signs stop. A home that failed is left alone for a moment. Once content has begun to come, it fails like an origin.

Methods are safe, requests without content: a flight is a GET. Requests with a Cache-Control of their client are not
asked of the home, whose answer would be that client's.
"""

from __future__ import annotations

from typing import Final, final

from headgate.cache.claims import Claims
from headgate.cache.home import (
    BROKEN,
    FIELD,
    FULL,
    GONE,
    LATE,
    MALFORMED,
    NOT_STORED,
    RESTING,
    SIGN,
    SILENT,
    UNREACHABLE,
    WIRE_NAME,
    Answer,
    Question,
    decode_answer,
)
from headgate.connection.exchange import Exchange, Handler
from headgate.connection.quic_socket import Timer, Timers
from headgate.connection.stream_driver import NEVER
from headgate.connection.upstream import UpstreamConnection
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamStream
from headgate.counters import CACHE_ALONE, CACHE_ALONE_FIRST, CACHE_PEERS_ANSWERED
from headgate.engine.events import Response
from headgate.engine.h1.grammar import MAX_FIELDS
from headgate.http.fields import CACHING, Fields
from headgate.http.hop_by_hop import strip_response
from headgate.net.poller import Poller
from headgate.proxy.awaited import Awaited
from headgate.proxy.claimed import Claimed, Event
from headgate.proxy.flight import Flight
from headgate.upstream.endpoint import MAX_RESPONSE_HEAD, ConnectionWaiter, Endpoint

# Questions of one worker under way at once, a descriptor each; one more asks the origin. As many connections a worker
# takes from all others: each of them has its share, so that what is too much is known before anything is refused.
MAX_ASKED: Final = 512
# Homes that one flight asks, one after the other: what one has let go of, another one may just have begun to fetch.
_MAX_HOMES: Final = 3
# Until the first sign: a worker that is alive comes round in far less, and a client waits no longer for nothing.
SIGN_WITHIN: Final = 0.25
# Between two signs; the home gives one each second.
SILENCE: Final = 5.0
# How long a home is left alone that failed. A worker that died is back in about that time.
REST_SECONDS: Final = 1.0


@final
class Peer:
    """Another worker of this gate, which is `asked` so much just now. `rest_until` is the loop time until which it is
    left alone."""

    __slots__ = ("asked", "endpoint", "name", "rest_until", "slot")

    def __init__(self, slot: int, endpoint: Endpoint) -> None:
        self.slot = slot
        self.name = f"worker {slot}"
        self.endpoint = endpoint
        self.rest_until = 0.0
        self.asked = 0


@final
class Ask(ConnectionWaiter):
    """One question, after those to the slots of `past`, and what has come of it: the attempt of its exchange.
    Content may stop for `idle` s. A connection that was dialled for it is no other question's."""

    __slots__ = (
        "alone",
        "connection",
        "flight",
        "idle",
        "is_signed",
        "owner",
        "past",
        "peer",
        "timer",
    )

    def __init__(self, owner: Peers, peer: Peer, flight: Flight, idle: float, past: tuple[int, ...]) -> None:
        self.owner = owner
        self.peer = peer
        self.flight = flight
        self.idle = idle
        self.past = past
        self.connection: UpstreamStream | None = None
        self.timer: Timer | None = None
        self.is_signed = False
        self.alone = -1  # what the home has said why it does not answer

    def late(self) -> None:
        """There was no sign in time."""
        self.timer = None
        if not self.is_signed:
            self.owner.is_late(self)

    def connected(self, exchange: Exchange, connection: UpstreamStream) -> None:
        if exchange.attempt is self and self.connection is None:
            self.owner.send(exchange, self, connection)
            return
        owner = connection.owner
        if isinstance(owner, Endpoint):
            owner.keep(connection)

    def connect_failed(self, exchange: Exchange, reason: str, detail: str) -> None:
        if exchange.attempt is self and self.connection is None:
            self.owner.is_unreachable(self, detail)


@final
class Peers(Handler, ResponseReceiver):
    """The other workers, as one of them sees them. `homes` are by slot, None at our own; `idle` says by number of a
    route for how long content may stop: routes that are not there ask nobody."""

    def __init__(
        self,
        claims: Claims,
        homes: list[Peer | None],
        poller: Poller,
        timers: Timers | None,
        values: list[int],
        event: Event,
    ) -> None:
        self.claimed = Claimed(claims, poller, values, event)
        self.homes = homes
        self.poller = poller
        self.timers = timers
        self.values = values
        self.event = event
        self.idle: dict[int, float] = {}
        # Questions to one other worker at once, MAX_ASKED to all of them.
        self.share = max(MAX_ASKED // max(len(homes) - 1, 1), 1)
        self.purge_number = 0  # of the last purge that this worker has obeyed
        self.asked = 0

    def __repr__(self) -> str:
        return f"<Peers {self.claimed}, {self.asked} asked>"

    # -- asking

    def leave(self, lead: Awaited, route: int, asked: Fields) -> bool:
        """Leave it to a lead to ask the origin, and claim its key for it where it can be told to others; False:
        another worker is to be asked."""
        if self.idle.get(route, 0.0) <= 0.0 or asked.flags & CACHING:
            return True
        owner = self.claimed.claim(lead, ())
        return not 0 <= owner < len(self.homes) or self.homes[owner] is None

    def ask(self, flight: Flight) -> bool:
        """Ask the worker that sees to a flight's key; False: the origin is to be asked."""
        idle = self.idle.get(flight.handler.number, 0.0)
        if idle <= 0.0 or flight.asked.fields.flags & CACHING:
            return False
        return self._turn_to(flight, self.claimed.claim(flight, ()), idle, ())

    def _turn_to(self, flight: Flight, owner: int, idle: float, past: tuple[int, ...]) -> bool:
        """Ask the worker of a slot, if it is one that may be asked."""
        leader = flight.leader
        if not 0 <= owner < len(self.homes) or (leader is not None and leader.peer_key):
            return False
        peer = self.homes[owner]
        if peer is None:
            return False
        if peer.rest_until > self.poller.now:
            self.claimed.claim(flight, (*past, owner))
            return self._count(RESTING)
        if peer.asked >= self.share:
            return self._count(FULL)
        self._ask(Ask(self, peer, flight, idle, past))
        return True

    def _ask(self, ask: Ask) -> None:
        flight, peer = ask.flight, ask.peer
        exchange = flight.exchange
        question = Question(
            self.purge_number,
            flight.slice,
            exchange.secure,
            flight.handler.number,
            flight.key,
            exchange.host,
            exchange.path,
        )
        exchange.request.fields.set(FIELD, question.encode(), WIRE_NAME)
        self.asked += 1
        peer.asked += 1
        exchange.attempt = ask
        exchange.handler = self
        timers = self.timers
        if timers is not None:
            ask.timer = timers.call_at(timers.time() + SIGN_WITHIN, ask.late)
        connection = peer.endpoint.take(exchange)
        if connection is not None:
            self.send(exchange, ask, connection)
        else:
            peer.endpoint.dial(exchange, ask, True)

    def _count(self, why: int) -> bool:
        """Count why nobody is asked."""
        self.values[CACHE_ALONE_FIRST + why] += 1
        return False

    def send(self, exchange: Exchange, ask: Ask, connection: UpstreamStream) -> None:
        """There is a connection: send the question."""
        ask.connection = connection
        if isinstance(connection, UpstreamConnection):
            # The home adds to what it has from an origin, which may have been as much as an origin may say.
            connection.engine.max_head = 2 * MAX_RESPONSE_HEAD
            connection.engine.max_fields = 2 * MAX_FIELDS
        exchange.upstream_started = self.poller.now
        connection.send_request(exchange.request, self, exchange)
        connection.wait_until(self.poller.now + (SILENCE if ask.is_signed else SIGN_WITHIN))
        connection.flush()

    def is_unreachable(self, ask: Ask, detail: str) -> None:
        """There is none."""
        self._fail(ask, UNREACHABLE, detail)

    # -- answers

    def upstream_response(self, connection: UpstreamStream, response: Response) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        ask = exchange.attempt
        if not isinstance(ask, Ask) or ask.connection is not connection:
            return
        fields = response.fields
        said = fields.get(FIELD)
        self._signed(ask)
        if response.status < 200:
            connection.wait_until(self.poller.now + SILENCE)
            if said == SIGN:
                if isinstance(connection, UpstreamConnection):
                    connection.engine.uncount_interim()  # an origin may take longer than a few signs
            else:
                strip_response(fields)
                exchange.downstream.respond(response)
            return
        answer = decode_answer(said) if said is not None else None
        if answer is None:
            connection.close()
            self._go_alone(ask, MALFORMED)
        elif answer.alone >= 0:
            ask.alone = answer.alone  # done at the end of it, so that the connection is kept
        else:
            self._answered(exchange, ask, answer, response)

    def _answered(self, exchange: Exchange, ask: Ask, answer: Answer, response: Response) -> None:
        self.values[CACHE_PEERS_ANSWERED] += 1
        exchange.upstream_head = self.poller.now
        exchange.endpoint = ask.peer.name
        exchange.reason = answer.failure
        strip_response(response.fields)
        response.close = False
        if not answer.failure:
            ask.flight.answered_by_home(answer.outcome, answer.reason)
        exchange.downstream.respond(response)

    def _signed(self, ask: Ask) -> None:
        ask.is_signed = True
        timer = ask.timer
        ask.timer = None
        if timer is not None:
            timer.cancel()

    def upstream_data(self, connection: UpstreamStream, data: bytes) -> None:
        exchange = connection.exchange
        if isinstance(exchange, Exchange) and exchange.responded:
            exchange.downstream.write(data)

    def upstream_end(self, connection: UpstreamStream, trailers: Fields | None) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        ask = exchange.attempt
        if not isinstance(ask, Ask):
            return
        ask.peer.endpoint.give_back(connection)
        if ask.alone >= 0:
            self._go_alone(ask, ask.alone)
            return
        self._end(ask)
        exchange.handler = None
        exchange.downstream.finish(trailers)
        exchange.downstream.flush()

    def upstream_turn(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        takes_more = exchange.downstream.flush()
        ask = exchange.attempt
        if connection.exchange is not exchange or not isinstance(ask, Ask):
            return
        if not takes_more:
            connection.pause_reading()
            connection.wait_until(NEVER)  # the clients' write timeouts run
        elif exchange.responded:
            connection.wait_until(self.poller.now + ask.idle)

    def upstream_drained(self, connection: UpstreamStream) -> None:
        return  # there is no content to send

    # -- what goes wrong

    def upstream_failed(self, connection: UpstreamStream, reason: str, detail: str) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        ask = exchange.attempt
        if isinstance(ask, Ask):
            self._broken(exchange, ask, BROKEN, "upstream-closed", detail)

    def upstream_timeout(self, connection: UpstreamStream) -> None:
        exchange = connection.exchange
        if not isinstance(exchange, Exchange):
            return
        ask = exchange.attempt
        connection.close()
        if isinstance(ask, Ask):
            why = SILENT if ask.is_signed else LATE
            self._broken(exchange, ask, why, "upstream-timeout", f"{connection.address} was silent")

    def is_late(self, ask: Ask) -> None:
        """The first sign did not come in time."""
        connection = ask.connection
        if connection is not None:
            connection.close()
        self._fail(ask, LATE, f"no sign within {SIGN_WITHIN:g} s")

    def _broken(self, exchange: Exchange, ask: Ask, why: int, reason: str, detail: str) -> None:
        if not exchange.responded:
            self._fail(ask, why, detail)
            return
        self._end(ask)
        exchange.handler = None
        exchange.detail = detail
        exchange.downstream.abort(reason)

    def _fail(self, ask: Ask, why: int, detail: str) -> None:
        """The home is of no use: leave it alone for a moment, and ask the origin."""
        peer = ask.peer
        peer.rest_until = self.poller.now + REST_SECONDS
        self.event(
            "cache-peer-failed",
            "warning",
            limit_key=peer.name,
            peer=peer.name,
            reason=CACHE_ALONE[why],
            detail=detail,
            next=f"the origin is asked; it is left alone for {REST_SECONDS:g} s",
        )
        self._go_alone(ask, why)

    def _go_alone(self, ask: Ask, why: int) -> None:
        """That one has no answer: claim the key, or ask who was quicker."""
        self._count(why)
        self._end(ask)
        flight = ask.flight
        if why == GONE:
            self.claimed.claims.forget(flight.key, ask.peer.slot)
        past = (*ask.past, ask.peer.slot)
        if why != NOT_STORED and len(past) < _MAX_HOMES:
            owner = self.claimed.claim(flight, past)
            if self._turn_to(flight, owner, ask.idle, past):
                return
        flight.go_by_itself(is_not_stored=why == NOT_STORED)

    def _end(self, ask: Ask) -> None:
        """It is over: exchange and question let go of each other."""
        self._signed(ask)
        self.asked -= 1
        ask.peer.asked -= 1
        exchange = ask.flight.exchange
        exchange.attempt = None
        exchange.request.fields.remove(FIELD)

    # -- clients

    def downstream_drained(self, exchange: Exchange) -> None:
        ask = exchange.attempt
        if isinstance(ask, Ask) and ask.connection is not None:
            ask.connection.wait_until(self.poller.now + ask.idle)
            ask.connection.resume()

    def downstream_closed(self, exchange: Exchange) -> None:
        ask = exchange.attempt
        if not isinstance(ask, Ask):
            return
        self._end(ask)
        if ask.connection is not None:
            ask.connection.close()

    def handle(self, exchange: Exchange) -> None:
        return  # flights come by `ask`

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        return

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        return

    def close(self) -> None:
        """Keep no idle connection and no claim; ask nobody any more."""
        self.idle.clear()
        self.claimed.close()
        for peer in self.homes:
            if peer is not None:
                peer.endpoint.close()

    def endpoints(self) -> list[Endpoint]:
        """Return what has deadlines, for the sweep."""
        return [peer.endpoint for peer in self.homes if peer is not None]
