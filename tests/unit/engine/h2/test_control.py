from headgate.engine.h2.base import NEVER
from headgate.engine.h2.control import H2Control


def test_nothing_is_due_at_first():
    assert H2Control(False, 0.0).deadline() == NEVER
