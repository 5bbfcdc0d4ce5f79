from headgate.engine.message.events import GoingAway, RequestRefused, StreamFailed


def test_they_show_what_matters():
    assert repr(StreamFailed(4, 0x10E, "malformed", "x", by_peer=False)) == "<StreamFailed 4 0x10e malformed>"
    assert repr(RequestRefused(8, 431, "head-too-large", "x")) == "<RequestRefused 8 431 head-too-large>"
    assert repr(GoingAway(12)) == "<GoingAway 12>"
