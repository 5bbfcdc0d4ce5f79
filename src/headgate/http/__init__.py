"""HTTP messages and semantics (RFC 9110), and the shapes that higher ranks implement."""
