"""What `headgate demo` puts around a gate: an authority, an OCSP responder and an origin."""
