"""Fakes for tests of Headgate and of what is built on it; nothing in Headgate imports them."""
