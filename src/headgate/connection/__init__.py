"""Drivers: one engine and one transport, in either role."""
