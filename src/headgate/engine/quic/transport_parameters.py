"""Transport parameters (RFC 9000 sections 7.4 and 18), version information (RFC 9368), max_datagram_frame_size
(RFC 9221) and grease_quic_bit (RFC 9287), as they travel in an extension of TLS.

Each number has its bounds in `_NUMBERS`; what is outside them, what comes twice, what only servers send and what has
octets left over is a TRANSPORT_PARAMETER_ERROR, as section 7.4 asks. Parameters that we do not know are ignored. The
connection IDs in them authenticate the handshake: `check_connection_ids` holds them against what was on the wire.
"""

from typing import Final, final

from headgate.engine.quic.errors import (
    TRANSPORT_PARAMETER_ERROR,
    QuicError,
)
from headgate.engine.quic.packet import MAX_CID
from headgate.engine.varint import MAX_VARINT, decode_varint, encode_varint, length_of_varint, size_of_varint

# Real peers send about 15, one of them greased.
MAX_PARAMETERS: Final = 64

_ORIGINAL_DESTINATION: Final = 0x00
_RESET_TOKEN: Final = 0x02
_DISABLE_MIGRATION: Final = 0x0C
_PREFERRED_ADDRESS: Final = 0x0D
_INITIAL_SOURCE: Final = 0x0F
_RETRY_SOURCE: Final = 0x10
_VERSION_INFORMATION: Final = 0x11
_GREASE: Final = 0x2AB2

# Number → attribute, least, most, and what it is when it is not sent (section 18.2).
_NUMBERS: Final[dict[int, tuple[str, int, int, int]]] = {
    0x01: ("max_idle_timeout", 0, MAX_VARINT, 0),
    0x03: ("max_udp_payload_size", 1200, MAX_VARINT, 65_527),
    0x04: ("initial_max_data", 0, MAX_VARINT, 0),
    0x05: ("initial_max_stream_data_bidi_local", 0, MAX_VARINT, 0),
    0x06: ("initial_max_stream_data_bidi_remote", 0, MAX_VARINT, 0),
    0x07: ("initial_max_stream_data_uni", 0, MAX_VARINT, 0),
    0x08: ("initial_max_streams_bidi", 0, 1 << 60, 0),
    0x09: ("initial_max_streams_uni", 0, 1 << 60, 0),
    0x0A: ("ack_delay_exponent", 0, 20, 3),
    0x0B: ("max_ack_delay", 0, (1 << 14) - 1, 25),
    0x0E: ("active_connection_id_limit", 2, MAX_VARINT, 2),
    0x20: ("max_datagram_frame_size", 0, MAX_VARINT, 0),
}
_ONLY_SERVERS: Final = frozenset((_ORIGINAL_DESTINATION, _RESET_TOKEN, _PREFERRED_ADDRESS, _RETRY_SOURCE))
_TOKEN: Final = 16


@final
class PreferredAddress:
    """Where a server would rather be reached; an address of zeros: not in that family. Addresses in network order."""

    __slots__ = ("connection_id", "ipv4", "ipv4_port", "ipv6", "ipv6_port", "token")

    def __init__(
        self, ipv4: bytes, ipv4_port: int, ipv6: bytes, ipv6_port: int, connection_id: bytes, token: bytes
    ) -> None:
        self.ipv4 = ipv4
        self.ipv4_port = ipv4_port
        self.ipv6 = ipv6
        self.ipv6_port = ipv6_port
        self.connection_id = connection_id
        self.token = token


@final
class TransportParameters:
    """What one side says about itself; made with the defaults of section 18.2. Times are in milliseconds.

    `chosen_version` and the available `versions` are 0 and empty when nothing was said about them (RFC 9368).
    """

    __slots__ = (
        "ack_delay_exponent",
        "active_connection_id_limit",
        "chosen_version",
        "disable_active_migration",
        "grease_quic_bit",
        "initial_max_data",
        "initial_max_stream_data_bidi_local",
        "initial_max_stream_data_bidi_remote",
        "initial_max_stream_data_uni",
        "initial_max_streams_bidi",
        "initial_max_streams_uni",
        "initial_source_connection_id",
        "max_ack_delay",
        "max_datagram_frame_size",
        "max_idle_timeout",
        "max_udp_payload_size",
        "original_destination_connection_id",
        "preferred_address",
        "retry_source_connection_id",
        "stateless_reset_token",
        "versions",
    )

    def __init__(self) -> None:
        self.max_idle_timeout = 0
        self.max_udp_payload_size = 65_527
        self.initial_max_data = 0
        self.initial_max_stream_data_bidi_local = 0
        self.initial_max_stream_data_bidi_remote = 0
        self.initial_max_stream_data_uni = 0
        self.initial_max_streams_bidi = 0
        self.initial_max_streams_uni = 0
        self.ack_delay_exponent = 3
        self.max_ack_delay = 25
        self.active_connection_id_limit = 2
        self.max_datagram_frame_size = 0
        self.disable_active_migration = False
        self.grease_quic_bit = False
        self.original_destination_connection_id: bytes | None = None
        self.initial_source_connection_id: bytes | None = None
        self.retry_source_connection_id: bytes | None = None
        self.stateless_reset_token = b""
        self.preferred_address: PreferredAddress | None = None
        self.chosen_version = 0
        self.versions: tuple[int, ...] = ()

    def __repr__(self) -> str:
        said = [
            f"{name}={getattr(self, name)}"
            for name, _, _, default in _NUMBERS.values()
            if getattr(self, name) != default
        ]
        return f"<TransportParameters {' '.join(said) or 'defaults'}>"


def _refusal(detail: str) -> QuicError:
    return QuicError(TRANSPORT_PARAMETER_ERROR, detail)


def decode_parameters(data: bytes, *, from_client: bool) -> TransportParameters:
    """Read the content of the extension. Raises QuicError with TRANSPORT_PARAMETER_ERROR."""
    parameters = TransportParameters()
    seen: set[int] = set()
    at = 0
    try:
        while at < len(data):
            number = decode_varint(data, at)
            at += length_of_varint(data[at])
            length = decode_varint(data, at)
            at += length_of_varint(data[at])
            if length > len(data) - at:
                raise _refusal(f"parameter {number:#x} is cut short")
            if number in seen:
                raise _refusal(f"parameter {number:#x} comes twice")
            seen.add(number)
            if len(seen) > MAX_PARAMETERS:
                raise _refusal(f"more than {MAX_PARAMETERS} parameters")
            if from_client and number in _ONLY_SERVERS:
                raise _refusal(f"parameter {number:#x} from a client")
            _decode_one(parameters, number, data[at : at + length])
            at += length
    except IndexError as error:
        raise _refusal("a parameter is cut short") from error
    # RFC 9368 section 4: what a client chose is among what it offers.
    if from_client and parameters.chosen_version and parameters.chosen_version not in parameters.versions:
        raise _refusal("the chosen version is not an available one")
    return parameters


def _decode_one(parameters: TransportParameters, number: int, value: bytes) -> None:
    known = _NUMBERS.get(number)
    if known is not None:
        name, least, most, _ = known
        if not value or length_of_varint(value[0]) != len(value):
            raise _refusal(f"{name} is no integer")
        decoded = decode_varint(value, 0)
        if not least <= decoded <= most:
            raise _refusal(f"{name} is {decoded}")
        setattr(parameters, name, decoded)
    elif number == _ORIGINAL_DESTINATION:
        parameters.original_destination_connection_id = _connection_id(value)
    elif number == _INITIAL_SOURCE:
        parameters.initial_source_connection_id = _connection_id(value)
    elif number == _RETRY_SOURCE:
        parameters.retry_source_connection_id = _connection_id(value)
    elif number == _RESET_TOKEN:
        if len(value) != _TOKEN:
            raise _refusal(f"a stateless reset token of {len(value)} octets")
        parameters.stateless_reset_token = value
    elif number in (_DISABLE_MIGRATION, _GREASE):
        if value:
            raise _refusal(f"parameter {number:#x} has a value")
        if number == _GREASE:
            parameters.grease_quic_bit = True
        else:
            parameters.disable_active_migration = True
    elif number == _PREFERRED_ADDRESS:
        parameters.preferred_address = _decode_preferred(value)
    elif number == _VERSION_INFORMATION:
        _decode_versions(parameters, value)


def _connection_id(value: bytes) -> bytes:
    if len(value) > MAX_CID:
        raise _refusal(f"a connection ID of {len(value)} octets")
    return value


def _decode_preferred(value: bytes) -> PreferredAddress:
    """Read a preferred address: section 18.2, figure 22."""
    length = value[24]
    if not 1 <= length <= MAX_CID or len(value) != 25 + length + _TOKEN:
        raise _refusal("a malformed preferred address")
    return PreferredAddress(
        value[:4],
        int.from_bytes(value[4:6], "big"),
        value[6:22],
        int.from_bytes(value[22:24], "big"),
        value[25 : 25 + length],
        value[25 + length :],
    )


def _decode_versions(parameters: TransportParameters, value: bytes) -> None:
    """Read version information (RFC 9368 section 3); zeros and odd ends are parsing failures (section 4)."""
    if not value or len(value) % 4:
        raise _refusal("version information is cut short")
    versions = [int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4)]
    if 0 in versions:
        raise _refusal("version information names version 0")
    parameters.chosen_version = versions[0]
    parameters.versions = tuple(versions[1:])


def encode_parameters(parameters: TransportParameters) -> bytes:
    """Return the content of the extension; what stands at its default is left out."""
    pieces: list[bytes] = []
    for number, (name, _, _, default) in _NUMBERS.items():
        value: int = getattr(parameters, name)
        if value != default:
            pieces.append(encode_varint(number) + encode_varint(size_of_varint(value)) + encode_varint(value))
    for number, content in (
        (_ORIGINAL_DESTINATION, parameters.original_destination_connection_id),
        (_INITIAL_SOURCE, parameters.initial_source_connection_id),
        (_RETRY_SOURCE, parameters.retry_source_connection_id),
        (_RESET_TOKEN, parameters.stateless_reset_token or None),
        (_DISABLE_MIGRATION, b"" if parameters.disable_active_migration else None),
        (_GREASE, b"" if parameters.grease_quic_bit else None),
        (_PREFERRED_ADDRESS, _encode_preferred(parameters.preferred_address)),
        (_VERSION_INFORMATION, _encode_versions(parameters)),
    ):
        if content is not None:
            pieces.append(encode_varint(number) + encode_varint(len(content)) + content)
    return b"".join(pieces)


def _encode_preferred(address: PreferredAddress | None) -> bytes | None:
    if address is None:
        return None
    return b"%b%b%b%b%c%b%b" % (
        address.ipv4,
        address.ipv4_port.to_bytes(2, "big"),
        address.ipv6,
        address.ipv6_port.to_bytes(2, "big"),
        len(address.connection_id),
        address.connection_id,
        address.token,
    )


def _encode_versions(parameters: TransportParameters) -> bytes | None:
    if not parameters.chosen_version:
        return None
    versions = (parameters.chosen_version, *parameters.versions)
    return b"".join([version.to_bytes(4, "big") for version in versions])


def check_connection_ids(
    parameters: TransportParameters,
    *,
    initial_source: bytes,
    original_destination: bytes | None,
    retry_source: bytes | None,
) -> None:
    """Hold the connection IDs of the peer's parameters against those of its packets (section 7.3).

    `initial_source` is the Source Connection ID of its first Initial. A client also gives the destination of its own
    first Initial and the source of the Retry that it followed, None without one; a server gives None twice.
    """
    for name, said, seen in (
        ("initial_source", parameters.initial_source_connection_id, initial_source),
        ("original_destination", parameters.original_destination_connection_id, original_destination),
        ("retry_source", parameters.retry_source_connection_id, retry_source),
    ):
        if said != seen:
            raise _refusal(f"{name}_connection_id is not the one of the packets")
