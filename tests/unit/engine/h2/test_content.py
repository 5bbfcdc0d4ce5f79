from headgate.engine.h2.content import H2Content


def test_nothing_is_read_at_first():
    assert H2Content(False, 0.0).streams == {}
