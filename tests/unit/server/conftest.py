"""A gate on a real socket, closed at the end."""

import pytest
from tests.unit.server.quic_gate import Gate


@pytest.fixture
def gate():
    gates = []

    def make(*arguments, **options):
        gates.append(Gate(*arguments, **options))
        return gates[-1]

    yield make
    for made in gates:
        made.close()
