"""What `make test` runs, side by side and once more, and what it does not: real runs of pytest over small suites."""

import os
import signal
import subprocess
import sys

import pytest
from tools.suite import (
    IN_BOTH,
    NOT_AGAIN,
    PLAIN,
    ROOT,
    SMOKE,
    Part,
    Recorder,
    may_be_repeated,
    plan,
    run_beside,
    run_steadily,
)

from headgate.build_info import COMPILED

# Fails the first `times` times that it is called.
FLAKY = """
from pathlib import Path

def ends(name, times):
    runs = Path(__file__).with_name(name)
    count = len(runs.read_text()) if runs.exists() else 0
    runs.write_text("x" * (count + 1))
    assert count >= times, f"{name} fails"
"""


@pytest.fixture
def suite(tmp_path):
    """Write files of tests, run them; return the exit code, what was unsteady, and how often each test ran."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(**files):
        for place, text in files.items():
            folder = tmp_path / "tests" / place
            folder.mkdir(parents=True)
            (folder / f"test_{place}.py").write_text(FLAKY + text)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        code, unsteady = run_steadily(["-p", "no:cacheprovider", "tests"], tmp_path, environment)
        counts = {path.name: len(path.read_text()) for path in tmp_path.glob("tests/*/*") if not path.suffix}
        return code, unsteady, {name: runs for name, runs in counts.items() if name != "__pycache__"}

    return run


def flaky(*names, times=1):
    return "".join(f"\ndef test_{name}(): ends({name!r}, {times})\n" for name in names)


PARAMETRIZED = """
import pytest

@pytest.mark.parametrize("name", ["/a::b[c]"])
def test_named(name): ends("named", 1)
"""


def test_two_that_fail_once_are_run_alone_and_named(suite, capfd):
    code, unsteady, runs = suite(integration=flaky("one") + PARAMETRIZED + flaky("good", times=0))
    path = "tests/integration/test_integration.py"
    assert (code, unsteady) == (0, [f"{path}::test_one", f"{path}::test_named[/a::b[c]]"])
    assert runs == {"one": 2, "named": 2, "good": 1}
    printed = capfd.readouterr().out
    assert "one fails" in printed
    assert "named fails" in printed
    assert "once more, alone" in printed


def test_one_that_fails_alone_too_fails_the_run(suite):
    assert suite(integration=flaky("one") + flaky("two", times=2)) == (1, [], {"one": 2, "two": 2})


def test_three_failures_are_no_chance(suite):
    names = ("one", "two", "three")
    assert suite(integration=flaky(*names)) == (1, [], dict.fromkeys(names, 1))


def test_another_test_that_fails_excuses_none(suite):
    assert suite(integration=flaky("one"), unit=flaky("two")) == (1, [], {"one": 1, "two": 1})


SETUP = """
import pytest

@pytest.fixture
def world():
    ends("setup", 1)

def test_in_a_world(world): ends("inside", 0)
"""
TEARDOWN = """
import pytest

@pytest.fixture
def world():
    yield
    ends("teardown", 1)

def test_in_a_world(world): ends("inside", 0)
"""


def test_a_world_that_did_not_come_up_is_tried_again(suite):
    code, unsteady, runs = suite(integration=SETUP)
    assert (code, len(unsteady), runs) == (0, 1, {"setup": 2, "inside": 1})


def test_what_is_found_while_tidying_up_counts_at_once(suite):
    assert suite(integration=TEARDOWN) == (1, [], {"inside": 1, "teardown": 1})


@pytest.mark.parametrize(
    ("broken", "code"),
    [("import nothing_of_that_name\n", 2), ("\ndef test_last():\n    import os\n    os._exit(1)\n", 1)],
    ids=["collection", "crash"],
)
def test_neither_is_what_is_no_failure_of_a_test(suite, broken, code):
    found = suite(integration=flaky("one"), later=broken)
    assert found[:2] == (code, [])
    assert all(runs == 1 for runs in found[2].values())


def test_who_skips_the_second_time_has_not_passed(suite):
    skips = """
import pytest

def test_skips():
    try:
        ends("skips", 1)
    finally:
        if Path(__file__).with_name("skips").read_text() == "xx":
            pytest.skip("no time")
"""
    assert suite(integration=skips) == (1, [], {"skips": 2})


def test_a_run_that_was_stopped_has_not_shown_that_the_rest_passes(tmp_path):
    assert may_be_repeated(1, Recorder(tmp_path)) == []
    recorder = Recorder(tmp_path)
    recorder.failed = {"tests/integration/test_a.py::test": ["call"]}
    assert may_be_repeated(1, recorder) == ["tests/integration/test_a.py::test"]
    recorder.is_whole = False
    assert may_be_repeated(1, recorder) == []


def test_what_is_left_out_of_the_pure_run_is_plain_in_both():
    packages = {
        path.name for path in (ROOT / "src" / "headgate").iterdir() if (path / "__init__.py").exists()
    }
    assert set(PLAIN) == packages - {name.split(".")[1] for name in COMPILED}
    # Nothing there is kept for the pure run.
    kept = [path for name in PLAIN for path in (ROOT / "tests" / "unit" / name).rglob("*.py")]
    assert [str(path) for path in kept if "only pure" in path.read_text()] == []


def test_the_compiled_run_is_the_whole_suite_and_the_pure_one_goes_beside_its_first_part():
    beside, rest = plan([], is_compiled=True, cores=2)
    assert [part.mode for part in (*beside, *rest)] == ["compiled", "pure", "compiled"]
    assert beside[0].arguments == list(IN_BOTH)
    assert beside[1].arguments == [*NOT_AGAIN, *IN_BOTH, *SMOKE]
    # What is left out of the last part, and nothing else, is the first one.
    assert rest[0].arguments == [f"--ignore={room}" for room in IN_BOTH]


def test_with_one_core_the_same_parts_run_one_after_the_other():
    (*beside,), *rest = plan([], is_compiled=True, cores=2)
    assert plan([], is_compiled=True, cores=1) == [*([part] for part in beside), *rest]


def test_what_is_given_runs_in_both_modes_and_pure_alone_where_nothing_is_compiled():
    steps = plan(["tests/unit/ocsp"], is_compiled=True, cores=2)
    assert [(part.mode, part.arguments) for step in steps for part in step] == [
        ("compiled", ["tests/unit/ocsp"]),
        ("pure", ["tests/unit/ocsp"]),
    ]
    assert [[part.mode for part in step] for step in plan([], is_compiled=False, cores=2)] == [["pure"]]


# Passes only while the other one runs.
MEETS = """
import os, time
from pathlib import Path

def test_meets():
    here = Path(__file__)
    here.with_suffix(".begun").touch()
    end = time.monotonic() + 30
    while len(list(here.parent.glob("*.begun"))) < 2:
        assert time.monotonic() < end, "nobody came"
        time.sleep(0.02)
    assert os.environ["HEADGATE_EXPECT"] == {mode!r}
    assert {passes}, "the {mode} one fails"
"""


def beside(tmp_path, **passes):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    parts = []
    for mode, passing in passes.items():
        path = tmp_path / f"test_{mode}.py"
        path.write_text(MEETS.format(mode=mode, passes=passing))
        parts.append(Part(mode, "two", [str(path)]))
    return run_beside(parts)


@pytest.mark.parametrize("passes", [True, False])
def test_parts_run_side_by_side_and_what_the_second_one_prints_comes_behind(tmp_path, capfd, passes):
    assert beside(tmp_path, compiled=True, pure=passes) == [(0, []), (0 if passes else 1, [])]
    printed = capfd.readouterr().out
    before, _, after = printed.partition("== headgate: printed by two, pure: ==")
    assert "1 passed" in before
    assert ("1 passed" if passes else "the pure one fails") in after
    assert "the pure one fails" not in before
    assert f"two, pure: {'passed' if passes else 'FAILED with code 1'} in" in before


# Goes on for two seconds after the other one has failed, or until that runs again.
SLOW = """
import time
from pathlib import Path

def test_slow():
    here = Path(__file__).parent
    for runs, seconds in ((1, 30), (2, 2)):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (here / f"run{runs}").exists():
            time.sleep(0.02)
    assert (here / "run1").exists()
    (here / "over").touch()
"""
FAILS_ONCE = """
from pathlib import Path

def test_fails_once():
    here = Path(__file__).parent
    run = 2 if (here / "run1").exists() else 1
    over = (here / "over").exists()
    (here / f"run{run}").touch()
    assert run == 2, "fails once"
    assert over, "not alone"
"""


def test_what_is_run_once_more_is_so_when_nothing_runs_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "tests" / "integration"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (folder / "test_slow.py").write_text(SLOW)
    (folder / "test_once.py").write_text(FAILS_ONCE)
    monkeypatch.setattr("tools.suite.ROOT", tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    slow, once = "tests/integration/test_slow.py", "tests/integration/test_once.py"
    ended = run_beside([Part("compiled", "two", [slow]), Part("pure", "two", [once])])
    assert ended == [(0, []), (0, [f"{once}::test_fails_once"])]


def test_who_stops_it_sees_what_has_failed_in_either(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_long.py").write_text("import time\ndef test_long(): time.sleep(30)\n")
    (tmp_path / "test_bad.py").write_text("def test_bad(): raise ValueError('the pure one fails')\n")
    names = [str(tmp_path / name) for name in ("test_long.py", "test_bad.py")]
    script = (
        "from tools.suite import Part, run_beside\n"
        "run_beside([Part('compiled', 'two', [{!r}]), Part('pure', 'two', [{!r}])])"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", script.format(*names)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with running, running.stdout:
        for line in running.stdout:
            if b"two, pure: FAILED" in line:
                break
        os.killpg(running.pid, signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode != 0
    assert b"the pure one fails" in rest.partition(b"== headgate: printed by two, pure: ==")[2]
