"""Where things are kept by default, for root and for users."""

from pathlib import Path

import pytest

from headgate.config.defaults import default_runtime_dir, default_state_dir


@pytest.mark.parametrize(
    ("environ", "uid", "state", "runtime"),
    [
        ({"XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": "/y"}, 0, "/var/lib/headgate", "/run/headgate"),
        ({"XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": "/y"}, 7, "/x/headgate", "/y/headgate"),
        ({"HOME": "/home/a"}, 7, "/home/a/.local/state/headgate", "/tmp/headgate-7"),
        # The specification: a relative path there is to be ignored.
        (
            {"HOME": "/h", "XDG_STATE_HOME": "x", "XDG_RUNTIME_DIR": "y"},
            7,
            "/h/.local/state/headgate",
            "/tmp/headgate-7",
        ),
        ({}, 7, "/.local/state/headgate", "/tmp/headgate-7"),
    ],
)
def test_defaults(environ, uid, state, runtime, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    assert default_state_dir(environ, uid) == Path(state)
    assert default_runtime_dir(environ, uid) == Path(runtime)
