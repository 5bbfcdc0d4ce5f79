"""Runs the test suite twice, over the compiled package and over the plain sources: `make test`.

The compiled run is the whole suite. The pure run repeats what a compiler could change the meaning of: unit,
property and conformance tests but for slow ones, and a few integration files that take a real gate through its
life. Each run says by HEADGATE_EXPECT what it is, and tests/conftest.py refuses to start when that is not so.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
MODE_FILE: Final = Path(sys.prefix) / "headgate-mode"
# pytest's code for "no tests were selected"
NOTHING_SELECTED: Final = 5
IN_BOTH: Final = ("tests/unit", "tests/property", "tests/parity", "tests/conformance")
# Not again: rules about sources, which are the same for both, and long rounds of chance.
NOT_AGAIN: Final = ("--ignore=tests/unit/test_house.py", "-m", "not slow")
SMOKE: Final = (
    "tests/integration/process/test_gate.py",
    "tests/integration/tls/test_protocol.py",
    "tests/integration/tls/test_resumption.py",
    "tests/integration/proxy",
    "tests/integration/quic/test_pages.py",
)


def run_mode(mode: str, arguments: list[str]) -> int:
    """Run pytest in one mode, from the repository's root; return its exit code."""
    environment = {**os.environ, "HEADGATE_EXPECT": mode}
    environment.pop("PYTHONPATH", None)
    if mode == "pure":
        environment["PYTHONPATH"] = str(ROOT / "src")
    print(f"== headgate: the suite, {mode} ==", flush=True)
    began = time.monotonic()
    # `-m pytest` puts the root on the path, for bench and fuzz; src/ is not below a path entry.
    command = [sys.executable, "-m", "pytest", "-q", "--durations=8", *arguments]
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    words = "passed" if code == 0 else f"FAILED with code {code}"
    print(f"== headgate: the suite, {mode}: {words} in {time.monotonic() - began:.0f} s ==", flush=True)
    return code


def present(paths: tuple[str, ...]) -> list[str]:
    """Leave out rooms that do not exist yet."""
    return [path for path in paths if (ROOT / path).exists()]


def main() -> int:
    """Run both modes, or pure alone where nothing could be compiled; return the worst exit code."""
    given = sys.argv[1:]
    built = MODE_FILE.read_text() if MODE_FILE.exists() else "pure: run `make setup` first"
    codes = []
    if built.startswith("compiled"):
        codes.append(run_mode("compiled", given))
        codes.append(run_mode("pure", given or [*NOT_AGAIN, *present(IN_BOTH + SMOKE)]))
    else:
        print(f"== headgate: ONLY THE PURE SUITE RUNS: {built} ==", flush=True)
        codes.append(run_mode("pure", given))
    return next((code for code in codes if code not in (0, NOTHING_SELECTED)), max(codes))


if __name__ == "__main__":
    sys.exit(main())
