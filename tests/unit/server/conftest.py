"""A gate on a real socket, closed at the end."""

import pytest
from tests.unit.server.quic_gate import gates


@pytest.fixture
def gate():
    yield from gates()
