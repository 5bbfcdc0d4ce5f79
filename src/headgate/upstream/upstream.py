"""An upstream: a named group of endpoints and the policy that picks one."""

from __future__ import annotations

from typing import final

from headgate.upstream.endpoint import Endpoint
from headgate.upstream.policies.policy import Policy


@final
class Upstream:
    """`head_timeout` bounds the wait for a response's head, `idle_timeout` each silence inside its content."""

    def __init__(
        self,
        name: str,
        endpoints: list[Endpoint],
        policy: Policy,
        *,
        head_timeout: float = 60.0,
        body_idle: float = 60.0,
    ) -> None:
        self.name = name
        self.endpoints = endpoints
        self.policy = policy
        self.head_timeout = head_timeout
        self.body_idle = body_idle

    def __repr__(self) -> str:
        active = sum(endpoint.active for endpoint in self.endpoints)
        return f"<Upstream {self.name}: {len(self.endpoints)} endpoints, {active} active>"

    def pick(self) -> Endpoint:
        """Choose an endpoint for one attempt."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        return self.policy.pick(self.endpoints)
