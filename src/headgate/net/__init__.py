"""Sockets: transports, the resolver, the dialer."""
