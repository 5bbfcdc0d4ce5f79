"""The two machines of a handshake (RFC 8446 appendix A), each as a printed table.

A state is what a side waits for. Each input is a message together with what it turned out to mean, so the table says
at once which messages a state takes (`SERVER_TAKES`, `CLIENT_TAKES`); any other is `unexpected_message`. Certificates
may come compressed. EndOfEarlyData and KeyUpdate do not exist in QUIC (RFC 9001 sections 8.3 and 6): no state takes
them, and early data changes nothing in the order of messages.
"""

from enum import IntEnum
from typing import Final

from headgate.engine.tls13.hello import CLIENT_HELLO, SERVER_HELLO
from headgate.engine.tls13.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.tls13.messages import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CERTIFICATE_VERIFY,
    COMPRESSED_CERTIFICATE,
    ENCRYPTED_EXTENSIONS,
    FINISHED,
    NEW_SESSION_TICKET,
)


class ServerState(IntEnum):
    """What a server waits for."""

    HELLO = 0
    SECOND_HELLO = 1  # after a HelloRetryRequest
    CERTIFICATE = 2
    CERTIFICATE_VERIFY = 3
    FINISHED = 4
    CONNECTED = 5  # nothing more: a client has no message to send


class ServerInput(IntEnum):
    """A client's message, and what became of it."""

    HELLO_RETRIED = 0  # no usable key share: answered with HelloRetryRequest
    HELLO_ANSWERED = 1  # our whole flight is out
    HELLO_ANSWERED_ASKING = 2  # the same, and a certificate was asked for
    CERTIFICATE_EMPTY = 3  # the client has none, and need not
    CERTIFICATE_SHOWN = 4
    CERTIFICATE_PROVEN = 5
    FINISHED = 6


SERVER_TABLE: Final[dict[tuple[ServerState, ServerInput], ServerState]] = {
    (ServerState.HELLO, ServerInput.HELLO_RETRIED): ServerState.SECOND_HELLO,
    (ServerState.HELLO, ServerInput.HELLO_ANSWERED): ServerState.FINISHED,
    (ServerState.HELLO, ServerInput.HELLO_ANSWERED_ASKING): ServerState.CERTIFICATE,
    (ServerState.SECOND_HELLO, ServerInput.HELLO_ANSWERED): ServerState.FINISHED,
    (ServerState.SECOND_HELLO, ServerInput.HELLO_ANSWERED_ASKING): ServerState.CERTIFICATE,
    (ServerState.CERTIFICATE, ServerInput.CERTIFICATE_EMPTY): ServerState.FINISHED,
    (ServerState.CERTIFICATE, ServerInput.CERTIFICATE_SHOWN): ServerState.CERTIFICATE_VERIFY,
    (ServerState.CERTIFICATE_VERIFY, ServerInput.CERTIFICATE_PROVEN): ServerState.FINISHED,
    (ServerState.FINISHED, ServerInput.FINISHED): ServerState.CONNECTED,
}


class ClientState(IntEnum):
    """What a client waits for."""

    HELLO = 0
    SECOND_HELLO = 1  # after a HelloRetryRequest
    EXTENSIONS = 2
    CERTIFICATE_OR_REQUEST = 3
    CERTIFICATE = 4  # after a CertificateRequest
    CERTIFICATE_VERIFY = 5
    FINISHED = 6
    CONNECTED = 7  # tickets may come


class ClientInput(IntEnum):
    """A server's message, and what became of it."""

    HELLO_RETRY = 0
    HELLO = 1
    EXTENSIONS = 2  # the server will show its certificate
    EXTENSIONS_RESUMED = 3  # the ticket was its proof
    REQUEST = 4
    CERTIFICATE = 5
    CERTIFICATE_PROVEN = 6
    FINISHED = 7
    TICKET = 8


CLIENT_TABLE: Final[dict[tuple[ClientState, ClientInput], ClientState]] = {
    (ClientState.HELLO, ClientInput.HELLO_RETRY): ClientState.SECOND_HELLO,
    (ClientState.HELLO, ClientInput.HELLO): ClientState.EXTENSIONS,
    (ClientState.SECOND_HELLO, ClientInput.HELLO): ClientState.EXTENSIONS,
    (ClientState.EXTENSIONS, ClientInput.EXTENSIONS): ClientState.CERTIFICATE_OR_REQUEST,
    (ClientState.EXTENSIONS, ClientInput.EXTENSIONS_RESUMED): ClientState.FINISHED,
    (ClientState.CERTIFICATE_OR_REQUEST, ClientInput.REQUEST): ClientState.CERTIFICATE,
    (ClientState.CERTIFICATE_OR_REQUEST, ClientInput.CERTIFICATE): ClientState.CERTIFICATE_VERIFY,
    (ClientState.CERTIFICATE, ClientInput.CERTIFICATE): ClientState.CERTIFICATE_VERIFY,
    (ClientState.CERTIFICATE_VERIFY, ClientInput.CERTIFICATE_PROVEN): ClientState.FINISHED,
    (ClientState.FINISHED, ClientInput.FINISHED): ClientState.CONNECTED,
    (ClientState.CONNECTED, ClientInput.TICKET): ClientState.CONNECTED,
}

_SERVER_MESSAGES: Final[dict[ServerInput, int]] = {
    ServerInput.HELLO_RETRIED: CLIENT_HELLO,
    ServerInput.HELLO_ANSWERED: CLIENT_HELLO,
    ServerInput.HELLO_ANSWERED_ASKING: CLIENT_HELLO,
    ServerInput.CERTIFICATE_EMPTY: CERTIFICATE,
    ServerInput.CERTIFICATE_SHOWN: CERTIFICATE,
    ServerInput.CERTIFICATE_PROVEN: CERTIFICATE_VERIFY,
    ServerInput.FINISHED: FINISHED,
}
_CLIENT_MESSAGES: Final[dict[ClientInput, int]] = {
    ClientInput.HELLO_RETRY: SERVER_HELLO,
    ClientInput.HELLO: SERVER_HELLO,
    ClientInput.EXTENSIONS: ENCRYPTED_EXTENSIONS,
    ClientInput.EXTENSIONS_RESUMED: ENCRYPTED_EXTENSIONS,
    ClientInput.REQUEST: CERTIFICATE_REQUEST,
    ClientInput.CERTIFICATE: CERTIFICATE,
    ClientInput.CERTIFICATE_PROVEN: CERTIFICATE_VERIFY,
    ClientInput.FINISHED: FINISHED,
    ClientInput.TICKET: NEW_SESSION_TICKET,
}


def _with_compressed(kinds: set[int]) -> frozenset[int]:
    return frozenset(kinds | {COMPRESSED_CERTIFICATE} if CERTIFICATE in kinds else kinds)


# The types of message that each state takes.
SERVER_TAKES: Final[dict[ServerState, frozenset[int]]] = {
    state: _with_compressed({_SERVER_MESSAGES[given] for at, given in SERVER_TABLE if at == state})
    for state in ServerState
}
CLIENT_TAKES: Final[dict[ClientState, frozenset[int]]] = {
    state: _with_compressed({_CLIENT_MESSAGES[given] for at, given in CLIENT_TABLE if at == state})
    for state in ClientState
}

# The level at which each state reads: keys change with the state, never within a message.
SERVER_LEVELS: Final[dict[ServerState, int]] = {
    ServerState.HELLO: INITIAL,
    ServerState.SECOND_HELLO: INITIAL,
    ServerState.CERTIFICATE: HANDSHAKE,
    ServerState.CERTIFICATE_VERIFY: HANDSHAKE,
    ServerState.FINISHED: HANDSHAKE,
    ServerState.CONNECTED: APPLICATION,
}
CLIENT_LEVELS: Final[dict[ClientState, int]] = {
    ClientState.HELLO: INITIAL,
    ClientState.SECOND_HELLO: INITIAL,
    ClientState.EXTENSIONS: HANDSHAKE,
    ClientState.CERTIFICATE_OR_REQUEST: HANDSHAKE,
    ClientState.CERTIFICATE: HANDSHAKE,
    ClientState.CERTIFICATE_VERIFY: HANDSHAKE,
    ClientState.FINISHED: HANDSHAKE,
    ClientState.CONNECTED: APPLICATION,
}
