"""An upstream: a named group of endpoints, who of them is ready, and the policy that picks one.

Whoever uses an endpoint says so: `pick`, then `began`, and `ended` exactly once, with the number that `began` gave
(`upstream/health` has the trials). When there is nobody to pick, `wait` puts the request into a bounded queue, which
`ended` serves.

Policies pick from `ready`, which is built anew when health or the group changes, so that a pick looks at nobody who
is out. In it are

    the endpoints that are up and no backup         if they are `panic` of them at least,
    else these, and the backups that are up         if any backup is,
    else all of them, up or not: when nearly everything looks dead, what looks may be what is broken, and the few that
    are left would not survive the load of all.

Who comes into a running group, or back into it, starts slowly where that is asked for: its weight grows from a tenth
to the whole of it in `slow_start` seconds.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.exchange import Exchange
from headgate.connection.stream_driver import NEVER
from headgate.net.poller import Poller
from headgate.upstream.deadlines import Deadlines
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.hash_key import HashKey
from headgate.upstream.health import READY, HealthOwner
from headgate.upstream.policies.policy import Policy
from headgate.upstream.queue import RoomQueue, RoomWaiter
from headgate.upstream.retries import Retries
from headgate.upstream.sticky import Sticky

# Picks of the policy before the group is walked for somebody that an exchange has not tried yet.
_PICKS: Final = 4
# The least part of its weight that an endpoint has while it starts; Envoy has 10 % too.
_SLOWEST: Final = 0.1


@final
class Balance:
    """How an upstream's endpoints are shared out. `panic` is a share of one, `slow_start` in seconds."""

    def __init__(
        self,
        *,
        hash_key: HashKey | None = None,
        sticky: Sticky | None = None,
        queue: RoomQueue | None = None,
        slow_start: float = 0.0,
        panic: float = 0.0,
    ) -> None:
        self.hash_key = hash_key
        self.sticky = sticky
        self.queue = queue
        self.slow_start = slow_start
        self.panic = panic


@final
class Upstream:
    """`head_timeout` bounds the wait for a response's head, `body_idle` each silence inside its content;
    `try_timeout` bounds one try, `total_timeout` all of them, up to the head."""

    def __init__(
        self,
        name: str,
        endpoints: list[Endpoint],
        policy: Policy,
        *,
        head_timeout: float = 60.0,
        body_idle: float = 60.0,
        try_timeout: float = NEVER,
        total_timeout: float = NEVER,
        retries: Retries | None = None,
        balance: Balance | None = None,
        poller: Poller | None = None,
    ) -> None:
        settings = balance if balance is not None else Balance()
        self.name = name
        self.endpoints = endpoints
        self.policy = policy
        self.head_timeout = head_timeout
        self.body_idle = body_idle
        self.try_timeout = try_timeout
        self.deadlines = Deadlines(total_timeout) if total_timeout < NEVER else None
        self.retries = retries if retries is not None else Retries()
        self.sticky = settings.sticky
        self.queue = settings.queue
        self.health_owner: HealthOwner | None = None
        self.ready: list[Endpoint] = []
        self.leaving: list[Endpoint] = []  # taken out of the group, with something under way
        self.is_expected = False  # the first answer of a name server is still to come
        self._settings = settings
        self._hash = settings.hash_key
        self._poller = poller
        self._only: Endpoint | None = None  # who is ready, where it is one: no policy is asked
        self._slow: dict[Endpoint, float] = {}  # who starts slowly, since when
        self._serving = False
        self.set_endpoints(endpoints)
        self._slow.clear()  # nobody else is there to take the load

    def __repr__(self) -> str:
        active = sum(endpoint.active for endpoint in self.endpoints)
        return f"<Upstream {self.name}: {len(self.endpoints)} endpoints, {active} active>"

    # -- who gets a request

    def pick(self, exchange: Exchange, tried: list[Endpoint]) -> Endpoint | None:
        """Choose an endpoint for one attempt, none of those in `tried`; None: nobody has room, or nobody is there."""
        if tried:
            return self._pick_other(exchange, tried)
        queue = self.queue
        if queue is not None and len(queue):
            return None  # behind those who came before
        return self._pick(exchange)

    def _pick(self, exchange: Exchange) -> Endpoint | None:
        only = self._only
        if only is not None:
            return only if only.active < only.max_requests else None
        sticky = self.sticky
        if sticky is not None:
            endpoint = sticky.find(exchange)
            if endpoint is not None and endpoint.active < endpoint.max_requests:
                return endpoint
        by = self._hash
        return self.policy.pick(by.of(exchange) if by is not None else 0)

    def _pick_other(self, exchange: Exchange, tried: list[Endpoint]) -> Endpoint | None:
        by = self._hash
        key = by.of(exchange) if by is not None else 0
        last = -1
        for _ in range(_PICKS):
            endpoint = self.policy.pick(key)
            if endpoint is None:
                return None
            if endpoint not in tried:
                return endpoint
            last = endpoint.slot
        count = len(self.ready)
        for step in range(count):
            endpoint = self.ready[(last + 1 + step) % count]
            if endpoint.active < endpoint.max_requests and endpoint not in tried:
                return endpoint
        return None

    def began(self, endpoint: Endpoint) -> int:
        """An attempt at it begins; return the number of the trials it belongs to, 0 when it is on none."""
        endpoint.active += 1
        trial = endpoint.health.began() if endpoint.health.state != READY else 0
        self.policy.began(endpoint)
        return trial

    def ended(self, endpoint: Endpoint, trial: int = 0) -> None:
        """An attempt at it is over, however it ended."""
        endpoint.active -= 1
        if trial:
            endpoint.health.ended(trial)
        self.policy.ended(endpoint)
        queue = self.queue
        if queue is not None and len(queue):
            self._serve(queue)

    # -- who waits for room

    def wait(self, exchange: Exchange, waiter: RoomWaiter) -> bool:
        """Let it wait for room: `waiter` is told. False: nobody may wait here, or too many do."""
        queue = self.queue
        poller = self._poller
        if queue is None or poller is None or not (self.ready or self.is_expected):
            return False
        return queue.enter(exchange, waiter, poller.now)

    def leave(self, exchange: Exchange) -> None:
        """It waits no longer, if it did."""
        if self.queue is not None:
            self.queue.leave(exchange)

    def _serve(self, queue: RoomQueue) -> None:
        """Give what room there is to those who wait. One that fails at once gives room back: it is called again."""
        if self._serving:
            return
        self._serving = True
        try:
            while True:
                waiting = queue.first()
                if waiting is None:
                    return
                endpoint = self._pick(waiting.exchange)
                if endpoint is None:
                    return
                queue.leave(waiting.exchange)
                waiting.waiter.room_found(waiting.exchange, endpoint)
        finally:
            self._serving = False

    # -- who is there

    def health_changed(self) -> None:
        """The health of somebody in the group is another: look again who is ready."""
        self._rebuild()

    def set_endpoints(self, endpoints: list[Endpoint]) -> None:
        """The group is another. Who stays is the same object; who leaves gets nothing new and ends what it has, and
        may come back."""
        staying = set(endpoints)
        self.leaving = [endpoint for endpoint in self.leaving if endpoint not in staying]
        for endpoint in staying.difference(self.endpoints):
            endpoint.open()
        for endpoint in self.endpoints:
            if endpoint not in staying:
                endpoint.close()
                endpoint.slot = -1
                self.leaving.append(endpoint)
        self.endpoints = endpoints
        if self.health_owner is not None:
            self.health_owner.group_changed()
        if self.sticky is not None:
            self.sticky.set_endpoints(endpoints)
        self.policy.set_group(endpoints)
        self._rebuild()

    def _rebuild(self) -> None:
        before = set(self.ready)
        ready = self._who_is_ready()
        slow: dict[Endpoint, float] = {}
        poller = self._poller
        if self._settings.slow_start and poller is not None:
            for endpoint in ready:
                if endpoint in self._slow:
                    slow[endpoint] = self._slow[endpoint]
                elif endpoint not in before:
                    slow[endpoint] = poller.now
        self._slow = slow
        for endpoint in self.endpoints:
            endpoint.slot = -1
        for slot, endpoint in enumerate(ready):
            endpoint.slot = slot
        self.ready = ready
        self._only = ready[0] if len(ready) == 1 else None
        self._weigh()
        queue = self.queue
        if queue is not None and len(queue):
            self._serve(queue)

    def _who_is_ready(self) -> list[Endpoint]:
        mains = [endpoint for endpoint in self.endpoints if not endpoint.is_backup]
        up = [endpoint for endpoint in mains if endpoint.health.is_up]
        if up and len(up) >= self._settings.panic * len(mains):
            return up
        backups = [endpoint for endpoint in self.endpoints if endpoint.is_backup and endpoint.health.is_up]
        return [*up, *backups] if backups else list(self.endpoints)

    def _weigh(self) -> None:
        """Tell the policy who is ready and with which weights."""
        weights = [float(endpoint.weight) for endpoint in self.ready]
        poller = self._poller
        if self._slow and poller is not None:
            for endpoint, since in self._slow.items():
                grown = (poller.now - since) / self._settings.slow_start
                weights[endpoint.slot] *= min(max(grown, _SLOWEST), 1.0)
        self.policy.rebuild(self.ready, weights)

    def sweep(self, now: float) -> None:
        """Do what time brings: requests that waited long enough, weights that grow, endpoints that have ended."""
        if self.deadlines is not None:
            self.deadlines.sweep(now)
        if self.queue is not None:
            self.queue.expire(now)
        if self._slow:
            self._weigh()
            self._slow = {
                endpoint: since
                for endpoint, since in self._slow.items()
                if now < since + self._settings.slow_start
            }
        if self.leaving:
            self.leaving = [endpoint for endpoint in self.leaving if not endpoint.is_over]
