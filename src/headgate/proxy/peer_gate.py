"""Where other workers ask for what this one sees to: the other side of `proxy/peers`.

Their requests come over a local socket that only workers can reach, as they would go to the origin, with one field
that says the rest: it is believed here and nowhere else. What becomes of them is the cache's to decide as for any
client: a hit, a flight that others wait for too. But it is not a client: nothing is logged or counted twice, and who
would have to ask for itself is told to (`decline`), since it can do that where its client is.

A sign goes out at once where the answer takes longer, and again each second: who asks knows that somebody is alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from headgate.cache.home import (
    FIELD,
    MALFORMED,
    PURGED,
    SIGN,
    UNSUITED,
    WIRE_NAME,
    Answer,
    decode_question,
)
from headgate.cache.outcome import OUTCOMES, REASONS
from headgate.cache.purges import url_of
from headgate.connection.exchange import Downstream, Exchange, HeadHandler
from headgate.counters import CACHE_PEERS_SERVED
from headgate.engine.events import Response
from headgate.http.fields import Fields
from headgate.net.poller import Poller
from headgate.proxy.on_behalf import NOBODY

if TYPE_CHECKING:
    from headgate.proxy.cached import CacheHandler
    from headgate.proxy.peers import Peers

# Connections of all other workers at once, each with one request at most: as many as one of them may ask.
MAX_CONNECTIONS: Final = 512
# Between two signs that a request is being seen to.
SIGN_SECONDS: Final = 1.0

_OUTCOME: Final[dict[str, int]] = {word: place for place, word in enumerate(OUTCOMES)}
_REASON: Final[dict[str, int]] = {word: place for place, word in enumerate(REASONS)}


def decline(exchange: Exchange, why: int) -> None:
    """Let the worker that asks go to the origin itself."""
    exchange.attempt = None
    exchange.handler = None
    exchange.accepting = True
    side = exchange.downstream
    if isinstance(side, PeerSide):
        side.alone = why
    fields = Fields([], [])
    fields.add(b"content-length", b"0", b"Content-Length")
    exchange.downstream.respond(Response(503, b"Service Unavailable", 11, fields, 0))
    exchange.downstream.flush()


@final
class PeerSide(Downstream):
    """The asking worker's side of an exchange: says what became of it, in place of our member of Cache-Status."""

    def __init__(self, exchange: Exchange, shows: bool) -> None:
        self.exchange = exchange
        self.downstream = exchange.downstream
        self.shows = shows
        self.alone = -1
        self.is_answered = False
        self.signed_at = 0.0

    def respond(self, response: Response) -> None:
        fields = response.fields
        fields.remove(FIELD)  # an origin has no say here
        if response.status >= 200:
            self.is_answered = True
            if self.shows:
                _unmark(fields)
            exchange = self.exchange
            outcome = _OUTCOME.get(exchange.cache, 0)
            reason = _REASON.get(exchange.cache_reason, 0)
            answer = Answer(outcome, reason, exchange.reason, self.alone)
            fields.add(FIELD, answer.encode(), WIRE_NAME)
        self.downstream.respond(response)

    def sign(self, now: float) -> None:
        """Say that the answer is on its way."""
        self.signed_at = now
        fields = Fields([], [])
        fields.add(FIELD, SIGN, WIRE_NAME)
        self.downstream.respond(Response(102, b"Processing", 11, fields))
        self.downstream.flush()

    def write(self, data: bytes) -> None:
        self.downstream.write(data)

    def finish(self, trailers: Fields | None) -> None:
        self.downstream.finish(trailers)

    def flush(self) -> bool:
        return self.downstream.flush()

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        return self.downstream.send_file(descriptor, at, size)

    def abort(self, reason: str) -> None:
        self.downstream.abort(reason)

    def resume(self) -> None:
        self.downstream.resume()


def _unmark(fields: Fields) -> None:
    """Take our own member of Cache-Status out, which is the last: the asking worker adds one for its client."""
    names = fields.names
    at = len(names)
    while at > 0:
        at -= 1
        if names[at] == b"cache-status":
            if fields.value(at).startswith(b"headgate"):
                del names[at]
                del fields.lines[at]
                fields.connection_at = -1
            return


@final
class PeerGate(HeadHandler):
    """Answers the other workers. `routes` are those with a cache, by number."""

    def __init__(self, peers: Peers, poller: Poller, values: list[int]) -> None:
        self.peers = peers
        self.poller = poller
        self.values = values
        self.routes: dict[int, CacheHandler] = {}
        self.under_way: dict[PeerSide, None] = {}

    def __repr__(self) -> str:
        return f"<PeerGate {len(self.under_way)} under way>"

    def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        value = request.fields.get(FIELD)
        request.fields.remove(FIELD)
        question = decode_question(value) if value is not None else None
        handler = self.routes.get(question.route) if question is not None else None
        side = PeerSide(exchange, handler is not None and handler.shows)
        exchange.downstream = side
        self.under_way[side] = None
        self.values[CACHE_PEERS_SERVED] += 1
        if question is None or request.method != b"GET" or request.body != 0:
            decline(exchange, MALFORMED)
            return
        if handler is None:
            decline(exchange, UNSUITED)  # its configuration is another
            return
        peers = self.peers
        if question.purges > peers.purge_number:
            decline(exchange, PURGED)
            return
        if url_of(question.key) != question.key:
            handler.cache.has_parts = True
        exchange.peer_key = question.key
        exchange.route = handler.policy.name
        exchange.host = question.host
        exchange.path = question.path
        exchange.secure = question.is_secure
        exchange.slice = question.slice
        exchange.handler = handler
        handler.handle_peer(exchange, question.key)
        if not side.is_answered and exchange.downstream is side:
            side.sign(self.poller.now)

    def sweep(self, now: float) -> None:
        """Give a sign to those who have waited for a while; `now` is loop time."""
        for side in list(self.under_way):
            if not side.is_answered and now - side.signed_at >= SIGN_SECONDS:
                side.sign(now)

    def over(self, exchange: Exchange) -> None:
        """An exchange has ended: it and its side let go of each other."""
        side = exchange.downstream
        if isinstance(side, PeerSide):
            self.under_way.pop(side, None)
            exchange.downstream = NOBODY
