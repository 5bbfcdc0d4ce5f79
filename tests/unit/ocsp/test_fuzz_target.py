"""A second of the fuzz target in every run, and that it would notice what it looks for."""

import importlib.util
from pathlib import Path

import pytest

from headgate.ocsp import response

PATH = Path(__file__).parents[3] / "fuzz" / "ocsp_response.py"


@pytest.fixture
def target():
    spec = importlib.util.spec_from_file_location("fuzz_ocsp_response", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_second_of_it_finds_nothing(target):
    result = target.run(1.0, 20260101)
    assert result.runs > 500
    assert result.believed > 0


def test_it_would_find_a_forgery(target, monkeypatch):
    monkeypatch.setattr(response, "_check_signature", lambda *_: None)
    with pytest.raises(target.Broken, match="nobody signed"):
        target.run(20.0, 1)


def test_it_would_find_a_crash(target, monkeypatch):
    calls = iter(range(1_000_000))

    def broken(*arguments):
        if next(calls) > 50:
            raise KeyError("oops")
        return response.verify(*arguments)

    monkeypatch.setattr(target, "verify", broken)
    with pytest.raises(target.Broken, match="KeyError: 'oops'"):
        target.run(20.0, 1)
