import pytest

from headgate.engine.h2 import machine
from headgate.engine.h2.errors import PROTOCOL_ERROR, STREAM_CLOSED, H2ConnectionError, H2StreamError
from headgate.engine.h2.machine import (
    MESSAGES,
    MISSING,
    STREAMS,
    MessageInput,
    MessageState,
    StreamInput,
    StreamState,
    message_after,
    peer_does,
    sent,
    we_do,
)
from headgate.errors import LocalProtocolError


@pytest.mark.parametrize("state", StreamState)
@pytest.mark.parametrize("given", StreamInput)
def test_rfc9113_5_1_the_states_of_a_stream(state, given):
    if (state, given) in STREAMS:
        assert peer_does(state, given) == we_do(state, given) == STREAMS[state, given]
        return
    with pytest.raises(LocalProtocolError):
        we_do(state, given)
    if state == StreamState.IDLE:
        with pytest.raises(H2ConnectionError) as broken:
            peer_does(state, given)
        assert broken.value.code == PROTOCOL_ERROR
    else:
        with pytest.raises(H2StreamError) as caught:
            peer_does(state, given)
        assert caught.value.code == STREAM_CLOSED


@pytest.mark.parametrize("state", MessageState)
@pytest.mark.parametrize("given", MessageInput)
def test_rfc9113_8_1_the_states_of_a_message(state, given):
    if (state, given) in MESSAGES:
        assert message_after(state, given) == sent(state, given) == MESSAGES[state, given]
        return
    assert message_after(state, given) == MISSING
    with pytest.raises(LocalProtocolError):
        sent(state, given)


def test_the_numbers_are_those_of_the_names():
    for kind in (StreamState, StreamInput, MessageState, MessageInput):
        for member in kind:
            name = "TRAILERS_SEEN" if member is MessageState.TRAILERS else member.name
            assert getattr(machine, name) == member
