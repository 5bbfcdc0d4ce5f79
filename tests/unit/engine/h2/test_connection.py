from headgate.engine.h2.connection import H2Connection


def test_how_it_shows_itself():
    assert "server" in repr(H2Connection(False, 0.0))
