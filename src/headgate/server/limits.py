"""How many connections, from whom, and how fast.

Three bounds stand before anything is read from a client: connections in all (`connections`), from one client
network (`per_client`), and new ones for each second (`connection_rate` for one network, `all_connection_rate` for
all). A client network is a /32 or a /56: with IPv6 one subscriber owns at least a /56. Rates are token buckets that
hold one second's worth, or one connection when the rate is lower; the table of networks is bounded and forgets
buckets that are full again, which lose nothing by it. A newcomer that finds no place in it is admitted without being
remembered: then the two bounds on everybody hold, those on one network do not.

One object counts for one listener of the configuration, all its addresses together, in one worker. Workers share
nothing, so a gate admits so many times as it has workers.
"""

from typing import Final, final

from headgate.counters import (
    REFUSED_ALL_CONNECTION_RATE,
    REFUSED_CONNECTION_RATE,
    REFUSED_CONNECTIONS,
    REFUSED_PER_CLIENT,
)

# Networks remembered for one listener of one worker: some 200 bytes each, so at most 13 MiB.
MAX_NETWORKS: Final = 65_536
# A full table is gone through at most this often: refusing must not cost a walk over all of it.
FORGET_SECONDS: Final = 0.25


@final
class ClientNetwork:
    """One client network: connections open now, and its bucket."""

    __slots__ = ("at", "open", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.open = 0
        self.tokens = tokens
        self.at = at


@final
class ConnectionLimits:
    """The bounds of one listener, all its addresses together, in one worker; 0 means unlimited."""

    def __init__(
        self, values: list[int], connections: int, per_client: int, connection_rate: float, all_rate: float
    ) -> None:
        self.values = values
        self.connections = connections
        self.per_client = per_client
        self.rate = connection_rate
        self.all_rate = all_rate
        self.burst = max(1.0, connection_rate)
        self.all_burst = max(1.0, all_rate)
        self.open = 0
        self._networks: dict[str, ClientNetwork] = {}
        self._tokens = self.all_burst
        self._at = 0.0
        self._forgot_at = 0.0

    def __repr__(self) -> str:
        return f"<ConnectionLimits {self.open} open, {len(self._networks)} networks>"

    def admit(self, network: str, now: float) -> str:
        """Take a place for a new connection; return "" or the limit that refuses it (and count that)."""
        if self._is_full():
            return "connections"
        client = self._client(network, now)
        refused = self._refusal(client, now)
        if refused:
            return refused
        if not self._take_of_all(now):
            return "all_connection_rate"
        self._give(client)
        self.open += 1
        return ""

    def admit_unnamed(self, now: float) -> str:
        """Take a place for a connection whose client is not known yet: the bounds on everybody hold."""
        if self._is_full():
            return "connections"
        if not self._take_of_all(now):
            return "all_connection_rate"
        self.open += 1
        return ""

    def name(self, network: str, now: float) -> str:
        """Count a connection that has its place under its client; return "" or the limit that refuses it."""
        client = self._client(network, now)
        refused = self._refusal(client, now)
        if not refused:
            self._give(client)
        return refused

    def _is_full(self) -> bool:
        if self.connections > 0 and self.open >= self.connections:
            self.values[REFUSED_CONNECTIONS] += 1
            return True
        return False

    def _client(self, network: str, now: float) -> ClientNetwork:
        client = self._networks.get(network)
        if client is None:
            if len(self._networks) >= MAX_NETWORKS and now - self._forgot_at >= FORGET_SECONDS:
                self.forget(now)
            client = ClientNetwork(self.burst, now)
            if len(self._networks) < MAX_NETWORKS:
                self._networks[network] = client
        return client

    def _refusal(self, client: ClientNetwork, now: float) -> str:
        if self.per_client > 0 and client.open >= self.per_client:
            self.values[REFUSED_PER_CLIENT] += 1
            return "per_client"
        if self.rate > 0:
            client.tokens = min(self.burst, client.tokens + (now - client.at) * self.rate)
            client.at = now
            if client.tokens < 1:
                self.values[REFUSED_CONNECTION_RATE] += 1
                return "connection_rate"
        return ""

    def _take_of_all(self, now: float) -> bool:
        if self.all_rate > 0:
            self._tokens = min(self.all_burst, self._tokens + (now - self._at) * self.all_rate)
            self._at = now
            if self._tokens < 1:
                self.values[REFUSED_ALL_CONNECTION_RATE] += 1
                return False
            self._tokens -= 1
        return True

    def _give(self, client: ClientNetwork) -> None:
        if self.rate > 0:
            client.tokens -= 1.0
        client.open += 1

    def leave(self, network: str) -> None:
        """Give a place back; `network` "" for a connection without a name."""
        self.open -= 1
        client = self._networks.get(network)
        if client is not None and client.open > 0:
            client.open -= 1

    def forget(self, now: float) -> None:
        """Drop networks without connections whose buckets are full again; called in the sweep and when full."""
        self._forgot_at = now
        idle = [
            name
            for name, client in self._networks.items()
            if client.open == 0 and client.tokens + (now - client.at) * self.rate >= self.burst
        ]
        for name in idle:
            del self._networks[name]


def client_network(address: str) -> str:
    """Return the network that `address` is counted under: itself for IPv4, its /56 for IPv6."""
    if ":" not in address:
        return address
    if address.startswith("::ffff:") and "." in address:
        return address[7:]
    head, _, tail = address.partition("%")[0].partition("::")
    groups = head.split(":") if head else []
    if len(groups) < 4:
        rest = tail.split(":") if tail else []
        groups = groups + ["0"] * (8 - len(groups) - len(rest)) + rest
    fourth = int(groups[3] or "0", 16) & 0xFF00
    return f"{groups[0]}:{groups[1]}:{groups[2]}:{fourth:x}::/56"
