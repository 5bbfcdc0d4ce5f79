"""HTTP/2 (RFC 9113), either role: frames, HPACK (RFC 7541), streams, flow control; no I/O."""
