"""Files of upstreams: read once, by name, never an empty one, and none for the keeper."""

import pytest

from headgate.config.loader import loads
from headgate.errors import ConfigError
from headgate.process.snapshot import Snapshot
from headgate.process.upstream_files import authorities_of, identity_of, read_upstreams
from headgate.testing.pki import Authority


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


ROOT = Authority.root("Gates")
LEAF = ROOT.leaf("gate", client=True)


@pytest.mark.parametrize("key", ["", "key.pem"])
def test_our_certificate_travels_with_its_key_and_not_to_the_keeper(tmp_path, key):
    (tmp_path / "our.pem").write_bytes(LEAF.chain_pem + (b"" if key else LEAF.key_pem))
    (tmp_path / "key.pem").write_bytes(LEAF.key_pem)
    text = '[[listener]]\naddresses = ["127.0.0.1:0"]\nmode = "http"\n[[route]]\nupstream = "api"\n'
    text += (
        f'[upstream.api]\nendpoints = ["https://a"]\n[upstream.api.tls]\ncertificate = "{tmp_path}/our.pem"\n'
    )
    text += f'key = "{tmp_path}/{key}"\n' if key else ""
    value = read_upstreams(loads(text, files=False))
    identity = identity_of(value, "api")
    assert identity.chain_pem == LEAF.chain_pem
    assert identity_of(value, "web") is None
    assert value["api"]["key" if key else "certificate"].endswith(LEAF.key_pem.decode())
    assert Snapshot(1, {}, upstreams=value).without_keys().upstreams == {}


def test_a_certificate_that_cannot_be_used_is_named():
    value = {"api": {"certificate": LEAF.pem.decode(), "key": ROOT.leaf("x", key="rsa").key_pem.decode()}}
    with pytest.raises(
        ConfigError, match=r"upstream\.api\.tls\.certificate cannot be used: .*does not belong"
    ):
        identity_of(value, "api")
