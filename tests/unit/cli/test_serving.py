"""`headgate serve`: from one URL to a configuration with a certificate."""

import time
from pathlib import Path

import pytest

from headgate.cli import serving
from headgate.config.kinds import format_address
from headgate.errors import ConfigError
from headgate.process.certificates import tables_of
from headgate.process.directories import StateError
from headgate.tls.files import load_identities


@pytest.fixture
def run(monkeypatch, tmp_path):
    seen = []

    def run_config(config, *hints):
        seen.append((config, hints))
        return 0

    monkeypatch.setattr(serving, "run_config", run_config)

    def run(to="http://127.0.0.1:3000", hosts=("127.0.0.1",), state=None):
        code = serving.serve_origin(
            to, list(hosts), 8081, 8444, state or tmp_path / "state", tmp_path / "run"
        )
        return code, *seen[-1]

    return run


def test_both_listeners_and_the_origin(run, tmp_path):
    code, config, hints = run(hosts=("127.0.0.1", "::1"))
    assert code == 0
    assert [(listener.mode, listener.addresses) for listener in config.listener] == [
        ("http", ("127.0.0.1:8081", "[::1]:8081")),
        ("https", ("127.0.0.1:8444", "[::1]:8444")),
    ]
    assert config.state_dir == tmp_path / "state"
    assert "http://127.0.0.1:3000" in str(config.upstream["origin"].endpoints)
    assert f"--cacert {tmp_path}/state/local-ca/ca.pem https://localhost:8444/" in hints[0]
    assert "update-ca-certificates" in hints[1]


def test_its_certificate_is_served_without_a_complaint(run):
    _, config, _ = run()
    identities, problems = load_identities(tables_of(config), time.time())
    assert "localhost" in identities[0].names
    assert problems == []


def test_the_second_start_keeps_the_authority(run, tmp_path):
    run()
    before = (tmp_path / "state" / "local-ca" / "ca.pem").read_bytes()
    run()
    assert (tmp_path / "state" / "local-ca" / "ca.pem").read_bytes() == before


def test_bad_origin(run):
    with pytest.raises(ConfigError, match="--to ftp://x"):
        run(to="ftp://x")


@pytest.mark.parametrize("host", ["example.com", "", "127.0.0.1:80", "fe80::1%lo", "127.1", "*"])
def test_host_that_is_no_address_is_told_before_anything_is_made(run, tmp_path, host):
    with pytest.raises(ConfigError, match="expected an IP address") as caught:
        run(hosts=("127.0.0.1", host))
    assert str(caught.value).startswith(f"--host {host}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "state").exists()


def test_localhost_is_loopback_and_an_address_may_be_said_twice(run):
    _, config, _ = run(hosts=("localhost", "127.0.0.1", "[::1]", "LOCALHOST."))
    expected = tuple(format_address(host, 8081) for host in ("127.0.0.1", "::1"))
    assert config.listener[0].addresses == expected


def test_state_dir_that_others_may_write_to(run, tmp_path):
    open_dir = tmp_path / "open"
    open_dir.mkdir()
    open_dir.chmod(0o777)
    with pytest.raises(StateError, match="others may write"):
        run(state=Path(open_dir))
