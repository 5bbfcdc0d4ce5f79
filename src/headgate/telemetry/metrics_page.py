"""Writes docs/metrics.md to standard output: `python -m headgate.telemetry.metrics_page > docs/metrics.md`."""

import sys

from headgate.telemetry.metrics import describe

if __name__ == "__main__":
    sys.stdout.write(describe())
