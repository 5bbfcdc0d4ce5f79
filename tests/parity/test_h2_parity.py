"""The compiled HTTP/2 engine does what the same files do interpreted: the same events, refusals and octets.

Each half runs in a process of its own: compiled from where the package is installed, pure from src/.
"""

import os
from pathlib import Path

import pytest
from tests.parity.test_h1_parity import ROOT, digest, installed

SCRIPT = Path(__file__).with_name("h2_digest.py")
ENGINE = ROOT / "src" / "headgate" / "engine" / "h2"
COUNT = 2000


def test_a_digest_depends_on_what_happens():
    mode, value, lines, _ = digest(ROOT / "src", 50, SCRIPT)
    assert mode == "pure", value
    assert int(lines) > 100
    assert digest(ROOT / "src", 51, SCRIPT)[1] != value
    assert digest(ROOT / "src", 50, SCRIPT)[1] == value


@pytest.mark.slow
def test_compiled_and_pure_do_the_same():
    compiled = digest(None, COUNT, SCRIPT)
    expected = os.environ.get("HEADGATE_EXPECT") == "compiled"
    if compiled[0] != "compiled" and not expected:
        pytest.skip("only compiled: headgate is not installed compiled here, or without HTTP/2")
    assert compiled[0] == "compiled", compiled[1]
    outdated = [path.name for path in ENGINE.glob("*.py") if not installed(path, Path(compiled[3]))]
    if outdated and not expected:
        pytest.skip(f"only compiled: what is installed is another state of {', '.join(outdated)}")
    assert not outdated, "build it again: make setup"
    pure = digest(ROOT / "src", COUNT, SCRIPT)
    assert pure[0] == "pure", pure[1]
    assert compiled[1:3] == pure[1:3]
