"""Loaded by a gate under test in place of `sitecustomize`: wall time is off by what the file FAULTS_CLOCK says, in
seconds, and may change while the gate runs. Monotonic time is left alone, as it is when a real clock is set.
"""

import os
import time

_real = time.time
_path = os.environ["FAULTS_CLOCK"]


def _shifted() -> float:
    with open(_path, encoding="ascii") as file:
        return _real() + float(file.read() or "0")


time.time = _shifted
