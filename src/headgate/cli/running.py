"""`headgate run`."""

import sys
from pathlib import Path

from headgate.app import run_gate
from headgate.config.loader import load
from headgate.config.model import Config


def run_file(path: Path) -> int:
    """Run the gate of a configuration file; return the exit code. Raises `HeadgateError`."""
    return run_config(load(path))


def run_config(config: Config, *hints: str) -> int:
    """Run a gate, with a panel on a terminal; `hints` go below it."""
    if not sys.stderr.isatty():
        return run_gate(config)
    from headgate.cli.panel import print_panel

    return run_gate(config, panel=lambda report: print_panel(report, *hints))
