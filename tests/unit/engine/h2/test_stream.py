from headgate.engine.h2.stream import H2Stream


def test_how_a_stream_shows_itself():
    assert repr(H2Stream(5, 100)) == "<H2Stream 5 IDLE receiving=HEAD sending=HEAD>"
