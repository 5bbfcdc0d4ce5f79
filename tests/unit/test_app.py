"""The composition root's own decisions: file limits, addresses, the start report."""

import os
import resource

import orjson
import pytest

from headgate.app import _addresses, _settings_json, _within_file_limit, report_start
from headgate.clock import SystemClock
from headgate.config.loader import loads
from headgate.config.model import Config
from headgate.process.certificates import ShelfSource
from headgate.process.fork import fork_child
from headgate.process.privileges import become, find_account
from headgate.process.snapshot import Snapshot, encode_staple
from headgate.testing.pki import Authority
from headgate.tls.staple import Staple

ROOT = Authority.root()


class Events(list):
    def event(self, name, level="info", *, limit_key="", **fields):
        self.append((name, fields))


@pytest.fixture
def config(tmp_path):
    for name in ("a", "b"):
        leaf = ROOT.leaf(f"{name}.test", must_staple=name == "b")
        (tmp_path / f"{name}.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    (tmp_path / "c.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return loads(
        f"""
        [[listener]]
        addresses = ["127.0.0.1:80", "[::1]:80"]
        mode = "http"
        redirect = true
        [listener.limits]
        connections = 3000
        [[listener]]
        addresses = ["127.0.0.1:443"]
        [listener.limits]
        connections = 1000
        [[certificate]]
        files = "{tmp_path}/*.pem"
        [[route]]
        respond = {{ status = 200 }}
        """
    )


def test_addresses_keep_their_listener(config):
    assert [(a.listener, str(a)) for a in _addresses(config)] == [
        (0, "127.0.0.1:80"),
        (0, "[::1]:80"),
        (1, "127.0.0.1:443"),
    ]


def test_settings_travel_as_json(config):
    assert Config.from_json(orjson.dumps(_settings_json(config))) == config


def test_connections_shrink_in_proportion_when_the_limit_cannot_be_raised(config):
    def child():
        resource.setrlimit(resource.RLIMIT_NOFILE, (4256, 4256))
        if os.geteuid() == 0:
            become(find_account("nobody"))
        events = Events()
        lowered = _within_file_limit(config, events)
        numbers = [listener.limits.connections for listener in lowered.listener]
        said = [name for name, _ in events]
        return 0 if numbers == [1500, 500] and said == ["connections-lowered"] else 1

    assert os.waitstatus_to_exitcode(os.waitpid(fork_child("test", child), 0)[1]) == 0


def test_connections_stay_when_there_is_room(config):
    def child():
        resource.setrlimit(resource.RLIMIT_NOFILE, (8256, 8256))
        events = Events()
        return 0 if _within_file_limit(config, events) is config and not events else 1

    assert os.waitstatus_to_exitcode(os.waitpid(fork_child("test", child), 0)[1]) == 0


def test_start_report_has_a_line_for_each_listener_and_certificate(config, tmp_path):
    source = ShelfSource(config, SystemClock(), Events())
    certificates = tuple(source.load())
    staple = Staple(b"x", 1.0, 2.0, "good")
    staples = {f"{tmp_path}/a.pem": {"staple": encode_staple(staple)}}
    report = report_start(config, source, _addresses(config), Snapshot(1, {}, certificates, staples))
    assert [(line.mode, line.note) for line in report.listeners] == [
        ("http", "redirects to https"),
        ("http", "redirects to https"),
        ("https", "h1, h2, h3"),
    ]
    a, b, c = report.certificates
    assert (a.names, a.staple, a.must_staple) == (("a.test",), staple, False)
    assert (b.staple, b.must_staple) == (None, True)
    assert c.file.endswith("c.pem")
    assert c.problem
