"""The numbers that children go by, and how long each kind gets to end, in seconds."""

from typing import Final

# The keeper has no connections to finish; it gets this long to write what it holds.
KEEPER_GRACE: Final = 3.0
WORKER_GRACE: Final = 1.0
# Slots of applications' processes begin here, below are those of workers.
APP_SLOT: Final = 1 << 16
WRITER_SLOT: Final = -2
WRITER: Final = "cache writer"
# Beyond its stop_timeout a process gets so long to end.
APP_GRACE: Final = 2.0
# Between the end of a channel and the end of its process.
EXIT_GRACE: Final = 5.0
