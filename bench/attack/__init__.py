"""Attacks on a gate that speaks QUIC, at full speed, with a well-behaved client beside them: see bench/attack/run."""
