"""Counters of the forward proxy and of its users."""

from typing import Final

from headgate.counters.table import counter, gauge

_FORWARD = "Requests to forward listeners that were let through, by kind."
FORWARD_PLAIN: Final = counter("forward_requests_total", _FORWARD, kind="plain")
FORWARD_CONNECT: Final = counter("forward_requests_total", _FORWARD, kind="connect")
_FORWARD_REFUSED = "Requests to forward listeners that were refused, by reason."
FORWARD_REFUSED_CLIENT: Final = counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="client-not-allowed"
)
FORWARD_REFUSED_PORT: Final = counter("forward_refused_total", _FORWARD_REFUSED, reason="port-not-allowed")
FORWARD_REFUSED_HOST: Final = counter("forward_refused_total", _FORWARD_REFUSED, reason="host-not-allowed")
FORWARD_REFUSED_ADDRESS: Final = counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="address-not-allowed"
)
FORWARD_REFUSED_LOOP: Final = counter("forward_refused_total", _FORWARD_REFUSED, reason="loop")
FORWARD_REFUSED_TUNNELS: Final = counter("forward_refused_total", _FORWARD_REFUSED, reason="too-many-tunnels")
FORWARD_REFUSED_DESTINATIONS: Final = counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="too-many-destinations"
)
AUTHENTICATION_MISSING: Final = counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="authentication-required"
)
AUTHENTICATION_THROTTLED: Final = counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="too-many-attempts"
)
AUTHENTICATION_BUSY: Final = counter("forward_refused_total", _FORWARD_REFUSED, reason="authentication-busy")
AUTHENTICATION_CHECKED: Final = counter("password_checks_total", "Passwords of users that were checked.")
AUTHENTICATION_WRONG: Final = counter("password_checks_wrong_total", "Those of them that were wrong.")
FORWARD_DESTINATIONS: Final = gauge(
    "forward_destinations", "Origins that connections of forward listeners are kept for."
)
