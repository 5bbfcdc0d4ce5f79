"""One gate and one echoing origin for a whole module; tests that need their own rules start their own."""

import pytest

from headgate.testing.origin import Origin
from headgate.testing.pki import Authority


@pytest.fixture(scope="module")
def echo():
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A PEM file for a.test and *.wild.test, without staples; and its root for clients."""
    folder = tmp_path_factory.mktemp("pki")
    root = Authority.root("Proxy Root")
    leaf = root.leaf("a.test", "*.wild.test", "127.0.0.1")
    path = folder / "a.pem"
    path.write_bytes(leaf.chain_pem + leaf.key_pem)
    (folder / "root.pem").write_bytes(root.pem)
    return path
