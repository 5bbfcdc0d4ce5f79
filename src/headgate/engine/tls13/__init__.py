"""TLS 1.3 as QUIC speaks it (RFC 8446, RFC 9001): handshake messages and secrets, without records."""
