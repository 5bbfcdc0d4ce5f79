"""Policies and their rings, from the configuration."""

import asyncio

import pytest

from headgate.clock import SystemClock
from headgate.config.loader import loads
from headgate.errors import ConfigError
from headgate.process.policies import RingWatch, TicketRings, make_rings, policy_of
from headgate.testing.clock import FakeClock
from headgate.testing.pki import Authority
from headgate.tls.policy import TlsPolicy
from headgate.tls.tickets import TicketRing

ROOT = Authority.root()


def config_with(tmp_path, tls=""):
    leaf = ROOT.leaf("a.test")
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    return loads(
        f"""
        [[listener]]
        addresses = ["127.0.0.1:80"]
        mode = "http"
        [[listener]]
        addresses = ["127.0.0.1:443"]
        [listener.tls]
        {tls}
        [[certificate]]
        files = "{tmp_path}/a.pem"
        [[route]]
        respond = {{ status = 200 }}
        """
    )


def test_https_listeners_have_rings_and_others_none(tmp_path):
    rings = TicketRings(make_rings(config_with(tmp_path), SystemClock()))
    assert set(rings.by_listener) == {1}
    assert rings.by_listener[1].policy.name == "127.0.0.1:443"
    assert repr(rings) == "<TicketRings of listeners [1]>"
    rings.tend()


DAY = 86_400.0


class Events(list):
    def event(self, name, level="info", *, limit_key="", **fields):
        self.append((name, level, fields))


@pytest.fixture
def month(tmp_path):
    """Return the events of a gate's first 40 days, one look every hour: (day, name, level, fields)."""

    def live(workers):
        clock, events, told = FakeClock(), Events(), []
        rings = TicketRings({1: TicketRing(TlsPolicy("127.0.0.1:443"), clock, size=60)})
        watch = RingWatch(rings, clock, events, workers)
        begun = clock.now()
        while clock.now() < begun + 40 * DAY:
            watch.look()
            told += [((clock.now() - begun) / DAY, *event) for event in events]
            events.clear()
            asyncio.run(clock.advance(3600.0))
        return told

    return live


def test_the_end_of_the_shared_ticket_keys_is_told_a_week_before_and_then_every_day(month):
    told = month(workers=2)
    ending = [event for event in told if event[1] == "ticket-keys-ending"]
    ended = [event for event in told if event[1] == "ticket-keys-ended"]
    assert [day for day, *_ in ending] == [23, 24, 25, 26, 27, 28, 29]
    assert [day for day, *_ in ended] == list(range(30, 40))
    assert len(told) == 17
    _, _, level, fields = ending[0]
    assert level == "warning"
    assert fields["listeners"] == ["127.0.0.1:443"]
    assert fields["at"] == "2026-01-31T00:00:00Z"
    assert fields["days"] == 7.0
    assert "start the gate again" in fields["next"]
    assert ended[0][3]["at"] == "2026-01-31T00:00:00Z"


def test_one_worker_shares_its_ticket_keys_with_nobody(month):
    assert month(workers=1) == []


def test_a_gate_without_https_has_no_ticket_keys_that_could_end():
    clock, events = FakeClock(), Events()
    watch = RingWatch(TicketRings({}), clock, events, 2)
    watch.look()
    assert events == []


def test_tickets_that_cannot_be_recognised_are_told_once():
    clock, events = FakeClock(), Events()
    rings = TicketRings({1: TicketRing(TlsPolicy("127.0.0.1:443"), clock, size=2)})
    watch = RingWatch(rings, clock, events, 1)
    rings.by_listener[1].problem = "tickets cannot be told apart by name"
    watch.look()
    watch.look()
    assert [(name, fields["reason"]) for name, _, fields in events] == [
        ("tickets-not-resumed", "tickets cannot be told apart by name")
    ]


def test_policy_has_everything_that_a_worker_may_not_read(tmp_path):
    tls = f'client_auth = "required"\nclient_ca = "{tmp_path}/ca.pem"\nmin_version = "1.3"\nunknown_name = "reject"'
    policy = policy_of(config_with(tmp_path, tls), 1)
    assert policy.client_ca == ROOT.pem
    assert (policy.client_auth, policy.min_version, policy.unknown_name) == ("required", "1.3", "reject")
    assert policy.alpn == (b"h2", b"http/1.1")
    assert policy.client_crl == b""


def test_a_file_that_vanished_is_named_with_its_key(tmp_path):
    config = config_with(tmp_path, f'client_auth = "optional"\nclient_ca = "{tmp_path}/ca.pem"')
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigError, match=r"listener\[1\].tls.client_ca: .*ca.pem: .*errno 2"):
        policy_of(config, 1)
