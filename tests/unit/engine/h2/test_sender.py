from headgate.engine.h2.sender import H2Sender


def test_how_it_shows_itself():
    assert "server" in repr(H2Sender(False, 0.0))
