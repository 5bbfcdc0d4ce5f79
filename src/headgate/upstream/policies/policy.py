"""What a balancing policy is: a choice among endpoints, made without looking at the clock or the network.

A policy picks from the list that `rebuild` gave it last, in O(1) or O(log n) however long that is, and leaves out who
has no room. What it keeps for an endpoint stands at the endpoint's `slot`, its place in that list. An endpoint that
is not in it has slot -1, and may still end what began before it left.
"""

from __future__ import annotations

from typing import Final

from headgate.upstream.endpoint import Endpoint

# Where in its own turn an endpoint begins: in the middle, so that the heavy ones are spread among the light.
PHASE: Final = 0.5


class Policy:
    """Base of all policies."""

    def set_group(self, endpoints: list[Endpoint]) -> None:
        """These are all there are, ready or not; `rebuild` follows."""

    def rebuild(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        """Pick from these from now on, whose slots are set; `weights` are above 0. The list may be empty."""
        raise NotImplementedError

    def pick(self, key: int) -> Endpoint | None:
        """Return the endpoint for the next attempt; None: nobody has room. `key` (64 bits) is the hash of what the
        choice shall depend on, for policies that hash."""
        raise NotImplementedError

    def began(self, endpoint: Endpoint) -> None:
        """A request was given to it: `active` is one more."""

    def ended(self, endpoint: Endpoint) -> None:
        """One of its requests is over: `active` is one less."""


class Turns(Policy):
    """Base of those that go by turns: an endpoint of weight w is due every 1/w of virtual time. Who stays over a
    rebuild keeps its place in the turn. `start` in [0, 1) says with whom of equals to begin."""

    def __init__(self, start: float = 0.0) -> None:
        self._start = start
        self._endpoints: list[Endpoint] = []
        self._weights: list[float] = []
        self._due: list[float] = []  # by slot: when its turn is, in virtual time
        self._now = 0.0  # virtual time

    def _begin(self, endpoints: list[Endpoint], weights: list[float]) -> None:
        """Take the list of a rebuild: virtual time begins anew, with what each has left of its turn."""
        left: dict[str, float] = {}
        for slot, endpoint in enumerate(self._endpoints):
            left[endpoint.url] = max(self._due[slot] - self._now, 0.0) * self._weights[slot]
        self._endpoints = endpoints
        self._weights = weights
        self._now = 0.0
        self._due = [left.get(endpoint.url, PHASE) / weights[slot] for slot, endpoint in enumerate(endpoints)]
