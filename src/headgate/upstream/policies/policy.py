"""What a balancing policy is: a choice among endpoints, made without looking at the clock or the network.

A policy picks from the list that `rebuild` gave it last, in O(1) or O(log n) however long that is, and leaves out who
has no room. What it keeps for an endpoint stands at the endpoint's `slot`, its place in that list. An endpoint that
is not in it has slot -1, and may still end what began before it left.
"""

from __future__ import annotations

from headgate.upstream.endpoint import Endpoint


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
