"""Sans-I/O protocol engines; see docs/architecture.md for their contract."""
