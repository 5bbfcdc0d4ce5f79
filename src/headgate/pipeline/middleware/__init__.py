"""One file for each middleware."""
