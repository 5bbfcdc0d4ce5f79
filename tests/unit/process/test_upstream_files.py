"""Authorities of upstreams: read once, by name, and never an empty file."""

import pytest

from headgate.config.loader import loads
from headgate.errors import ConfigError
from headgate.process.upstream_files import authorities_of, read_upstreams


@pytest.fixture
def config(tmp_path):
    text = '[[listener]]\naddresses = ["127.0.0.1:0"]\nmode = "http"\n[[route]]\nupstream = "api"\n'
    for name, tls in (("api", f'ca = "{tmp_path}/ca.pem"'), ("web", "verify = false")):
        text += f'[upstream.{name}]\nendpoints = ["https://127.0.0.1:1"]\n[upstream.{name}.tls]\n{tls}\n'
    return loads(text, files=False)


def test_they_travel_by_name(config, tmp_path):
    (tmp_path / "ca.pem").write_bytes(b"PEM \xff")
    value = read_upstreams(config)
    assert set(value) == {"api"}
    assert authorities_of(value, "api") == b"PEM \xff"
    assert authorities_of(value, "web") == b"", "those of the system"


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"", "is empty")])
def test_what_cannot_be_used_is_named(config, tmp_path, content, reason):
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"upstream\.api\.tls\.ca: .*ca\.pem.*{reason}"):
        read_upstreams(config)
