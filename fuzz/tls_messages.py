"""Fuzz target: the messages of TLS 1.3, each decoder alone and whole handshakes of both roles.

    python -m fuzz.tls_messages --seconds 10 --seed 1

Takes the messages of real handshakes (full, resumed, with HelloRetryRequest, with client certificates) and mutates
them, whole messages moved, repeated and exchanged too. Checked each time: only `RemoteProtocolError` comes out, with
a code that QUIC may send; a handshake that was changed does not complete; bytes that come in pieces mean what they
mean in one; no more is gathered than the longest message; and it costs little.
"""

import random
import sys
from collections.abc import Callable
from typing import Final

from fuzz._common import Broken, main, mutate, repeat, split, timed
from headgate.engine.tls13.alerts import CRYPTO_ERROR, PROTOCOL_VIOLATION
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.groups import SECP256R1, X25519
from headgate.engine.tls13.handshake import Handshake
from headgate.engine.tls13.hello import CLIENT_HELLO, SERVER_HELLO, decode_client_hello, decode_server_hello
from headgate.engine.tls13.levels import APPLICATION, INITIAL
from headgate.engine.tls13.messages import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CERTIFICATE_VERIFY,
    COMPRESSED_CERTIFICATE,
    ENCRYPTED_EXTENSIONS,
    MAX_CERTIFICATE,
    NEW_SESSION_TICKET,
    decode_certificate,
    decode_certificate_request,
    decode_certificate_verify,
    decode_compressed_certificate,
    decode_encrypted_extensions,
    decode_new_session_ticket,
)
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ClientSettings, FixedAnswer, ServerSettings, Session
from headgate.engine.tls13.tickets import TicketKeys
from headgate.errors import LocalProtocolError, RemoteProtocolError
from headgate.testing.quic_memory import WALL, credential
from headgate.testing.quic_raw import believe

NAME: Final = b"localhost"
PARAMETERS: Final = b"\x01\x01\x00"
# What may close a connection of QUIC for TLS: an alert, or a breach that RFC 9001 names itself.
CODES: Final = frozenset((PROTOCOL_VIOLATION, *range(CRYPTO_ERROR, CRYPTO_ERROR + 256)))
DECODERS: Final[dict[int, Callable[[bytes], object]]] = {
    CLIENT_HELLO: decode_client_hello,
    SERVER_HELLO: decode_server_hello,
    ENCRYPTED_EXTENSIONS: decode_encrypted_extensions,
    CERTIFICATE_REQUEST: decode_certificate_request,
    CERTIFICATE: lambda message: decode_certificate(message, staple_asked=True),
    CERTIFICATE_VERIFY: decode_certificate_verify,
    COMPRESSED_CERTIFICATE: decode_compressed_certificate,
    NEW_SESSION_TICKET: decode_new_session_ticket,
}
PIECES: Final[tuple[bytes, ...]] = (
    b"\0", b"\0\0", b"\xff\xff", b"\xff\xff\xff", b"\0\x39\0\0", b"\x00\x29\x00\x00", b"\x00\x33\x00\x02\x00\x00",
    b"\x00\x2b\x00\x03\x02\x03\x04", b"\x0a\x0a\x00\x01\x00", b"\x30\x82\x01\x00", b"\x18\0\0\1\0", b"\x05\0\0\0",
    b"\x14\0\0\x20" + bytes(32), b"\x01\xff\xff\xff", b"\x0b\x00\x00\x04\x00\x00\x00\x00", bytes(300),
)  # fmt: skip


def _verify_client(chain: tuple[bytes, ...]) -> None:
    """Believe everybody."""


def new_server(*, asks: bool = False, retries: bool = False) -> ServerHandshake:
    """Return a server; it asks for a certificate, or for another key share."""
    settings = ServerSettings(
        select=lambda _name: [credential()],
        client_auth="optional" if asks else "off",
        verify_client=_verify_client,
        groups=(SECP256R1,) if retries else (X25519, SECP256R1),
        tickets=TicketKeys((b"k" * 32,), b"p" * 32, 3, 43_200),
    )
    return ServerHandshake(settings, random.Random(2).randbytes, WALL, transport=FixedAnswer(PARAMETERS))


def new_client(*, shows: bool = False, session: Session | None = None) -> ClientHandshake:
    """Return a client; it has a certificate to show, or a session to resume."""
    settings = ClientSettings(
        server_name=NAME,
        verify=believe,
        groups=(X25519, SECP256R1),
        shares=(X25519,),
        credential=credential() if shows else None,
    )
    return ClientHandshake(
        settings, random.Random(3).randbytes, WALL, transport_parameters=PARAMETERS, session=session
    )


def messages_of(data: bytes) -> list[bytes]:
    """Cut handshake octets into messages."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found


def shake(
    client: ClientHandshake, server: ServerHandshake, change: Callable[[bool, int, bytes], list[bytes]]
) -> list[tuple[bool, int, bytes]]:
    """Carry bytes to and fro; `change(is_client, level, octets)` says what arrives. Return what was said.

    Octets of a level whose keys are not there yet cannot be read, so they are lost.
    """
    said: list[tuple[bool, int, bytes]] = []
    readable = {(True, INITIAL), (False, INITIAL)}
    moved = True
    while moved:
        moved = False
        for source, target in ((client, server), (server, client)):
            for level, data in source.take_output():
                moved = True
                said.append((source is client, level, data))
                for piece in change(source is client, level, data):
                    if (target is client, level) not in readable:
                        break
                    target.receive(level, piece)
                    secrets = target.take_secrets()
                    readable |= {(target is client, new.level) for new in secrets if not new.is_write}
                    if len(target._buffer) > 4 + MAX_CERTIFICATE:
                        raise Broken(f"{target!r} gathers {len(target._buffer)} octets")
    return said


def _corpus() -> tuple[bytes, ...]:
    """Return every message of the handshakes that there are."""
    client = new_client(shows=True)
    said = shake(client, new_server(asks=True), lambda _who, _level, data: [data])
    sessions = client.take_sessions()
    said += shake(new_client(), new_server(retries=True), lambda _who, _level, data: [data])
    said += shake(new_client(session=sessions[0]), new_server(), lambda _who, _level, data: [data])
    found = [message for _, _, data in said for message in messages_of(data)]
    return (*found, credential().message(b"a staple", ()))


MESSAGES: Final = _corpus()


def decode(message: bytes) -> str:
    """Decode a message by its type."""
    decoder = DECODERS.get(message[0]) if len(message) >= 4 else None
    if decoder is None:
        return "other"
    try:
        decoder(message)
    except RemoteProtocolError as error:
        if error.code not in CODES:
            raise Broken(f"{error!r}") from error
        return f"error {error.code:#x}"
    return "read"


def hello(data: bytes, pieces: list[bytes]) -> None:
    """Give a first flight to two servers, whole and in pieces; they must agree."""
    outcomes: list[str] = []
    for given in ([data], pieces):
        server = new_server()
        try:
            for piece in given:
                server.receive(INITIAL, piece)
            outcomes.append(f"{server.complete} {[level for level, _ in server.take_output()]}")
        except RemoteProtocolError as error:
            if error.code not in CODES:
                raise Broken(f"{error!r}") from error
            outcomes.append(f"error {error.code:#x}")
        _is_over(server, outcomes[-1])
    if outcomes[0] != outcomes[1]:
        raise Broken(f"{outcomes[0]} in one piece, {outcomes[1]} in many")


def _is_over(side: Handshake, outcome: str) -> None:
    """After a failure nothing more is taken."""
    if not outcome.startswith("error"):
        return
    try:
        side.receive(INITIAL, b"\x01")
    except LocalProtocolError:
        return
    raise Broken(f"{side!r} goes on after {outcome}")


class Inputs:
    """Draws inputs, the corpus itself first."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._drawn = 0
        self.outcomes: dict[str, int] = {}

    def run_one(self) -> None:
        """Draw an input and check all of it. Raises `Broken`."""
        chance = self._chance
        self._drawn += 1
        message = MESSAGES[self._drawn % len(MESSAGES)]
        if self._drawn > len(MESSAGES):
            message = mutate(message, MESSAGES, PIECES, chance)
            if chance.random() < 0.7 and len(message) > 4:  # a length that is right leads further in
                message = message[:1] + (len(message) - 4).to_bytes(3, "big") + message[4:]
        timed(message.hex(), len(message), lambda: self._note(decode(message)))
        if self._drawn % 20 == 0:
            pieces = split(message, chance)
            timed(message.hex(), len(message), lambda: hello(message, pieces))
        if self._drawn % 40 == 0:
            self._handshake()

    def _handshake(self) -> None:
        """Shake hands with one flight changed."""
        chance = self._chance
        kind = chance.randrange(4)
        client, server = new_client(shows=kind == 1), new_server(asks=kind == 1, retries=kind == 2)
        turn = [chance.randrange(4)]
        changed: list[str] = []

        def change(is_client: bool, level: int, data: bytes) -> list[bytes]:
            turn[0] -= 1
            if turn[0] == 0 and level != APPLICATION:
                parts = messages_of(data)
                if chance.random() < 0.3:
                    chance.shuffle(parts)
                new = mutate(b"".join(parts), MESSAGES, PIECES, chance)
                changed.append(f"{'client' if is_client else 'server'} {level} {new.hex()}")
                if new != data:
                    return split(new, chance)
                changed.clear()
            return [data]

        def work() -> None:
            try:
                shake(client, server, change)
            except RemoteProtocolError as error:
                if error.code not in CODES:
                    raise Broken(f"{error!r}") from error
                self._note(f"error {error.code:#x}")
                return
            if changed and client.complete and server.complete:
                raise Broken("a changed handshake completes")
            self._note("complete" if server.complete else "waits")

        try:
            timed("handshake", 0, work)
        except Broken as broken:
            raise Broken(f"{changed}: {broken}") from broken

    def _note(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    return repeat(Inputs(seed).run_one, seconds)


if __name__ == "__main__":
    sys.exit(main("tls_messages", __doc__, run))
