from headgate.engine.h3 import errors
from headgate.errors import RemoteProtocolError


def test_rfc9114_8_1_codes():
    codes = [value for name, value in vars(errors).items() if name.startswith("H3_")]
    assert sorted(codes) == list(range(0x100, 0x111))
    assert (errors.H3_MESSAGE_ERROR, errors.H3_EXCESSIVE_LOAD) == (0x10E, 0x107)
    assert errors.QPACK_DECODER_STREAM_ERROR == 0x202


def test_who_is_ended_by_what():
    assert isinstance(errors.unexpected("x"), errors.H3ConnectionError)
    assert issubclass(errors.H3StreamError, RemoteProtocolError)
