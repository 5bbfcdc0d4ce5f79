"""PROXY headers: what is sent is read again, in pieces as at once; junk is refused or waited for."""

import ipaddress

import pytest
from fuzz import proxy_header
from hypothesis import given
from hypothesis import strategies as st

from headgate.net.proxy_protocol import MAX_V2, ProxyHeaderError, decode, encode_v1, encode_v2

addresses = st.ip_addresses().map(str)
ports = st.integers(0, 65535)


def canonical(text):
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


@given(addresses, ports, addresses, ports, st.binary(max_size=300), st.sampled_from((1, 2)))
def test_what_is_sent_is_read(source, source_port, destination, destination_port, behind, version):
    encode = encode_v1 if version == 1 else encode_v2
    sent = encode(source, source_port, destination, destination_port)
    header = decode(sent + behind)
    assert (header.version, header.size) == (version, len(sent))
    read = (
        canonical(header.source),
        header.source_port,
        canonical(header.destination),
        header.destination_port,
    )
    assert read == (canonical(source), source_port, canonical(destination), destination_port)
    for cut in range(len(sent)):
        assert decode(sent[:cut]) is None


@given(addresses, addresses, st.binary(min_size=1, max_size=255))
def test_the_name_that_was_asked_for_changes_no_address(source, destination, name):
    plain = decode(encode_v2(source, 1, destination, 2))
    named = decode(encode_v2(source, 1, destination, 2, name))
    assert (named.source, named.destination) == (plain.source, plain.destination)
    assert named.size == plain.size + 3 + len(name)


@given(st.binary(max_size=200))
def test_junk_is_refused_or_waited_for(data):
    try:
        header = decode(data)
    except ProxyHeaderError:
        return
    assert header is None or header.size <= min(len(data), MAX_V2)


def test_a_round_of_the_fuzz_target():
    assert proxy_header.run(1.0, 1) > 100


def test_the_fuzz_target_would_notice(monkeypatch):
    monkeypatch.setattr(proxy_header, "decode", lambda data: decode(data + b"\r\n"))
    with pytest.raises(proxy_header.Broken):
        proxy_header.check(b"PROXY UNKNOWN\r\n")
