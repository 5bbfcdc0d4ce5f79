"""The small tables: resolver, log, metrics, limits of the process."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from headgate.config.kinds import Address, Nameserver
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Share, fault


def _access(text: str, info: ValidationInfo) -> str:
    if text in ("stdout", "off"):
        return text
    if "/" not in text:
        raise fault('"stdout", "off" or a file', f'a file in this folder is "./{text}"')
    base = info.context.get("base") if isinstance(info.context, dict) else None
    return f"{base}/{text}" if base is not None and not text.startswith("/") else text


class Resolver(Table):
    """How names become addresses, for origins and OCSP responders alike. `/etc/hosts` comes first, and `localhost` is
    always loopback."""

    nameservers: tuple[Nameserver, ...] = ()
    """IP addresses of name servers; empty: those of `/etc/resolv.conf`."""
    system: Flag = False
    """Ask the C library (`getaddrinfo`) instead, with all that `nsswitch.conf` adds; slower, in threads."""
    prefer: Literal["auto", "ipv4", "ipv6"] = "auto"
    """Which family is tried first (RFC 8305). The order only: the other family is always tried too."""


class Log(Table):
    """Where records go. Events (starts, failures, warnings) go to stderr."""

    access: Annotated[str, AfterValidator(_access)] = "stdout"
    """The access log, one JSON object per line: `stdout`, `off`, or a file (with a `/` in its name; it is opened
    again on SIGUSR1)."""


class Metrics(Table):
    """Metrics for Prometheus, under `/metrics`. Without this table there are none."""

    address: Address
    """IP address and port, such as `"127.0.0.1:9180"`."""


class Limits(Table):
    """Limits of the process as a whole."""

    idle_connections: Annotated[Count, Field(ge=0)] = 4096
    """Connections to origins that a worker keeps without a request, of all upstreams together; beyond it the endpoint
    with most of them gives up its oldest. Reason: each is a descriptor and up to 30 KiB."""

    memory_warning: Share = 0.8
    """A worker that holds more than this share of its memory (that of the machine or of the cgroup, divided by the
    number of workers) is reported in the event log. Reason: a warning has to come before the kernel's killer."""
