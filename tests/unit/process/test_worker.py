"""What a worker takes over from before its fork, and what it reads anew."""

import types
from dataclasses import replace

import pytest

from headgate.clock import SystemClock
from headgate.config.loader import loads
from headgate.counters import CounterPage
from headgate.process.certificates import ShelfSource, encode_identity
from headgate.process.snapshot import Snapshot
from headgate.process.worker import Worker
from headgate.testing.pki import Authority

ISSUER = Authority.root().intermediate()


class Events(list):
    def event(self, name, level="info", *, limit_key="", **fields):
        self.append((name, fields))


@pytest.fixture
def made(tmp_path):
    leaf = ISSUER.leaf("a.test")
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    tables = "".join(f'[[certificate]]\nfiles = "{tmp_path}/{name}.pem"\n' for name in "ab")
    listener = '[[listener]]\naddresses = ["127.0.0.1:0"]\n'
    config = loads(listener + tables + "[[route]]\nrespond = { status = 200 }\n", files=False)
    source = ShelfSource(config, SystemClock(), Events())
    source.load()
    return types.SimpleNamespace(config=config, identity=source.identities()[0], leaf=leaf)


def decoded(made, certificate):
    start = types.SimpleNamespace(slot=0, page=CounterPage())
    worker = Worker(start, Events(), [made.identity])
    return worker._decode(Snapshot(1, {}, (certificate,)), made.config)[made.identity.name]


def test_what_was_read_before_the_fork_is_not_read_again(made):
    assert decoded(made, encode_identity(made.identity)) is made.identity


def test_a_chain_that_grew_is_another_identity_though_its_leaf_is_the_same(made):
    certificate = replace(encode_identity(made.identity), chain=made.leaf.pem.decode())
    other = decoded(made, certificate)
    assert other.fingerprint == made.identity.fingerprint
    assert other.chain_pem == made.leaf.pem


def test_so_is_one_that_another_table_names(made):
    other = decoded(made, replace(encode_identity(made.identity), section=1))
    assert other.section == 1
