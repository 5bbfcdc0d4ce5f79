"""The two tables: every state is reached, every state but the last one leads on."""

import pytest

from headgate.engine.tls13 import levels, messages
from headgate.engine.tls13.machine import (
    CLIENT_LEVELS,
    CLIENT_TABLE,
    CLIENT_TAKES,
    SERVER_LEVELS,
    SERVER_TABLE,
    SERVER_TAKES,
    ClientInput,
    ClientState,
    ServerInput,
    ServerState,
)

MACHINES = [
    (SERVER_TABLE, SERVER_LEVELS, ServerState, ServerInput),
    (CLIENT_TABLE, CLIENT_LEVELS, ClientState, ClientInput),
]


@pytest.mark.parametrize(("table", "levels_of", "states", "inputs"), MACHINES)
def test_every_state_is_reached_and_every_input_used(table, levels_of, states, inputs):
    reached = {states.HELLO}
    for _ in states:
        reached |= {after for (before, _), after in table.items() if before in reached}
    assert reached == set(states)
    assert {given for _, given in table} == set(inputs)
    assert set(levels_of) == set(states)


@pytest.mark.parametrize(("table", "levels_of", "states", "inputs"), MACHINES)
def test_a_handshake_only_goes_on(table, levels_of, states, inputs):
    """No way back to a state or a level that was left."""
    for (before, _), after in table.items():
        assert after > before or before == after == states.CONNECTED
        assert levels_of[after] >= levels_of[before]


CERTIFICATES = {messages.CERTIFICATE, messages.COMPRESSED_CERTIFICATE}


def test_which_state_takes_what():
    assert {state.name: SERVER_TAKES[state] for state in ServerState} == {
        "HELLO": {messages.CLIENT_HELLO},
        "SECOND_HELLO": {messages.CLIENT_HELLO},
        "CERTIFICATE": CERTIFICATES,
        "CERTIFICATE_VERIFY": {messages.CERTIFICATE_VERIFY},
        "FINISHED": {messages.FINISHED},
        "CONNECTED": set(),
    }
    assert {state.name: CLIENT_TAKES[state] for state in ClientState} == {
        "HELLO": {messages.SERVER_HELLO},
        "SECOND_HELLO": {messages.SERVER_HELLO},
        "EXTENSIONS": {messages.ENCRYPTED_EXTENSIONS},
        "CERTIFICATE_OR_REQUEST": CERTIFICATES | {messages.CERTIFICATE_REQUEST},
        "CERTIFICATE": CERTIFICATES,
        "CERTIFICATE_VERIFY": {messages.CERTIFICATE_VERIFY},
        "FINISHED": {messages.FINISHED},
        "CONNECTED": {messages.NEW_SESSION_TICKET},
    }


def test_rfc9001_6_no_state_takes_a_key_update():
    assert all(messages.KEY_UPDATE not in taken for taken in SERVER_TAKES.values())
    assert all(messages.KEY_UPDATE not in taken for taken in CLIENT_TAKES.values())
    assert SERVER_LEVELS[ServerState.CONNECTED] == levels.APPLICATION
