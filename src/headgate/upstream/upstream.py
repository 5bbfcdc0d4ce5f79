"""An upstream: a named group of endpoints, who of them is ready, and the policy that picks one.

Whoever uses an endpoint says so: `pick`, then `began`, and `ended` exactly once. Policies pick from `ready`, which is
built anew when health or the group changes, so that a pick looks at nobody who is out.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.exchange import Exchange
from headgate.connection.stream_driver import NEVER
from headgate.upstream.deadlines import Deadlines
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.health import READY
from headgate.upstream.policies.policy import Policy
from headgate.upstream.retries import Retries

# Picks of the policy before the group is walked for somebody that an exchange has not tried yet.
_PICKS: Final = 4


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
    ) -> None:
        self.name = name
        self.endpoints = endpoints
        self.policy = policy
        self.head_timeout = head_timeout
        self.body_idle = body_idle
        self.try_timeout = try_timeout
        self.deadlines = Deadlines(total_timeout) if total_timeout < NEVER else None
        self.retries = retries if retries is not None else Retries()
        self.ready: list[Endpoint] = []
        self._only: Endpoint | None = None  # who is ready, where it is one: no policy is asked
        self._rebuild()

    def __repr__(self) -> str:
        active = sum(endpoint.active for endpoint in self.endpoints)
        return f"<Upstream {self.name}: {len(self.endpoints)} endpoints, {active} active>"

    # -- who gets a request

    def pick(self, exchange: Exchange, tried: list[Endpoint]) -> Endpoint | None:
        """Choose an endpoint for one attempt, none of those in `tried`; None: nobody has room, or nobody is there."""
        only = self._only
        if only is not None:
            return None if only.active >= only.max_requests or only in tried else only
        if not tried:
            return self.policy.pick(0)
        return self._pick_other(tried)

    def _pick_other(self, tried: list[Endpoint]) -> Endpoint | None:
        last = -1
        for _ in range(_PICKS):
            endpoint = self.policy.pick(0)
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

    def began(self, endpoint: Endpoint) -> None:
        """An attempt at it begins."""
        endpoint.active += 1
        if endpoint.health.state != READY:
            endpoint.health.began()
        self.policy.began(endpoint)

    def ended(self, endpoint: Endpoint) -> None:
        """An attempt at it is over, however it ended."""
        endpoint.active -= 1
        if endpoint.health.trials_active:
            endpoint.health.ended()
        self.policy.ended(endpoint)

    # -- who is there

    def health_changed(self, endpoint: Endpoint) -> None:
        """Look again who is ready."""
        self._rebuild()

    def set_endpoints(self, endpoints: list[Endpoint]) -> None:
        """The group is another; who stays is the same object."""
        for endpoint in self.endpoints:
            endpoint.slot = -1
        self.endpoints = endpoints
        self._rebuild()

    def _rebuild(self) -> None:
        ready = [endpoint for endpoint in self.endpoints if endpoint.health.is_up]
        if not ready:
            ready = list(self.endpoints)  # health never makes an outage where there was a bad hour
        for endpoint in self.endpoints:
            endpoint.slot = -1
        for slot, endpoint in enumerate(ready):
            endpoint.slot = slot
        self.ready = ready
        self._only = ready[0] if len(ready) == 1 else None
        self.policy.rebuild(ready, [float(endpoint.weight) for endpoint in ready])

    def sweep(self, now: float) -> None:
        """Do what time brings: requests that are late."""
        if self.deadlines is not None:
            self.deadlines.sweep(now)
