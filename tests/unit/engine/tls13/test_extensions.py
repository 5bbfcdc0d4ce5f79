"""Lists of extensions (RFC 8446 section 4.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.alerts import DECODE_ERROR, ILLEGAL_PARAMETER, UNSUPPORTED_EXTENSION, TlsAlertError
from headgate.engine.tls13.wire import Reader


def decode(data, **options):
    reader = Reader(data)
    return ext.decode_extensions(reader.vector(2), **options)


@given(st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=20), max_size=ext.MAX_EXTENSIONS))
def test_a_list_is_read_as_it_was_written(extensions):
    assert list(decode(ext.encode_extensions(extensions)).items()) == list(extensions.items())


def test_at_the_limit_of_extensions_and_one_more():
    many = dict.fromkeys(range(1000, 1000 + ext.MAX_EXTENSIONS), b"")
    assert len(decode(ext.encode_extensions(many))) == ext.MAX_EXTENSIONS
    with pytest.raises(TlsAlertError) as caught:
        decode(ext.encode_extensions(many | {1: b""}))
    assert caught.value.alert == ILLEGAL_PARAMETER


def test_rfc8446_4_2_no_extension_comes_twice():
    with pytest.raises(TlsAlertError) as caught:
        ext.decode_extensions(b"\0\x10\0\0" * 2)
    assert caught.value.alert == ILLEGAL_PARAMETER


def test_rfc8446_4_2_11_pre_shared_key_is_last_in_a_client_hello_only():
    late = ext.encode_extensions({ext.PRE_SHARED_KEY: b"x", ext.KEY_SHARE: b"y"})
    assert set(decode(late)) == {ext.PRE_SHARED_KEY, ext.KEY_SHARE}
    with pytest.raises(TlsAlertError) as caught:
        decode(late, psk_last=True)
    assert caught.value.alert == ILLEGAL_PARAMETER


def test_a_cut_list_is_a_decode_error():
    with pytest.raises(TlsAlertError) as caught:
        ext.decode_extensions(b"\0\x10\0\x05abc")
    assert caught.value.alert == DECODE_ERROR


@pytest.mark.parametrize(
    ("code", "alert"), [(ext.ALPN, UNSUPPORTED_EXTENSION), (ext.KEY_SHARE, ILLEGAL_PARAMETER)]
)
def test_rfc8446_4_2_answers_are_to_what_was_asked_and_in_their_place(code, alert):
    offered = frozenset([ext.KEY_SHARE, ext.SERVER_NAME])
    ext.check_answers({ext.SERVER_NAME: b""}, offered, frozenset([ext.SERVER_NAME]), "it")
    with pytest.raises(TlsAlertError) as caught:
        ext.check_answers({code: b""}, offered, frozenset([ext.SERVER_NAME]), "it")
    assert caught.value.alert == alert
