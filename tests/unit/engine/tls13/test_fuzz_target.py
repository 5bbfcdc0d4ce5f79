"""A short round of the fuzz target in every run, and that it would notice what it looks for."""

import pytest
from fuzz import tls_messages

from headgate.engine.tls13.hello import CLIENT_HELLO
from headgate.errors import RemoteProtocolError


@pytest.mark.slow
def test_three_seconds_of_it_find_nothing():
    assert tls_messages.run(3.0, 20260101) > 1000


def test_every_message_of_the_corpus_is_read():
    outcomes = {message[0]: tls_messages.decode(message) for message in tls_messages.MESSAGES}
    assert set(outcomes) >= set(tls_messages.DECODERS)
    assert {outcomes[kind] for kind in tls_messages.DECODERS} == {"read"}


def test_handshakes_complete_and_fail():
    inputs = tls_messages.Inputs(5)
    for _ in range(4000):
        inputs.run_one()
    assert inputs.outcomes["complete"] > 3
    assert inputs.outcomes["error 0x10a"] > 0


def test_it_would_find_a_code_that_quic_has_no_name_for(monkeypatch):
    def broken(message):
        raise RemoteProtocolError(7, "no alert")

    monkeypatch.setitem(tls_messages.DECODERS, CLIENT_HELLO, broken)
    with pytest.raises(tls_messages.Broken, match="no alert"):
        tls_messages.decode(tls_messages.MESSAGES[0])


def test_it_would_find_pieces_that_mean_something_else():
    message = tls_messages.MESSAGES[0]
    with pytest.raises(tls_messages.Broken, match="in many"):
        tls_messages.hello(message, [message, message])


def test_it_would_find_a_handshake_that_goes_on_after_a_failure():
    with pytest.raises(tls_messages.Broken, match="goes on"):
        tls_messages._is_over(tls_messages.new_server(), "error 0x132")
