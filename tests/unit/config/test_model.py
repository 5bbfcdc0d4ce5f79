"""The configuration as a value: immutable, and the same after its way through JSON."""

import json
from pathlib import Path

import pytest
from gate_text import GATE, config_of, edited
from pydantic import ValidationError

from headgate.config.certificate import Ocsp
from headgate.config.loader import load
from headgate.config.model import Config

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", ["full.toml", "minimal.toml"])
def test_json_and_back(name):
    config = load(EXAMPLES / name, {}, files=False)
    assert Config.from_json(config.to_json()) == config
    assert Config.from_plain(config.to_plain()) == config
    assert json.loads(config.to_json()) == config.to_plain()


def test_nothing_is_expanded_or_resolved_twice(monkeypatch, tmp_path):
    config = config_of(edited(('upstream = "api"', 'respond = { body = "$${HOME}" }')))
    monkeypatch.chdir(tmp_path)
    again = Config.from_json(config.to_json())
    assert again.route[0].respond.body == "${HOME}"
    assert again.certificate == config.certificate


def test_json_says_units():
    plain = config_of(GATE).to_plain()
    assert plain["drain_timeout"] == "30s"
    assert plain["listener"][0]["limits"]["head"] == "64KiB"
    assert plain["listener"][0]["limits"]["connection_rate"] == "500/s"
    assert plain["limits"]["memory_warning"] == "80%"


def test_it_cannot_be_changed():
    config = config_of(GATE)
    with pytest.raises(ValidationError):
        config.workers = 3
    with pytest.raises(ValidationError):
        config.listener[0].limits.body = 3


def test_a_certificate_overrides_only_what_it_says():
    config = config_of(
        edited(
            (
                "[[route]]",
                '[certificate.ocsp]\nmust_staple = "refuse"\ntimeout = "3s"\n[ocsp]\ntimeout = "4s"\n[[route]]',
            )
        )
    )
    assert config.ocsp_of(config.certificate[0]) == Ocsp.model_validate(
        {"must_staple": "refuse", "timeout": "3s"}
    )
    assert config.ocsp.timeout == 4.0


def test_without_tables_everything_has_its_default():
    config = Config()
    assert config.ocsp.max_interval == 43_200.0
    assert config.admin_socket == config.runtime_dir / "admin.sock"
