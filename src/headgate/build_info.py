"""What was built: the version, and how much of the hot code is compiled.

`COMPILED` repeats the list in pyproject.toml, which an installed package does not have; a test holds them together.
"""

import importlib.machinery
import importlib.util
from typing import Final

from headgate import __version__

COMPILED: Final[tuple[str, ...]] = (
    "headgate.errors",
    "headgate.counters",
    "headgate.http.fields",
    "headgate.http.date",
    "headgate.http.networks",
    "headgate.http.target",
    "headgate.http.forwarded",
    "headgate.http.hop_by_hop",
    "headgate.http.status",
    "headgate.engine.events",
    "headgate.engine.h1.grammar",
    "headgate.engine.h1.chunked",
    "headgate.engine.h1.machine",
    "headgate.engine.h1.connection",
    "headgate.engine.h1.server",
    "headgate.engine.h1.client",
    "headgate.net.poller",
    "headgate.net.transport",
    "headgate.net.tcp",
    "headgate.telemetry.access_log",
    "headgate.tls.client_hello",
    "headgate.tls.transport",
    "headgate.connection.settings",
    "headgate.connection.exchange",
    "headgate.connection.observer",
    "headgate.connection.context",
    "headgate.connection.stream_driver",
    "headgate.connection.downstream",
    "headgate.connection.upstream",
    "headgate.connection.quic_driver",
    "headgate.connection.quic_downstream",
    "headgate.connection.timer_heap",
    "headgate.connection.upstream_stream",
    "headgate.pipeline.matchers",
    "headgate.pipeline.route",
    "headgate.pipeline.middleware.headers",
    "headgate.pipeline.middleware.redirect",
    "headgate.pipeline.middleware.respond",
    "headgate.pipeline.middleware.reply",
    "headgate.upstream.endpoint",
    "headgate.upstream.upstream",
    "headgate.upstream.policies.policy",
    "headgate.upstream.policies.round_robin",
    "headgate.upstream.policies.two_choices",
    "headgate.server.limits",
    "headgate.server.bucket",
    "headgate.server.quic_admission",
    "headgate.server.quic_closed",
    "headgate.server.quic_answers",
    "headgate.server.quic_endpoint",
    "headgate.server.listener",
    "headgate.server.observer",
    "headgate.server.sweep",
    "headgate.proxy.answers",
    "headgate.proxy.fixed",
    "headgate.proxy.tunnel",
    "headgate.proxy.dispatch",
    "headgate.proxy.reverse",
)


def is_compiled(module: str) -> bool:
    """Tell whether `module` would be loaded from a compiled file; it is not imported."""
    spec = importlib.util.find_spec(module)
    origin = spec.origin if spec is not None else None
    return origin is not None and origin.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


def compiled_words() -> str:
    """Return "compiled 31/31", or "pure" when nothing is."""
    count = sum(is_compiled(module) for module in COMPILED)
    return f"compiled {count}/{len(COMPILED)}" if count else "pure"


def version_line() -> str:
    """Return what `headgate --version` prints."""
    return f"headgate {__version__}, {compiled_words()}"
