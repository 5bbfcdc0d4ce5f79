"""Disks of the tests: in memory where there is such a place, because each transaction waits for its disk."""

import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def disk():
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        yield Path(name)
