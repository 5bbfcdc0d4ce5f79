"""QUIC version 1 and 2 (RFC 9000, 9001, 9002, 9369): sans-I/O."""
