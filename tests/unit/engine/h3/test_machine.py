import pytest

from headgate.engine.h3.errors import H3_FRAME_UNEXPECTED, H3ConnectionError
from headgate.engine.h3.machine import TABLE, Input, State, received, sent
from headgate.errors import LocalProtocolError


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("given", Input)
def test_both_directions_read_the_same_table(state, given):
    if (state, given) in TABLE:
        assert received(state, given) == sent(state, given) == TABLE[state, given]
        return
    with pytest.raises(LocalProtocolError):
        sent(state, given)
    with pytest.raises(H3ConnectionError) as caught:
        received(state, given)
    assert caught.value.code == H3_FRAME_UNEXPECTED
