from headgate.engine.h3.qpack_static import STATIC, STATIC_LINES, STATIC_NAMES, STATIC_TABLE


def test_rfc9204_appendix_a():
    """Spot checks; tests/parity/test_qpack.py compares all of it with another implementation."""
    assert len(STATIC_TABLE) == 99
    assert STATIC_TABLE[0] == (b":authority", b"")
    assert STATIC_TABLE[17] == (b":method", b"GET")
    assert STATIC_TABLE[25] == (b":status", b"200")
    assert STATIC_TABLE[41] == (b"cache-control", b"public, max-age=31536000")
    assert STATIC_TABLE[52] == (b"content-type", b"text/html; charset=utf-8")
    assert STATIC_TABLE[63] == (b":status", b"100")
    assert STATIC_TABLE[85] == (
        b"content-security-policy",
        b"script-src 'none'; object-src 'none'; base-uri 'none'",
    )
    assert STATIC_TABLE[98] == (b"x-frame-options", b"sameorigin")


def test_indexes_lead_back():
    assert all(STATIC_TABLE[index] == pair for pair, index in STATIC_LINES.items())
    assert len(STATIC_LINES) == 99
    assert STATIC_NAMES[b":status"] == 24
    assert all(STATIC_TABLE[index][0] == name for name, index in STATIC_NAMES.items())


def test_the_lines_of_the_table_are_in_order():
    assert [(line.name, line.value) for line in STATIC] == list(STATIC_TABLE)
    assert all(line.fault == "" for line in STATIC)
