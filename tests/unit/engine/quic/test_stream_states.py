"""The tables of the two parts of a stream as they are read; test_streams drives each row."""

import pytest

from headgate.engine.quic import stream_states
from headgate.engine.quic.stream_states import (
    RECEIVING,
    SENDING,
    ReceiveInput,
    ReceiveState,
    SendInput,
    SendState,
    is_receiving_over,
    is_sending_over,
    step_receiving,
    step_sending,
)
from headgate.errors import LocalProtocolError

PRINTED_SENDING = """\
            DATA      FIN       RESET       DATA_ACKED RESET_ACKED
READY       SEND      DATA_SENT RESET_SENT  -          -
SEND        SEND      DATA_SENT RESET_SENT  -          -
DATA_SENT   DATA_SENT DATA_SENT RESET_SENT  DATA_RECVD -
DATA_RECVD  -         -         DATA_RECVD  -          -
RESET_SENT  -         -         RESET_SENT  -          RESET_RECVD
RESET_RECVD -         -         RESET_RECVD -          RESET_RECVD
"""

PRINTED_RECEIVING = """\
            FIN         ALL        READ      RESET       RESET_READ DISCARD
RECV        SIZE_KNOWN  -          -         RESET_RECVD -          -
SIZE_KNOWN  SIZE_KNOWN  DATA_RECVD -         RESET_RECVD -          DATA_READ
DATA_RECVD  DATA_RECVD  -          DATA_READ DATA_RECVD  -          -
DATA_READ   DATA_READ   -          -         DATA_READ   -          -
RESET_RECVD RESET_RECVD -          -         RESET_RECVD RESET_READ -
RESET_READ  RESET_READ  -          -         RESET_READ  -          -
"""


def printed(table, states, inputs):
    """Lay a table out: a row for each state, a column for each input."""
    cells = [["", *(given.name for given in inputs)]]
    for state in states:
        names = [
            following.name if (following := table.get((state, given))) is not None else "-"
            for given in inputs
        ]
        cells.append([state.name, *names])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = (" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "".join(line.rstrip() + "\n" for line in lines)


def test_rfc9000_3_1_the_sending_part_as_it_is_read():
    assert printed(SENDING, SendState, SendInput) == PRINTED_SENDING


def test_rfc9000_3_2_the_receiving_part_as_it_is_read():
    assert printed(RECEIVING, ReceiveState, ReceiveInput) == PRINTED_RECEIVING


@pytest.mark.parametrize(
    ("table", "states", "inputs", "step"),
    [
        (SENDING, SendState, SendInput, step_sending),
        (RECEIVING, ReceiveState, ReceiveInput, step_receiving),
    ],
)
def test_the_flat_tables_are_the_same(table, states, inputs, step):
    for state in states:
        for given in inputs:
            wanted = table.get((state, given))
            if wanted is None:
                with pytest.raises(LocalProtocolError, match=f"^{given.name} in .* state {state.name}$"):
                    step(state, given)
            else:
                assert step(state, given) == wanted


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (SendState, "READY SEND DATA_SENT SENT_DATA_RECVD RESET_SENT SENT_RESET_RECVD"),
        (SendInput, "SEND_DATA SEND_FIN SEND_RESET DATA_ACKED RESET_ACKED"),
        (ReceiveState, "RECV SIZE_KNOWN DATA_RECVD DATA_READ RESET_RECVD RESET_READ"),
        (ReceiveInput, "RECEIVE_FIN RECEIVE_ALL READ_ALL RECEIVE_RESET READ_RESET DISCARD"),
    ],
)
def test_the_plain_numbers_are_those_of_the_enums(kind, names):
    assert [getattr(stream_states, name) for name in names.split()] == list(kind)


def test_a_part_that_is_over_stays_over():
    for table, is_over in ((SENDING, is_sending_over), (RECEIVING, is_receiving_over)):
        ends = {state for state, _ in table if is_over(state)}
        assert len(ends) == 2
        assert all(following == state for (state, _), following in table.items() if state in ends)
