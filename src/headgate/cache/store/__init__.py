"""The cache on disk: shared by the workers, written by one process, and never a reason for an error."""
