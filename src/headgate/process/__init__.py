"""Supervisor, keeper, and the Snapshots between them and the workers."""
