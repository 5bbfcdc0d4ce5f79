from headgate.engine.h2 import errors


def test_rfc9113_7_names_of_codes():
    for code, name in enumerate(errors.NAMES):
        assert getattr(errors, name) == code
        assert errors.name_of(code) == name


def test_rfc9113_7_codes_that_nobody_knows():
    assert errors.name_of(0xE) == "0xe"
    assert errors.name_of(0xFFFFFFFF) == "0xffffffff"


def test_what_the_errors_say():
    error = errors.protocol_error("why")
    assert (error.code, error.reason, str(error)) == (1, "protocol-error", "protocol-error: why")
    assert errors.frame_size_error("").code == errors.FRAME_SIZE_ERROR
    assert errors.stream_closed("").code == errors.STREAM_CLOSED
