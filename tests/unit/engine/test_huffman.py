import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine import huffman
from headgate.engine.huffman import HuffmanError, decode_huffman, encode_huffman, huffman_size

# RFC 7541 appendix C.4 and C.6: the strings of its requests and responses with Huffman coding.
APPENDIX_C = [
    (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
    (b"no-cache", "a8eb10649cbf"),
    (b"custom-key", "25a849e95ba97d7f"),
    (b"custom-value", "25a849e95bb8e8b4bf"),
    (b"302", "6402"),
    (b"private", "aec3771a4b"),
    (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
    (b"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
    (b"307", "640eff"),
    (b"Mon, 21 Oct 2013 20:13:22 GMT", "d07abe941054d444a8200595040b8166e084a62d1bff"),
    (b"gzip", "9bd9ab"),
    (
        b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ),
]


@pytest.mark.parametrize(("text", "code"), APPENDIX_C)
def test_rfc7541_appendix_c(text, code):
    assert encode_huffman(text).hex() == code
    assert decode_huffman(bytes.fromhex(code)) == text
    assert huffman_size(text) == len(code) // 2


def test_the_lengths_make_a_complete_code():
    """A prefix code that wastes nothing: what a typing error in the table would break."""
    assert len(huffman._LENGTHS) == 257
    assert sum(2**-length for length in huffman._LENGTHS) == 1
    assert min(huffman._LENGTHS) == huffman.SHORTEST


def test_known_codes_of_rfc7541_appendix_b():
    codes = {
        symbol: (huffman._CODES[symbol], huffman._LENGTHS[symbol]) for symbol in (0, 10, 48, 92, 249, 256)
    }
    assert codes == {
        0: (0x1FF8, 13),
        10: (0x3FFFFFFC, 30),
        48: (0, 5),
        92: (0x7FFF0, 19),
        249: (0xFFFFFFE, 28),
        256: (0x3FFFFFFF, 30),
    }


def test_every_octet_alone():
    for octet in range(256):
        data = bytes((octet,))
        assert decode_huffman(encode_huffman(data)) == data


@given(st.binary(max_size=300))
def test_what_was_encoded_decodes(data):
    coded = encode_huffman(data)
    assert len(coded) == huffman_size(data)
    assert decode_huffman(coded) == data


@given(st.binary(max_size=100))
def test_there_is_one_code_for_each_string(data):
    """Whatever decodes is what we would have encoded: nothing can be hidden in padding."""
    try:
        text = decode_huffman(data)
    except HuffmanError:
        return
    assert encode_huffman(text) == data


def test_nothing():
    assert encode_huffman(b"") == b""
    assert decode_huffman(b"") == b""


@pytest.mark.parametrize(
    "code",
    [
        "ffffffff",  # 30 ones are EOS
        "3fffffffff",  # EOS behind an "o"
        "ff",  # a whole octet of padding
        "1fff",  # "a" and 11 bits of padding
        "18",  # "a" and padding of 000
        "1e",  # "a" and padding of 110
    ],
)
def test_rfc7541_5_2_wrong_padding_and_eos_are_errors(code):
    with pytest.raises(HuffmanError):
        decode_huffman(bytes.fromhex(code))


def test_output_is_bounded_by_its_input():
    assert len(decode_huffman(b"\0" * 5000)) == 8000
