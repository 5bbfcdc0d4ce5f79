"""What a process says of itself."""

from typing import Final

from headgate.counters.table import counter, gauge

MEMORY_BYTES: Final = gauge("process_resident_bytes", "Resident memory of the process.")
OPEN_FILES: Final = gauge("process_open_files", "Open descriptors of the process.")
WORKER_GENERATION: Final = gauge("process_generation", "How often this slot was started.")
STARTED_AT: Final = gauge(
    "process_started_seconds", "When this process was started, seconds since the epoch."
)
PUBLISHED: Final = counter(
    "process_published_total",
    "How often the process published its figures: a worker does twice a second, as long as its loop turns.",
)
