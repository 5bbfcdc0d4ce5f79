"""Identities, staples, SNI selection, policies, contexts, and TLS on a socket."""
