"""What holds for every test: which headgate is under test, what may be skipped, how long random rounds are.

HEADGATE_EXPECT=compiled|pure  the run refuses to start when headgate is the other one: two green runs of the same
                               mode would look like two modes
HEADGATE_NO_SKIPS=1            a skipped test fails, but for reasons that are no lack of the machine (CI)
HEADGATE_SOAK=1                long rounds of the tests marked `soak`: all property tests, and those that say so
"""

import importlib
import importlib.machinery
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
# Tests are imported by path; bench, fuzz and tools stand in the root. src/ is never added here.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

# Skips that say nothing about missing tools.
HARMLESS_SKIPS = ("lets everybody bind port 80", "only compiled", "only pure")
WITNESS = "headgate.engine.h1.server"

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("soak", deadline=None, max_examples=20_000)
if os.environ.get("HEADGATE_SOAK") == "1":
    settings.load_profile("soak")
else:
    settings.load_profile("ci" if os.environ.get("CI") else "default")


def _mode():
    """Import the witness and tell how it was loaded, with its file."""
    module = importlib.import_module(WITNESS)
    compiled = module.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
    return "compiled" if compiled else "pure", module.__file__


def pytest_configure(config):
    expected = os.environ.get("HEADGATE_EXPECT")
    if expected is None:
        return
    if expected not in ("compiled", "pure"):
        raise pytest.UsageError(f"HEADGATE_EXPECT is compiled or pure, not {expected!r}")
    mode, path = _mode()
    if mode != expected:
        raise pytest.UsageError(f"HEADGATE_EXPECT={expected}, but {WITNESS} is {mode}: {path}")
    build_info = importlib.import_module("headgate.build_info")
    wrong = [name for name in build_info.COMPILED if build_info.is_compiled(name) != (mode == "compiled")]
    if wrong:
        raise pytest.UsageError(f"HEADGATE_EXPECT={expected}, but these modules are not: {', '.join(wrong)}")


def pytest_report_header():
    mode, path = _mode()
    return f"headgate: {mode}, {Path(path).parents[2]}"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "property"):
            item.add_marker(pytest.mark.soak)


def _refuse(report):
    """Turn a skip into a failure, if CI asked for that and the reason is one."""
    if os.environ.get("HEADGATE_NO_SKIPS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(words in reason for words in HARMLESS_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"HEADGATE_NO_SKIPS=1, and this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _refuse(report)
    return report
