"""Sets up the virtual environment that every make target uses: `python3 tools/bootstrap.py [FOLDER]`.

It runs before anything is installed, so it is standard library only, and its first job is to name what a bare
machine lacks. Three steps, each redone only when what it depends on has changed:

1. the environment itself, when it is absent or belongs to another Python;
2. libraries and tools, when the lists in pyproject.toml changed;
3. headgate, copied (not linked) into site-packages and compiled, when pyproject.toml, setup.py, src/ or the
   machine's ability to compile changed. It is built from a copy of the tree: a `build/` folder of an earlier
   round would put modules into the package that no longer exist, and src/ never holds a compiled file.

What a step depended on is kept as a hash in the environment; contents count, not file times.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
OLDEST: Final = (3, 11)
TICK: Final = 10.0
KEPT_LINES: Final = 60
PURE_MARK: Final = "PURE MODE"
MODE_FILE: Final = "headgate-mode"
# What pip says that is worth a line; everything else is kept for the case that it fails.
WORTH: Final = ("Collecting ", "Building wheel", "Installing collected", "Successfully installed", PURE_MARK)


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(f"headgate: {text}", flush=True)


def stop(text: str) -> None:
    """End with what is missing and how to get it."""
    raise SystemExit(f"headgate: {text}")


def check_machine() -> None:
    """Name what this machine lacks for the set-up itself, by Debian package."""
    if sys.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        stop(
            f"Python {wanted} or newer is needed, {sys.executable} is {platform.python_version()}; "
            f"name another with PYTHON=/path/to/python3 make ..."
        )
    missing = []
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            missing.append(module)
    if missing:
        stop(f"{sys.executable} has no {' and no '.join(missing)}; Debian: apt install python3-venv")


def run(title: str, command: list[str], environment: dict[str, str] | None = None) -> list[str]:
    """Run a step with progress; return its output, or end with the last lines of it."""
    say(f"{title} ...")
    began = time.monotonic()
    lines: list[str] = []
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    with ticking(title, began):
        for line in process.stdout:
            lines.append(line.rstrip())
            if any(word in line for word in WORTH):
                say("  " + line.strip()[:160])
    if process.wait() != 0:
        print("\n".join(lines[-KEPT_LINES:]), file=sys.stderr)
        stop(f"{title} failed with code {process.returncode}; its last lines are above")
    say(f"{title}: done in {time.monotonic() - began:.0f} s")
    return lines


@contextmanager
def ticking(title: str, began: float) -> Iterator[None]:
    """Say every few seconds that a step is still at work."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(TICK):
            say(f"  {title}: {time.monotonic() - began:.0f} s")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def interpreter(folder: Path) -> str:
    """Return the environment's Python."""
    return str(folder / "bin" / "python")


def digest(*parts: str | bytes) -> str:
    """Hash what a step depends on."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def is_current(folder: Path, step: str, wanted: str) -> bool:
    """Tell whether a step was done for exactly this input."""
    stamp = folder / f"headgate-{step}"
    return stamp.exists() and stamp.read_text() == wanted


def mark(folder: Path, step: str, value: str) -> None:
    """Remember what a step was done for."""
    (folder / f"headgate-{step}").write_text(value)


def make_environment(folder: Path) -> None:
    """Create the virtual environment, anew if another Python made the present one."""
    # Its own path too: the scripts in it begin with that, and a folder that was moved is of no use.
    wanted = digest(os.path.realpath(sys.executable), platform.python_version(), str(folder))
    if (folder / "bin" / "python").exists() and is_current(folder, "python", wanted):
        return
    run(
        f"making {folder.name} for Python {platform.python_version()}",
        [sys.executable, "-m", "venv", "--clear", str(folder)],
    )
    mark(folder, "python", wanted)


def requirements() -> list[str]:
    """Return everything that pyproject.toml asks for: to build, to run, to test."""
    import tomllib  # noqa: PLC0415 -- absent from a Python that check_machine is there to refuse

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["project"]
    wanted = [*project["build-system"]["requires"], *listed["dependencies"]]
    return [*wanted, *listed["optional-dependencies"]["dev"]]


def install_libraries(folder: Path) -> None:
    """Install libraries and tools, if the lists changed."""
    wanted = requirements()
    key = digest(*wanted)
    if is_current(folder, "libraries", key):
        return
    command = [
        interpreter(folder),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar=off",
    ]
    run("installing libraries and tools", [*command, *wanted])
    mark(folder, "libraries", key)


def can_compile() -> str:
    """Say in one word per tool what this machine compiles with; the build is redone when that changes."""
    compiler = shutil.which("cc") or shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or ""
    headers = (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()
    choices = [os.environ.get(name, "") for name in ("CC", "HEADGATE_PURE")]
    return " ".join([compiler, str(headers), *choices])


def sources() -> list[Path]:
    """Return every file that goes into the package."""
    single = [ROOT / name for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE")]
    tree = [
        path
        for path in sorted((ROOT / "src").rglob("*"))
        if path.is_file()
        and not any(part.endswith(("__pycache__", ".egg-info", "_cache")) for part in path.parts)
    ]
    return [path for path in single if path.exists()] + tree


def install_headgate(folder: Path) -> None:
    """Build headgate from a copy of the tree and install it, if anything in it changed."""
    files = sources()
    parts: list[str | bytes] = [can_compile(), platform.python_version()]
    for path in files:
        parts += [str(path.relative_to(ROOT)), path.read_bytes()]
    key = digest(*parts)
    done = is_current(folder, "package", key) and (folder / MODE_FILE).exists()
    if done and (os.environ.get("HEADGATE_REQUIRE_COMPILED") != "1" or mode(folder) == "compiled"):
        return
    # What is about to be replaced is no longer vouched for, should the build fail.
    for stamp in (MODE_FILE, "headgate-package"):
        (folder / stamp).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="headgate-build-") as copy:
        for path in files:
            target = Path(copy) / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        # Verbose, or pip would swallow the one line that says that nothing was compiled.
        options = [
            "--verbose",
            "--no-build-isolation",
            "--no-deps",
            "--force-reinstall",
            "--disable-pip-version-check",
        ]
        lines = run(
            "compiling and installing headgate",
            [interpreter(folder), "-m", "pip", "install", *options, copy],
            {**os.environ, "MYPY_CACHE_DIR": os.devnull},
        )
    reason = next((line.partition(PURE_MARK)[2] for line in lines if PURE_MARK in line), "")
    (folder / MODE_FILE).write_text(built_mode(folder, reason))
    mark(folder, "package", key)


def built_mode(folder: Path, reason: str) -> str:
    """Return "compiled", or "pure" with the reason, by asking the package that was installed."""
    program = (
        "from headgate import build_info as b; print(sum(map(b.is_compiled, b.COMPILED)), len(b.COMPILED))"
    )
    # -P and an empty PYTHONPATH: the installed package answers, not src/.
    environment = {**os.environ, "PYTHONPATH": ""}
    answer = subprocess.run(
        [interpreter(folder), "-P", "-c", program],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    count, listed = map(int, answer.stdout.split())
    if count and count == listed:
        say(f"{count} of {listed} hot modules are compiled")
        return "compiled"
    if count or (listed and not reason and os.environ.get("HEADGATE_PURE") != "1"):
        stop(
            f"only {count} of the {listed} modules of [tool.headgate] compiled were compiled, without an error"
        )
    return "pure" + (
        reason or (" by HEADGATE_PURE=1" if listed else ": [tool.headgate] compiled lists nothing")
    )


def mode(folder: Path) -> str:
    """Return the first word of what was built: "compiled" or "pure"."""
    return (folder / MODE_FILE).read_text().split()[0].strip(":,")


def main() -> None:
    """Bring the environment up to date."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv")
    folder = folder if folder.is_absolute() else ROOT / folder
    check_machine()
    make_environment(folder)
    install_libraries(folder)
    install_headgate(folder)
    if mode(folder) == "pure":
        say(f"{PURE_MARK}: {(folder / MODE_FILE).read_text()}")
        if os.environ.get("HEADGATE_REQUIRE_COMPILED") == "1":
            stop("HEADGATE_REQUIRE_COMPILED=1, and headgate is not compiled")


if __name__ == "__main__":
    main()
