"""Which version a connection speaks (RFC 9368, RFC 9369): what is chosen, and what is not believed."""

import pytest

from headgate.engine.quic.errors import TRANSPORT_PARAMETER_ERROR, VERSION_NEGOTIATION_ERROR, QuicError
from headgate.engine.quic.packet import VERSION_1, VERSION_2
from headgate.engine.quic.transport_parameters import (
    TransportParameters,
    decode_parameters,
    encode_parameters,
)
from headgate.engine.quic.versions import Introduction, check_server, choose, follow

UNKNOWN = 0x1A2A3A4A  # grease
BOTH = (VERSION_1, VERSION_2)


def said(chosen=0, versions=()):
    parameters = TransportParameters()
    parameters.chosen_version, parameters.versions = chosen, tuple(versions)
    return parameters


def introduced(original, chosen, available, *, ours=BOTH, prefers_newest=False):
    held = Introduction(said(), original, ours, prefers_newest=prefers_newest)
    answer = decode_parameters(held.answer(encode_parameters(said(chosen, available))), from_client=False)
    assert answer.chosen_version == held.negotiated
    assert answer.versions == ours
    return held.negotiated


@pytest.mark.parametrize(
    ("original", "available", "options", "negotiated"),
    [
        (VERSION_1, [VERSION_1], {}, VERSION_1),
        (VERSION_1, [VERSION_1, VERSION_2], {}, VERSION_1),
        (VERSION_1, [VERSION_2, VERSION_1], {}, VERSION_2),
        (VERSION_1, [UNKNOWN, VERSION_2, VERSION_1], {}, VERSION_2),
        (VERSION_1, [VERSION_1, VERSION_2], {"prefers_newest": True}, VERSION_2),
        (VERSION_1, [VERSION_1], {"prefers_newest": True}, VERSION_1),
        (VERSION_1, [VERSION_2, VERSION_1], {"ours": (VERSION_1,)}, VERSION_1),
        (VERSION_1, [VERSION_2, VERSION_1], {"ours": (VERSION_1,), "prefers_newest": True}, VERSION_1),
        (VERSION_2, [VERSION_2, VERSION_1], {}, VERSION_2),
        (VERSION_2, [VERSION_1, VERSION_2], {}, VERSION_2),
        (VERSION_2, [VERSION_1, VERSION_2], {"prefers_newest": True}, VERSION_2),
    ],
)
def test_rfc9368_2_3_a_server_goes_on_as_the_client_prefers(original, available, options, negotiated):
    assert introduced(original, original, available, **options) == negotiated


@pytest.mark.parametrize("original", BOTH)
def test_a_client_that_says_nothing_keeps_its_version(original):
    assert introduced(original, 0, []) == original


@pytest.mark.parametrize("original", BOTH)
def test_rfc9368_4_a_client_chose_what_its_packets_show(original):
    (other,) = {*BOTH} - {original}
    held = Introduction(said(), original, BOTH, prefers_newest=False)
    with pytest.raises(QuicError) as caught:
        held.answer(encode_parameters(said(other, [other])))
    assert caught.value.code == VERSION_NEGOTIATION_ERROR


def test_rfc9368_4_a_client_chose_one_that_it_offers():
    held = Introduction(said(), VERSION_1, BOTH, prefers_newest=False)
    with pytest.raises(QuicError) as caught:
        held.answer(encode_parameters(said(VERSION_1, [VERSION_2])))
    assert caught.value.code == TRANSPORT_PARAMETER_ERROR
    assert "0x1" in repr(held)


@pytest.mark.parametrize(
    ("chosen", "available", "original", "in_use", "refused"),
    [
        (0, (), VERSION_1, VERSION_1, 0),  # RFC 9368 section 8: version 1 knew nothing of it
        (0, (), VERSION_1, VERSION_1, VERSION_2),  # the same, in answer to a Version Negotiation
        (VERSION_1, BOTH, VERSION_1, VERSION_1, 0),
        (VERSION_2, BOTH, VERSION_1, VERSION_2, 0),
        (VERSION_1, (VERSION_1,), VERSION_1, VERSION_1, VERSION_2),
        (VERSION_2, (VERSION_2,), VERSION_2, VERSION_2, VERSION_1),
        (VERSION_1, (UNKNOWN, VERSION_1), VERSION_1, VERSION_1, VERSION_2),
    ],
)
def test_a_server_that_is_believed(chosen, available, original, in_use, refused):
    parameters = said(chosen, available)
    check_server(parameters, original=original, in_use=in_use, ours=(VERSION_2, VERSION_1), refused=refused)


@pytest.mark.parametrize(
    ("chosen", "available", "original", "in_use", "refused"),
    [
        (VERSION_2, BOTH, VERSION_1, VERSION_1, 0),  # somebody turned its packets back
        (VERSION_1, BOTH, VERSION_1, VERSION_2, 0),
        (0, (), VERSION_1, VERSION_2, 0),
        (0, (), VERSION_2, VERSION_2, 0),
        (0, (), VERSION_2, VERSION_2, VERSION_1),  # in any other version silence could be a downgrade
        (VERSION_1, (), VERSION_1, VERSION_1, VERSION_2),
        (VERSION_1, BOTH, VERSION_1, VERSION_1, VERSION_2),  # it speaks what it turned away
        (VERSION_1, (UNKNOWN,), VERSION_1, VERSION_1, VERSION_2),
    ],
)
def test_rfc9368_4_a_downgrade_is_noticed(chosen, available, original, in_use, refused):
    parameters = said(chosen, available)
    with pytest.raises(QuicError) as caught:
        check_server(
            parameters, original=original, in_use=in_use, ours=(VERSION_2, VERSION_1), refused=refused
        )
    assert caught.value.code == VERSION_NEGOTIATION_ERROR


def test_rfc9000_6_2_what_a_client_follows():
    assert follow([UNKNOWN, VERSION_1], (VERSION_2, VERSION_1), VERSION_2) == VERSION_1
    assert follow([VERSION_2], (VERSION_2, VERSION_1), VERSION_1) == VERSION_2
    assert follow([VERSION_1, VERSION_2], (VERSION_2, VERSION_1), VERSION_2) == 0
    assert follow([UNKNOWN], (VERSION_2, VERSION_1), VERSION_2) == 0
    assert follow([VERSION_1], (VERSION_2,), VERSION_2) == 0


def test_choose():
    assert choose((1, 2, 3), (3, 2)) == 2
    assert choose((1,), ()) == 0
