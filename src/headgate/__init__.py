"""Headgate: an edge proxy whose OCSP staple never fails silently."""

__version__ = "0.1.0"
