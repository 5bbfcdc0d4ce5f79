"""Policies and their rings, from the configuration."""

import pytest

from headgate.clock import SystemClock
from headgate.config.loader import loads
from headgate.errors import ConfigError
from headgate.process.policies import TicketRings, make_rings, policy_of
from headgate.testing.pki import Authority

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


def test_policy_has_everything_that_a_worker_may_not_read(tmp_path):
    tls = f'client_auth = "required"\nclient_ca = "{tmp_path}/ca.pem"\nmin_version = "1.3"\nunknown_name = "reject"'
    policy = policy_of(config_with(tmp_path, tls), 1)
    assert policy.client_ca == ROOT.pem
    assert (policy.client_auth, policy.min_version, policy.unknown_name) == ("required", "1.3", "reject")
    assert policy.alpn == (b"http/1.1",)
    assert policy.client_crl == b""


def test_a_file_that_vanished_is_named_with_its_key(tmp_path):
    config = config_with(tmp_path, f'client_auth = "optional"\nclient_ca = "{tmp_path}/ca.pem"')
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigError, match=r"listener\[1\].tls.client_ca: .*ca.pem: .*errno 2"):
        policy_of(config, 1)
