"""`headgate serve --to URL`: a local CA, a certificate for this machine, and the gate."""

import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from headgate.cli.local_ca import ensure_certificate
from headgate.cli.running import run_config
from headgate.config.defaults import default_state_dir
from headgate.config.kinds import parse_origin
from headgate.config.serve import serve_config
from headgate.demo.ports import find_port, loopback_hosts
from headgate.errors import ConfigError
from headgate.process.directories import STATE_MODE, make_directory


def serve_origin(
    to: str,
    hosts: Sequence[str],
    http_port: int,
    https_port: int,
    state_dir: Path | None,
    runtime_dir: Path | None,
) -> int:
    """Serve one origin; return the exit code. Raises `HeadgateError`."""
    try:
        parse_origin(to)
    except ValueError as exc:
        raise ConfigError(f"--to {to}: {exc}") from exc
    hosts = _addresses(hosts)
    state = (state_dir or default_state_dir(os.environ, os.geteuid())).absolute()
    make_directory(state, STATE_MODE, None, "state_dir")
    # Before anything is said about them: 0 is any port, and the lines below name the one that it became.
    http_port = http_port or find_port(0, hosts, {https_port})
    https_port = https_port or find_port(0, hosts, {http_port})
    made = ensure_certificate(state / "local-ca", ["localhost", socket.gethostname()], hosts)
    config = serve_config(
        to,
        made.chain,
        made.key,
        issuer=made.ca,
        hosts=hosts,
        http_port=http_port,
        https_port=https_port,
        state_dir=state,
        runtime_dir=runtime_dir,
    )
    hints = (
        f"try    curl --cacert {made.ca} https://localhost:{https_port}/",
        f"trust  sudo cp {made.ca} /usr/local/share/ca-certificates/headgate-local.crt"
        " && sudo update-ca-certificates   (browsers: import that file as an authority)",
    )
    if not sys.stderr.isatty():
        for hint in hints:
            sys.stderr.write(hint + "\n")
    return run_config(config, *hints)


def _addresses(hosts: Sequence[str]) -> list[str]:
    """Return the IP addresses that `--host` means, each once; localhost is loopback, whatever /etc/hosts says.

    Raises `ConfigError`."""
    found: list[str] = []
    for host in hosts:
        if host.lower().rstrip(".") == "localhost":
            found += loopback_hosts()
            continue
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            address = None
        if address is None or "%" in host:  # a zone belongs to one link, and no certificate can name it
            raise ConfigError(
                f"--host {host}: expected an IP address such as 127.0.0.1, ::1 or 0.0.0.0, or localhost"
            )
        found.append(str(address))
    return list(dict.fromkeys(found))
