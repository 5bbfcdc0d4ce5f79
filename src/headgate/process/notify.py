"""Telling systemd how we are (sd_notify): a datagram to the socket that NOTIFY_SOCKET names.

Type=notify wants READY=1 once, when all workers listen. WatchdogSec= wants WATCHDOG=1 at least twice in its
time, which the supervisor's own loop sends: a supervisor that hangs is restarted. Without the variable all of
this does nothing. The variables are taken out of the environment, so that no child speaks for us.
"""

import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """The connection to the service manager; `interval` is seconds between two `watchdog` calls, 0: not
    wanted."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        # "@name" is a socket in the abstract namespace, which the kernel spells with a NUL.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.interval = self._watchdog_interval(environment) if path else 0.0

    @staticmethod
    def _watchdog_interval(environment: MutableMapping[str, str]) -> float:
        microseconds = environment.pop("WATCHDOG_USEC", "0")
        process = environment.pop("WATCHDOG_PID", "")
        if process not in ("", str(os.getpid())) or not microseconds.isdigit():
            return 0.0
        return int(microseconds) / 2e6

    def send(self, *lines: str) -> str:
        """Send "KEY=value" lines in one datagram; return "" or what went wrong. Never raises, never
        blocks."""
        if not self._address:
            return ""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as exc:
            return f"{exc.strerror} (errno {exc.errno})"
        return ""
