"""What `make` runs: the environment, the suite, pairs of TLS libraries."""
