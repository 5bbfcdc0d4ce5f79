"""HTTP/3 (RFC 9114) with QPACK (RFC 9204) and priorities (RFC 9218), both roles."""
