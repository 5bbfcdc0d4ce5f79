"""Two handshakes of ours, face to face in memory, with certificates of a small authority."""

import functools
import random as randomness
import time

from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.credential import load
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ClientSettings, FixedAnswer, ServerSettings
from headgate.engine.tls13.tickets import TicketKeys
from headgate.testing.pki import Authority
from headgate.tls.context import staple_for
from headgate.tls.identity import from_pem

NAME = b"a.test"
POLICY = b"p" * 32
TICKET_KEY = b"k" * 32
SERVER_PARAMETERS = b"server parameters"
CLIENT_PARAMETERS = b"client parameters"


def seeded(seed=1):
    return randomness.Random(seed).randbytes


@functools.cache
def root():
    return Authority.root()


@functools.cache
def identity(key="p256", name="a.test"):
    leaf = root().intermediate().leaf(name, key=key)
    return from_pem(f"{name}.pem", leaf.chain_pem, leaf.key_pem)


@functools.cache
def credential(key="p256", name="a.test"):
    return load(identity(key, name), staple_for)


def trusting(chain, name, staple):
    """A client that believes everybody; what it is asked is left in `trusting.asked`."""
    trusting.asked = (chain, name, staple)


def keys(*, policy=POLICY, worker=3, lifetime=43_200, held=(TICKET_KEY,)):
    return TicketKeys(held, policy, worker, lifetime)


def server(*, credentials=None, wall=None, seed=2, version=1, transport=None, **changes):
    given = [credential()] if credentials is None else credentials
    settings = ServerSettings(**{"select": lambda name: given, **changes})
    return ServerHandshake(
        settings,
        seeded(seed),
        wall or time.time(),
        transport=transport or FixedAnswer(SERVER_PARAMETERS),
        version=version,
    )


def client(*, wall=None, seed=1, session=None, early=False, version=1, **changes):
    settings = ClientSettings(**{"server_name": NAME, "verify": trusting, **changes})
    return ClientHandshake(
        settings,
        seeded(seed),
        wall or time.time(),
        transport_parameters=CLIENT_PARAMETERS,
        session=session,
        early=early,
        version=version,
    )


def shake(one, other, *, piece=1 << 20):
    """Carry bytes to and fro until nobody has any, cut into pieces. Return the secrets: (client's, server's)."""
    secrets = {id(one): [], id(other): []}
    moved = True
    while moved:
        moved = False
        for source, target in ((one, other), (other, one)):
            secrets[id(source)] += source.take_secrets()
            for level, data in source.take_output():
                moved = True
                for at in range(0, len(data), piece):
                    target.receive(level, data[at : at + piece])
                    secrets[id(target)] += target.take_secrets()
    return secrets[id(one)], secrets[id(other)]


def agreed(client_secrets, server_secrets):
    """Tell whether what one side writes with is what the other reads with, at both levels."""

    def table(secrets, *, mirrored=False):
        return {
            (secret.level, secret.is_write != mirrored): (secret.suite, secret.secret) for secret in secrets
        }

    ours, theirs = table(client_secrets), table(server_secrets, mirrored=True)
    return ours == theirs and len(ours) == len(client_secrets) == len(server_secrets) == 4
