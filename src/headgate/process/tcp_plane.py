"""From configuration to what serves a listener of mode "tcp"."""

from collections.abc import Mapping

from headgate.config.model import Config
from headgate.connection.observer import DownstreamObserver
from headgate.net.poller import Poller
from headgate.proxy.server_names import ServerNames, TcpRoute
from headgate.proxy.tcp import TcpProxy
from headgate.upstream.upstream import Upstream


def build_tcp(
    config: Config,
    index: int,
    upstreams: Mapping[str, Upstream],
    poller: Poller,
    observer: DownstreamObserver,
    values: list[int],
) -> TcpProxy:
    """Return what the connections of the listener at `index` are given to."""
    table = config.listener[index]
    route = None
    names = None
    if table.upstream is not None:
        route = TcpRoute("", upstreams[table.upstream])
    else:
        names = ServerNames()
        for place in config.routes_of(index):
            one = config.route[place]
            if one.upstream is not None:
                hosts = one.hosts or ()
                names.add(hosts, TcpRoute(",".join(hosts) or "*", upstreams[one.upstream]))
    return TcpProxy(
        poller,
        observer,
        values,
        route=route,
        names=names,
        hello_timeout=table.timeouts.handshake,
        idle=table.tcp.idle_timeout,
    )
