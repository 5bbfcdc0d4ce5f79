"""The admin API over its Unix socket, and its client."""
