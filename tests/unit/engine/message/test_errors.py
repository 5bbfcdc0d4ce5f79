from headgate.engine.message.errors import MalformedError, RefusedError, malformed
from headgate.errors import RemoteProtocolError


def test_a_malformed_message_says_what_is_wrong():
    error = malformed("two of them")
    assert isinstance(error, MalformedError)
    assert (error.code, error.reason, error.detail) == (0, "malformed", "two of them")


def test_both_are_the_peers_doing():
    assert issubclass(MalformedError, RemoteProtocolError)
    assert issubclass(RefusedError, RemoteProtocolError)
