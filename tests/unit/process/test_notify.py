"""sd_notify: the datagram, the variables, the failures."""

import os
import socket

import pytest

from headgate.process.notify import Notifier


@pytest.mark.parametrize("abstract", [True, False])
def test_lines_arrive_in_one_datagram(tmp_path, abstract):
    name = f"@headgate-unit-{os.getpid()}" if abstract else str(tmp_path / "n")
    environment = {"NOTIFY_SOCKET": name, "PATH": "/bin"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        notifier = Notifier(environment)
        assert notifier.send("READY=1", "STATUS=fine") == ""
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"
    assert environment == {"PATH": "/bin"}


def test_without_a_manager_nothing_happens():
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    assert notifier.send("READY=1") == ""
    assert notifier.interval == 0.0


def test_a_manager_that_is_gone_is_reported_not_raised(tmp_path):
    assert "errno 2" in Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send("READY=1")


@pytest.mark.parametrize(
    ("pid", "interval"), [("", 1.0), (str(os.getpid()), 1.0), ("1", 0.0)], ids=["any", "ours", "another's"]
)
def test_watchdog_is_fed_twice_in_its_time(pid, interval):
    variables = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": pid}
    assert Notifier(variables).interval == interval
