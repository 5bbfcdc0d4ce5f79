"""What the tests of TCP mode and of the PROXY protocol share."""

import pytest

from headgate.testing.origin import Origin
from headgate.testing.pki import Authority


@pytest.fixture(scope="module")
def echo():
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """A folder with `root.pem`, and a PEM file for each of a.test and b.test, for *.wild.test, and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("pki")
    root = Authority.root("Passage Root")
    (folder / "root.pem").write_bytes(root.pem)
    for name, names in {"a": ("a.test", "127.0.0.1"), "b": ("b.test",), "wild": ("*.wild.test",)}.items():
        leaf = root.leaf(*names)
        (folder / f"{name}.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    return folder
