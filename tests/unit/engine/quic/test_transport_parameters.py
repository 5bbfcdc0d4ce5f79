"""Transport parameters both ways, and every check of RFC 9000 section 18.2, RFC 9368 and section 7.3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.errors import TRANSPORT_PARAMETER_ERROR, QuicError
from headgate.engine.quic.packet import VERSION_1, VERSION_2
from headgate.engine.quic.transport_parameters import (
    MAX_PARAMETERS,
    PreferredAddress,
    TransportParameters,
    check_connection_ids,
    decode_parameters,
    encode_parameters,
)
from headgate.engine.varint import MAX_VARINT, encode_varint

V = st.integers(0, MAX_VARINT)
CID = st.binary(max_size=20)
COUNT = st.integers(0, 1 << 60)
NUMBERS = {
    "max_idle_timeout": V,
    "max_udp_payload_size": st.integers(1200, MAX_VARINT),
    "initial_max_data": V,
    "initial_max_stream_data_bidi_local": V,
    "initial_max_stream_data_bidi_remote": V,
    "initial_max_stream_data_uni": V,
    "initial_max_streams_bidi": COUNT,
    "initial_max_streams_uni": COUNT,
    "ack_delay_exponent": st.integers(0, 20),
    "max_ack_delay": st.integers(0, (1 << 14) - 1),
    "active_connection_id_limit": st.integers(2, MAX_VARINT),
    "max_datagram_frame_size": V,
    "disable_active_migration": st.booleans(),
    "grease_quic_bit": st.booleans(),
    "initial_source_connection_id": st.none() | CID,
}
OF_SERVERS = {
    "original_destination_connection_id": st.none() | CID,
    "retry_source_connection_id": st.none() | CID,
    "stateless_reset_token": st.just(b"") | st.binary(min_size=16, max_size=16),
}
PREFERRED = st.builds(
    PreferredAddress,
    st.binary(min_size=4, max_size=4),
    st.integers(0, 65535),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.binary(min_size=1, max_size=20),
    st.binary(min_size=16, max_size=16),
)
VERSIONS = st.lists(st.integers(1, (1 << 32) - 1), min_size=1, max_size=5)


def one(number, value):
    return encode_varint(number) + encode_varint(len(value)) + value


def integer(number, value):
    return one(number, encode_varint(value))


def refused(data, *, from_client=False):
    with pytest.raises(QuicError) as caught:
        decode_parameters(data, from_client=from_client)
    return caught.value.code == TRANSPORT_PARAMETER_ERROR


def attributes(kind):
    """Names of a class's attributes: compiled, it has no __slots__, but descriptors like the other."""
    return [name for name in dir(kind) if name[0] != "_"]


@given(
    st.fixed_dictionaries({}, optional={**NUMBERS, **OF_SERVERS}),
    st.none() | PREFERRED,
    st.just([]) | VERSIONS,
)
def test_parameters_both_ways(values, preferred, versions):
    parameters = TransportParameters()
    for name, value in values.items():
        setattr(parameters, name, value)
    parameters.preferred_address = preferred
    if versions:
        parameters.chosen_version, parameters.versions = versions[0], tuple(versions[1:])
    read = decode_parameters(encode_parameters(parameters), from_client=False)
    for name in attributes(TransportParameters):
        if name != "preferred_address":
            assert getattr(read, name) == getattr(parameters, name)
    address = read.preferred_address
    assert (address is None) == (preferred is None)
    if address is not None:
        for name in attributes(PreferredAddress):
            assert getattr(address, name) == getattr(preferred, name)


@given(st.binary(max_size=120), st.booleans())
def test_garbage_raises_only_the_documented_error(data, from_client):
    try:
        decode_parameters(data, from_client=from_client)
    except QuicError as error:
        code = error.code
        assert code == TRANSPORT_PARAMETER_ERROR


def test_rfc9000_18_2_defaults():
    parameters = decode_parameters(b"", from_client=True)
    assert encode_parameters(parameters) == b""
    assert (parameters.max_udp_payload_size, parameters.ack_delay_exponent) == (65_527, 3)
    assert (parameters.max_ack_delay, parameters.active_connection_id_limit) == (25, 2)
    assert repr(parameters) == "<TransportParameters defaults>"
    parameters.initial_max_data = 7
    assert repr(parameters) == "<TransportParameters initial_max_data=7>"


@pytest.mark.parametrize(
    ("number", "good", "bad"),
    [
        (0x03, 1200, 1199),
        (0x08, 1 << 60, (1 << 60) + 1),
        (0x09, 1 << 60, (1 << 60) + 1),
        (0x0A, 20, 21),
        (0x0B, (1 << 14) - 1, 1 << 14),
        (0x0E, 2, 1),
    ],
)
def test_rfc9000_18_2_values_at_their_bounds_and_one_beyond(number, good, bad):
    decode_parameters(integer(number, good), from_client=True)
    assert refused(integer(number, bad), from_client=True)


@pytest.mark.parametrize("number", [0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0E, 0x20])
@pytest.mark.parametrize("value", [b"", b"\x44", b"\x01\x00", b"\xc0" + bytes(6)])
def test_rfc9000_7_4_a_number_that_is_no_integer(number, value):
    assert refused(one(number, value))


@pytest.mark.parametrize(
    "data",
    [
        one(0x00, bytes(21)),
        one(0x0F, bytes(21)),
        one(0x10, bytes(21)),
        one(0x02, bytes(15)),
        one(0x02, bytes(17)),
        one(0x0C, b"\x00"),
        one(0x2AB2, b"\x00"),
        one(0x0D, bytes(24)),
        one(0x0D, bytes(24) + b"\x00" + bytes(16)),
        one(0x0D, bytes(24) + b"\x15" + bytes(21 + 16)),
        one(0x0D, bytes(24) + b"\x04" + bytes(4 + 15)),
        one(0x0D, bytes(24) + b"\x04" + bytes(4 + 17)),
    ],
)
def test_rfc9000_18_2_malformed_values(data):
    assert refused(data)


@pytest.mark.parametrize("data", [b"\x01", b"\x01\x02\x00", b"\x40", b"\x01\x40", b"\x01\xff" + b"\xff" * 7])
def test_rfc9000_7_4_parameters_that_are_cut_short(data):
    assert refused(data)


@pytest.mark.parametrize(
    "data",
    [one(0x00, b"x"), one(0x02, bytes(16)), one(0x0D, bytes(24) + b"\x04" + bytes(20)), one(0x10, b"x")],
)
def test_rfc9000_18_2_what_only_servers_send(data):
    decode_parameters(data, from_client=False)
    assert refused(data, from_client=True)


@pytest.mark.parametrize("data", [integer(0x04, 7), one(0x0C, b""), one(0x1B + 31 * 99, b"grease")])
def test_rfc9000_7_4_a_parameter_that_comes_twice(data):
    decode_parameters(data, from_client=True)
    assert refused(data + data, from_client=True)


def test_rfc9000_7_4_2_unknown_parameters_are_ignored_up_to_a_limit():
    data = b"".join(one(0x1B + 31 * number, b"x" * number) for number in range(MAX_PARAMETERS))
    assert encode_parameters(decode_parameters(data, from_client=True)) == b""
    assert refused(data + one(0x3FFF, b""), from_client=True)


# RFC 9368


def test_rfc9368_3_version_information():
    data = one(0x11, b"\0\0\0\x01" + b"\x6b\x33\x43\xcf" + b"\0\0\0\x01")
    parameters = decode_parameters(data, from_client=True)
    assert (parameters.chosen_version, parameters.versions) == (VERSION_1, (VERSION_2, VERSION_1))


@pytest.mark.parametrize("value", [b"", b"\0\0\0", bytes(4), b"\0\0\0\x01" + bytes(4), b"\0\0\0\x01\0"])
def test_rfc9368_4_version_information_that_cannot_be_parsed(value):
    assert refused(one(0x11, value), from_client=True)


def test_rfc9368_4_a_client_offers_what_it_chose():
    data = one(0x11, b"\0\0\0\x01" + b"\x6b\x33\x43\xcf")
    assert refused(data, from_client=True)
    assert decode_parameters(data, from_client=False).versions == (VERSION_2,)


# Section 7.3


def test_rfc9000_7_3_connection_ids_of_a_client():
    parameters = TransportParameters()
    for said, seen, is_fine in (
        (b"A", b"A", True),
        (b"A", b"B", False),
        (None, b"", False),
        (b"", b"", True),
    ):
        parameters.initial_source_connection_id = said
        if is_fine:
            check_connection_ids(
                parameters, initial_source=seen, original_destination=None, retry_source=None
            )
        else:
            with pytest.raises(QuicError) as caught:
                check_connection_ids(
                    parameters, initial_source=seen, original_destination=None, retry_source=None
                )
            assert caught.value.code == TRANSPORT_PARAMETER_ERROR


@pytest.mark.parametrize(
    ("original", "retry"), [(None, b"R"), (b"X", b"R"), (b"O", None), (b"O", b"X"), (b"O", b"R")]
)
def test_rfc9000_7_3_connection_ids_of_a_server(original, retry):
    parameters = TransportParameters()
    parameters.initial_source_connection_id = b"S"
    parameters.original_destination_connection_id = original
    parameters.retry_source_connection_id = retry
    expected = {"initial_source": b"S", "original_destination": b"O", "retry_source": b"R"}
    if (original, retry) == (b"O", b"R"):
        check_connection_ids(parameters, **expected)
        # A Retry that nobody sent.
        expected["retry_source"] = None
    with pytest.raises(QuicError):
        check_connection_ids(parameters, **expected)
